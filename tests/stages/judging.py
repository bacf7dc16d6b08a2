"""Traces decomposed twice, and a judge that goes by content, for the tests of `drp judge`."""

import re
from itertools import accumulate
from typing import Any

from tests.conftest import THINKING, trace
from tests.teachers.competent import Messages, read_tag

ORDERS = 2


def cut(text: str, mark: str) -> list[dict[str, Any]]:
    """Steps that end behind each mark."""
    pieces = re.findall(rf".+?(?:{re.escape(mark)}|\Z)", text, re.DOTALL)
    ends = list(accumulate(map(len, pieces)))
    return [
        {"text": piece, "skill": "Multiplication", "start": end - len(piece), "end": end}
        for piece, end in zip(pieces, ends, strict=True)
    ]


def steps(number: int, mark: str, **changes: Any) -> dict[str, Any]:
    """A decomposed trace; its number makes its text its own."""
    thinking = f"Trace {number}. {THINKING}"
    record = trace(id=f"p-{number}#0", problem_id=f"p-{number}", thinking=thinking, teacher="splitter-7", usage={})
    return {**record, "steps": cut(thinking, mark), **changes}


def paragraphs(number: int, **changes: Any) -> dict[str, Any]:
    return steps(number, "\n\n", **changes)


def sentences(number: int, **changes: Any) -> dict[str, Any]:
    return steps(number, ".", **changes)


def count_steps(messages: Messages, version: str) -> int:
    return len(read_tag(messages[0][1], version).splitlines())


def prefer_fewer(messages: Messages) -> str:
    """A judge that goes by content."""
    better = "A" if count_steps(messages, "version_a") < count_steps(messages, "version_b") else "B"
    return f"**REASON:** Version {better} has whole thoughts.\n**VERDICT:** {better}"
