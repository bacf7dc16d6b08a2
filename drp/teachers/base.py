"""What a teacher does, whoever it is: the task level. The wire level is `drp.chat`.

A teacher's answer is checked by `teachers.checks` before it becomes a record.
"""

from dataclasses import dataclass
from typing import Protocol

from drp.records import Action, Decomposition, Edit, Step, Trace, Usage


@dataclass(frozen=True)
class Segmentation:
    """The thinking of one trace as steps that tile it."""

    steps: list[Step]
    usage: Usage


@dataclass(frozen=True)
class Revision:
    """One action a step, and the shorter text that comes of them.

    thinking: the resynthesised reasoning, without tags.
    summary: the answer segment, revised to agree with it.
    """

    edits: list[Edit]
    thinking: str
    summary: str
    usage: Usage

    def keeps_all(self, source: Decomposition) -> bool:
        """Whether the teacher found every step necessary and concise: no mistake, but nothing to learn from either."""
        kept = all(edit.action is Action.KEEP for edit in self.edits)
        return kept and _words(self.thinking, self.summary) == _words(source.thinking, source.summary)


class Teacher(Protocol):
    """Both methods raise `drp.errors.RecordError` when this record cannot be done."""

    name: str
    """`rules`, or the model's name; written into every record."""

    async def decompose(self, trace: Trace) -> Segmentation:
        """Split `trace.thinking` into skill-labelled steps (paper, section 3.1)."""
        ...

    async def prune(self, decomposition: Decomposition) -> Revision:
        """Keep, delete, rewrite or merge each step, then write the shorter response (paper, section 3.2)."""
        ...

    async def close(self) -> None:
        """Give back connections and files."""
        ...


def _words(thinking: str, summary: str) -> list[list[str]]:
    return [thinking.split(), summary.split()]
