"""The interface of a teacher: decompose a trace into steps, and prune the steps of a decomposed trace.

`drp.teachers.llm` asks a language model, `drp.teachers.rules` works offline. Their answers are checked
(`drp.teachers.checks`) before they become records.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from drp.records import Action, Decomposition, Edit, Step, Trace, Usage

Task = Literal["decompose", "prune"]

Method = Literal["skill", "default", "sentence"]
"""How a trace is split, see `DecomposeSettings.method`."""


@dataclass(frozen=True)
class Segmentation:
    """The steps of one trace; they tile its thinking."""

    steps: list[Step]
    usage: Usage
    coverage: float | None = None
    """See `Decomposition.coverage`."""


@dataclass(frozen=True)
class Revision:
    """One action for each step, and the shorter text that results."""

    edits: list[Edit]
    thinking: str
    """The resynthesised reasoning, without tags."""
    summary: str
    """The answer segment, revised to agree with it."""
    usage: Usage

    def keeps_all(self, source: Decomposition) -> bool:
        """Whether every step is kept and the text, apart from white space, is that of the source. Such a revision is
        valid, but there is nothing to train on."""
        return (
            all(edit.action is Action.KEEP for edit in self.edits)
            and self.thinking.split() == source.thinking.split()
            and self.summary.split() == source.summary.split()
        )


class Teacher(Protocol):
    """Both methods raise `drp.errors.RecordError` if the record cannot be worked on."""

    name: str
    """`rules`, or the model's name; written into every record."""

    async def decompose(self, trace: Trace) -> Segmentation:
        """Split `trace.thinking` into skill-labelled steps (paper, section 3.1)."""
        ...

    async def prune(self, decomposition: Decomposition) -> Revision:
        """Keep, delete, rewrite or merge each step, then write the shorter response (paper, section 3.2)."""
        ...

    async def close(self) -> None:
        """Close connections and files."""
        ...
