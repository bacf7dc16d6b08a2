"""The log and the summary on disk."""

import subprocess
import sys
from pathlib import Path

from drp.runs.jsonl import Appender
from drp.training.summary import TrainLogLine, read_log, rewind_log


def test_the_modules_that_a_finished_training_needs_do_not_import_torch() -> None:
    modules = ", ".join(f"drp.training.{name}" for name in ("examples", "launch", "checkpoints", "summary"))
    program = f"import sys, {modules}; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rewinding_removes_later_lines_and_an_incomplete_last_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [
        TrainLogLine(id=str(step), step=step, epoch=0.1 * step, loss=1.0, seconds=2.0 * step) for step in (1, 2, 3)
    ]
    with Appender(path) as file:
        for line in lines:
            file.append(line)
    with path.open("a") as torn:
        torn.write('{"id": "4", "st')
    assert rewind_log(path, 2) == 4.0
    assert read_log(path) == lines[:2]
    assert rewind_log(path, -1) == 0.0
    assert read_log(path) == []
