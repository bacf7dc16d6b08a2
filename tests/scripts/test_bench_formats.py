"""The benchmark of the two reply formats, on a few traces and the tiny student's tokenizer."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.conftest import REPOSITORY, trace

PARAGRAPH = (
    "Okay, so I need to find out how many apples are in the {n} bags of the box. Each bag has 4 of them. First, the "
    "number of bags times the number in each gives the total: {n} * 4 = {m} apples.\n\nWait, let me double-check that: "
    "{n} * 4 = {m}. Yes, that is right, so there are {m} apples, and I can write down the answer.\n\n"
)


def test_the_last_line_says_what_was_measured(write_lines: Callable[..., Path]) -> None:
    thoughts = ["".join(PARAGRAPH.format(n=n, m=4 * n) for n in range(3 + k, 8 + k)) + "So 12." for k in range(3)]
    traces = [trace(id=f"p-{k}#0", thinking=thinking) for k, thinking in enumerate(thoughts)]
    path = write_lines("traces.jsonl", *traces, trace(id="wrong#0", correct=False))
    command = [sys.executable, "scripts/bench/formats.py", path, "--tokenizer", REPOSITORY / "data" / "tiny" / "model"]
    done = subprocess.run([*map(str, command)], cwd=REPOSITORY, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert "3 traces" in done.stdout
    assert set(result) == {"claim", "ours", "peer", "ratio", "goal", "holds"}
    assert result["ours"]["failed"] == result["peer"]["failed"] == 0
    assert 0 < result["ratio"]["bill"] < 0.8
    assert done.returncode == (0 if result["holds"] else 1)
