"""A default `drp run` with a teacher of whose replies a tenth are refused: it reaches the report, which says so."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Ended, read_lines
from tests.loopback import LoopbackServer
from tests.stages.teaching import make_trace, write_traces
from tests.teachers import competent

N_TRACES = 20


def answer(messages: Sequence[tuple[str, str]]) -> str:
    """Nothing useful about every tenth trace, however often it is asked."""
    hopeless = any(make_trace(number)["question"] in messages[0][1] for number in range(0, N_TRACES, 10))
    return "I have looked at this, and it is fine as it is." if hopeless else competent.answer(messages)


@pytest.mark.slow
def test_refused_replies_do_not_end_a_run(tmp_path: Path, drp: Callable[..., Ended]) -> None:
    run = tmp_path / "run"
    write_traces(run, N_TRACES)
    with LoopbackServer(answer) as server:
        config = {
            "run_dir": str(run),
            "student": {"model": str(REPOSITORY / "data" / "tiny" / "model")},
            "engine": {"backend": "transformers"},
            "teacher": {"provider": "openai", "model": "m", "base_url": server.openai_url},
            "train": {"epochs": 1, "validation_split": 0.0},
            "eval": {
                "benchmarks": [{"name": "t", "path": str(REPOSITORY / "data/tiny/test.jsonl"), "limit": 4}],
                "sampling": {"max_new_tokens": 40},
            },
        }
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(config))
        ended = {verb: drp(verb, path) for verb in ("decompose", "prune", "train", "eval", "report")}
    assert {verb: end.status for verb, end in ended.items()} == dict.fromkeys(ended, 0), ended
    failures = read_lines(run / "steps.failed.jsonl")
    assert {failure["error"] for failure in failures} == {"RefusedReply"}
    assert len(failures) == N_TRACES // 10
    page = (run / "report" / "index.html").read_text()
    assert all(failure["id"] in page for failure in failures)
    assert "a rerun reads the same stored replies" in ended["decompose"].err
