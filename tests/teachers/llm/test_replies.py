"""Replies of the shapes that chat models write (replies.yaml): each is read right, or refused with what is wrong."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from drp.chat.wire import Message, Reply
from drp.config.sections import DecomposeSettings, TeacherSettings
from drp.records import Decomposition, Step, Usage
from drp.teachers.checks import check_revision, check_steps
from drp.teachers.llm.reply import BadReply, PartRevision, ReplyFormat, TracePart
from drp.teachers.llm.spans import SpansFormat
from drp.teachers.llm.teacher import LLMTeacher
from drp.teachers.llm.text import TextFormat
from tests.teachers.llm.cases import make_trace

THINKING = (
    "First, I need to determine Joy's reading rate. She reads 8 pages in 20 minutes, so her reading rate is 8 pages "
    "per 20 minutes.\n\n"
    "Next, I'll calculate how many pages she reads per minute by dividing 8 pages by 20 minutes, which gives 0.4 pages "
    "per minute.\n\n"
    "Then, to find out how many minutes it takes her to read 120 pages, I'll divide 120 pages by her reading rate of "
    "0.4 pages per minute, resulting in 300 minutes.\n\n"
    "Finally, I'll convert 300 minutes into hours by dividing by 60, which equals 5 hours."
)
TRACE = make_trace(
    question="Joy can read 8 pages of a book in 20 minutes. How many hours will it take her to read 120 pages?",
    answer="5",
    predicted="5",
    thinking=THINKING,
    summary="Joy reads 8 pages in 20 minutes. It will take her \\boxed{5} hours to read the 120 pages of the book.",
)
FORMATS: dict[str, ReplyFormat] = {"text": TextFormat(), "spans": SpansFormat()}
CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("replies.yaml").read_text(encoding="utf-8"))


def cut(*starts: str) -> list[Step]:
    edges = [*map(THINKING.index, starts), len(THINKING)]
    return [Step(text=THINKING[a:b], skill="Division", start=a, end=b) for a, b in pairwise(edges)]


STEPS = {
    "default": cut("First", "Next", "Then", "Finally"),
    "skill": cut("First", "Next", "which gives", "Then", "resulting", "Finally", "which equals"),
}


def prune(case: dict[str, Any]) -> PartRevision:
    """The revision that the case's reply makes, with the checks that the teacher makes of it."""
    steps = STEPS[case.get("of", "default")]
    source = Decomposition(**dict(TRACE), steps=steps, teacher="t", usage=Usage())
    revision = FORMATS[case["format"]].read_revision(case["reply"], TracePart(steps, 0, is_last=True))
    summary = TRACE.summary if revision.summary is None else revision.summary
    violations = check_revision(
        source, revision.edits, revision.thinking.strip(), summary, same_answer=lambda text, answer: answer in text
    )
    if violations:
        raise BadReply(*violations)
    return revision


def test_the_table_has_both_tasks_in_both_formats_and_no_name_twice() -> None:
    assert len(CASES) >= 60
    assert len({case["name"] for case in CASES}) == len(CASES)
    assert {(case["task"], case["format"]) for case in CASES} == {
        (task, form) for task in ("decompose", "prune") for form in FORMATS
    }


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES if "steps" in case])
def test_a_decomposition_is_read(case: dict[str, Any]) -> None:
    found = FORMATS[case["format"]].read_steps(case["reply"], THINKING, with_skills=True)
    assert check_steps(THINKING, found.steps) == []
    expected = [entry.split(" | ") for entry in case["steps"]]
    assert [[step.text[: len(start)], step.skill] for step, (start, _) in zip(found.steps, expected, strict=True)] == (
        expected
    )
    if case["format"] == "spans":
        assert found.coverage is None
    else:
        assert found.coverage is not None
        assert case.get("coverage", 0.6) <= found.coverage <= 1


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES if "actions" in case])
def test_a_pruning_is_read(case: dict[str, Any]) -> None:
    revision = prune(case)
    assert [edit.action.value for edit in revision.edits] == case["actions"].split()
    assert revision.thinking.strip() == case["thinking"]
    assert revision.summary == case.get("answer")


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES if "refused" in case])
def test_a_reply_that_cannot_be_used_is_refused_with_what_is_wrong(case: dict[str, Any]) -> None:
    def read() -> object:
        if case["task"] == "prune":
            return prune(case)
        return FORMATS[case["format"]].read_steps(case["reply"], THINKING, with_skills=True)

    with pytest.raises(BadReply) as error:
        read()
    assert case["refused"] in str(error.value)


@dataclass
class ScriptedClient:
    """A ChatClient that gives these replies, whatever it is asked."""

    replies: list[str]
    model: str = "scripted"

    async def complete(self, messages: Sequence[Message], *, expected_tokens: int | None = None) -> Reply:
        return Reply(self.replies.pop(0), "stop", Usage(calls=1))

    async def close(self) -> None:
        pass


def test_replies_to_the_papers_prompts_are_read_end_to_end(tmp_path: Path) -> None:
    replies = {case["name"]: case["reply"] for case in CASES}
    (tmp_path / "decompose_skill_text.txt").write_text(
        "Segment the reasoning.\nStep n: {{segment}}\nSkill: {{name}}\n\n<<thinking>>"
    )
    (tmp_path / "prune_text.txt").write_text("Give each step one action: KEEP, DELETE, ...\n\n<<thinking>>")
    client = ScriptedClient(
        [
            replies["the paper's published skill-based decomposition (Table 6)"],
            replies["the paper's published skill-based pruning (Table 6)"],
        ]
    )
    settings = TeacherSettings(provider="openai", model=client.model, prompts_dir=tmp_path)
    teacher = LLMTeacher(client, settings, "skill", same_answer=lambda text, answer: answer in text)
    segmentation = asyncio.run(teacher.decompose(TRACE))
    assert [step.text for step in segmentation.steps] == [step.text for step in STEPS["skill"]]
    assert segmentation.coverage == pytest.approx(0.78, abs=0.01)
    source = Decomposition(**dict(TRACE), steps=segmentation.steps, teacher="t", usage=segmentation.usage)
    revision = asyncio.run(teacher.prune(source))
    assert revision.thinking.startswith("Okay, let's calculate the time it takes Joy to read 120 pages.")
    assert revision.summary == TRACE.summary
    assert client.replies == []


def test_a_run_of_an_earlier_version_goes_on_while_the_new_keys_have_their_defaults() -> None:
    assert DecomposeSettings().identity() == {"method": "skill", "only_correct": True}
    changed = DecomposeSettings.model_validate({"copy": "exact", "min_coverage": 0.5}).identity()
    assert (changed["copy"], changed["min_coverage"]) == ("exact", 0.5)
