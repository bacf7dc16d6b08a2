"""A trace, teachers for it, and what a teacher makes of a trace, checked."""

import asyncio
import random
import re
from typing import Any

import pytest

from drp.config.sections import TeacherSettings
from drp.errors import RecordError
from drp.records import Decomposition, Step, Trace, Usage
from drp.teachers.base import Method, Revision, Segmentation, Teacher
from drp.teachers.checks import check_edits, check_steps
from drp.teachers.llm.teacher import LLMTeacher
from tests.teachers.competent import CompetentClient, count_tokens

THINKING = (
    "Okay, let me see. First, I need to find the number of slices. They bake 5 pies of 8 slices: 5 * 8 = 40.\n\n"
    "Wait, let me double-check that. Yes, 5 * 8 = 40. Next, they ate 14 slices. "
    "So 40 - 14 = 26 slices are left.\n\nThe answer is 26."
)
FORMATS = ["text", "spans"]


def states(summary: str, expected: str) -> bool:
    return re.findall(r"\d+", summary)[-1:] == [expected]


def make_trace(**changes: Any) -> Trace:
    fields = {
        "id": "pies#0", "problem_id": "pies", "question": "5 pies of 8 slices, 14 slices eaten: how many are left?",
        "answer": "26", "response": "", "thinking": THINKING, "summary": "There are **26** slices left.",
        "predicted": "26", "correct": True, "finish_reason": "stop", "n_tokens": 90, "model": "student",
    }  # fmt: skip
    return Trace.model_validate(fields | changes)


def make_teacher(client: CompetentClient, form: str, method: Method = "skill", **settings: Any) -> LLMTeacher:
    teacher_settings = TeacherSettings(provider="openai", model=client.model, format=form, **settings)
    teacher: Teacher = LLMTeacher(client, teacher_settings, method, copy="exact", same_answer=states)
    assert isinstance(teacher, LLMTeacher)
    return teacher


def decompose(teacher: LLMTeacher, trace: Trace) -> Segmentation:
    segmentation = asyncio.run(teacher.decompose(trace))
    assert check_steps(trace.thinking, segmentation.steps) == []
    return segmentation


def make_decomposition(trace: Trace, form: str = "text") -> Decomposition:
    segmentation = decompose(make_teacher(CompetentClient(), form), trace)
    return Decomposition(**dict(trace), steps=segmentation.steps, teacher="t", usage=Usage())


def prune(teacher: LLMTeacher, source: Decomposition) -> Revision:
    revision = asyncio.run(teacher.prune(source))
    assert check_edits(source.steps, revision.edits) == []
    assert len(revision.thinking) < len(source.thinking)
    return revision


def fail(coroutine: Any) -> RecordError:
    with pytest.raises(RecordError) as error:
        asyncio.run(coroutine)
    return error.value


def write_thinking(n_tokens: int, seed: int = 0) -> str:
    """Reasoning of about so many tokens, in paragraphs of several kinds, that ends with 26."""
    draw = random.Random(seed)
    paragraphs: list[str] = []
    length = 0
    while length < n_tokens:
        a, b = draw.randrange(2, 900), draw.randrange(2, 900)
        paragraph = draw.choice(
            [
                f"First, I need to find the total. Next, I add {a} and {b}. So {a} + {b} = {a + b}.",
                f"Wait, let me double-check that. {a} times {b} is {a * b}. That seems right, so I keep {a * b}.",
                f"We have \\[ x = \\frac{{{a}}}{{{b}}} \\] and therefore x * {b} = {a}. Hmm. So x is below {a}.",
                f"Now there are {a} boxes with {b} pens each. Then {a} * {b} = {a * b}, which means {a * b} pens.",
            ]
        )
        paragraphs.append(paragraph)
        length += count_tokens(paragraph)
    return "\n\n".join([*paragraphs, "The answer is 26."])


def make_steps(*texts: str) -> list[Step]:
    steps, position = [], 0
    for text in texts:
        steps.append(Step(text=text, skill="Addition", start=position, end=position + len(text)))
        position += len(text)
    return steps
