"""Stage generate with a random student, which never closes its thinking."""

import json
from pathlib import Path

import pytest

from drp.config.sections import Config
from drp.stages import generate
from tests.conftest import read_lines
from tests.tiny import save_student


@pytest.mark.parametrize(("n", "is_told"), [(25, True), (5, False)])
def test_a_model_that_never_closes_its_thinking_is_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], n: int, *, is_told: bool
) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps({"question": f"{k}?", "answer": str(k)}) + "\n" for k in range(n)))
    config = Config.model_validate(
        {
            "run_dir": tmp_path / "run",
            "student": {"model": str(save_student(tmp_path / "student", max_model_len=128))},
            "engine": {"backend": "transformers", "dtype": "float32"},
            "generate": {
                "problems": [{"name": "p", "path": problems}],
                "sampling": {"temperature": 0, "max_new_tokens": 4},
            },
        }
    )
    generate.run(config)
    traces = read_lines(tmp_path / "run" / "traces.jsonl")
    assert len(traces) == n
    assert not any("</think>" in trace["response"] for trace in traces)
    assert ("student.thinking_tags" in capsys.readouterr().err) == is_told
