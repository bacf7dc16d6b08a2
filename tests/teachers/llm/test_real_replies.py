"""The replies of a strong language model to 10 real traces in each format, where they lie beside the repository."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from drp.records import Decomposition, Step, Trace, Usage
from drp.teachers.checks import check_revision, check_steps
from drp.teachers.llm.division import estimate_tokens
from drp.teachers.llm.reply import ReplyFormat, TracePart
from drp.teachers.llm.spans import SpansFormat
from drp.teachers.llm.text import TextFormat

FOLDER = Path(__file__).parents[4] / "shared/data/teacher"
FORMATS: dict[str, ReplyFormat] = {"text": TextFormat(), "spans": SpansFormat()}


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def read_question(prompt: str) -> str:
    return re.findall(r"^<(question(?:-\w+)?)>\n(.*?)\n</\1>", prompt, re.DOTALL | re.MULTILINE)[-1][1].strip()


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no {FOLDER}")
@pytest.mark.parametrize("name", FORMATS)
def test_all_replies_are_accepted(name: str) -> None:
    traces = {trace.question.strip(): trace for trace in map(Trace.model_validate, read_lines("traces"))}
    rows = read_lines(name)
    replies = {(row["task"], read_question(row["prompt"])): row["reply"] for row in rows}
    assert len(replies) == len(rows)
    for question, trace in traces.items():
        found = FORMATS[name].read_steps(replies["decompose", question], trace.thinking, with_skills=True)
        assert check_steps(trace.thinking, found.steps) == []
        assert found.coverage == (1 if name == "text" else None)
        steps: list[Step] = found.steps
        revision = FORMATS[name].read_revision(replies["prune", question], TracePart(steps, 0, is_last=True))
        source = Decomposition(**dict(trace), steps=steps, teacher="t", usage=Usage())
        summary = trace.summary if revision.summary is None else revision.summary
        assert check_revision(source, revision.edits, revision.thinking.strip(), summary) == []


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no {FOLDER}")
def test_expected_lengths_are_near_those_of_the_replies() -> None:
    traces = {trace.question.strip(): trace for trace in map(Trace.model_validate, read_lines("traces"))}
    expected, received = Counter[str](), Counter[str]()
    for name in FORMATS:
        rows = {(row["task"], read_question(row["prompt"])): row["reply"] for row in read_lines(name)}
        for question, trace in traces.items():
            steps = FORMATS[name].read_steps(rows["decompose", question], trace.thinking, with_skills=True).steps
            expected[f"{name} decompose"] += FORMATS[name].estimate_steps(trace.thinking, with_skills=True)
            received[f"{name} decompose"] += estimate_tokens(rows["decompose", question])
            part, reply = TracePart(steps, 0, is_last=True), rows["prune", question]
            # These replies have the new texts in the list, too, and those of `spans` leave the answer segment as it is;
            # today's prompts ask for neither.
            summary = trace.summary if name == "text" else ""
            reply = re.sub(r"(COMPRESS): .*", r"\1", reply) if name == "text" else reply
            expected[f"{name} prune"] += FORMATS[name].estimate_edits(part, summary)
            received[f"{name} prune"] += estimate_tokens(reply)
    for what, n_tokens in received.items():
        assert 0.9 * n_tokens < expected[what] < 2 * n_tokens, what
    assert expected["text prune"] == pytest.approx(received["text prune"], rel=0.2)
    assert expected["spans prune"] == pytest.approx(received["spans prune"], rel=0.1)
    assert expected["text decompose"] == pytest.approx(received["text decompose"], rel=0.15)
