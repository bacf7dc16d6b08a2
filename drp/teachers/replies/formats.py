"""What a reply format does: show a task to the teacher, foresee the reply's length, and read the reply.

Readers raise BadReply with all that is wrong, in words for the teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from drp.records import Edit, Step
from drp.teachers.checks import Objection


class BadReply(Exception):
    """A reply that cannot be used. Goes back to the teacher with its problems.

    reason: the first problem's, where a check found it; else what is said of the form.
    """

    def __init__(self, *problems: str, reason: str = "unreadable reply") -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.reason = problems[0].reason if isinstance(problems[0], Objection) else reason


@dataclass(frozen=True)
class Part:
    """The steps that one prune request is about, and where they stand in the whole.

    first: index of the first of them, from 0; the teacher sees numbers from 1.
    is_last: whether the answer segment is asked for too.
    """

    steps: Sequence[Step]
    first: int
    is_last: bool

    @property
    def numbers(self) -> range:
        """The steps' numbers as the teacher sees them."""
        return range(self.first + 1, self.first + len(self.steps) + 1)


@dataclass(frozen=True)
class Draft:
    """What one prune reply says, not yet checked against the source.

    edits: sources are indexes into the whole trace's steps.
    thinking: the shorter text of this part, with the white space that separates it from the next.
    summary: None where the answer segment stays as it is, or was not asked for.
    """

    edits: list[Edit]
    thinking: str
    summary: str | None


class ReplyFormat(Protocol):
    """One way for a teacher to answer."""

    name: str

    def measure_thinking(self, text: str) -> int:
        """Output tokens that the decomposition of this text may need, rather too many."""
        ...

    def foresee_steps(self, text: str, with_skills: bool) -> int:
        """Output tokens that the decomposition of this text takes on average."""
        ...

    def show_thinking(self, text: str) -> dict[str, str]:
        """The decompose prompt's placeholder for the reasoning, with its value."""
        ...

    def read_steps(self, reply: str, text: str, with_skills: bool) -> list[Step]:
        """Steps that tile the text, offsets from its beginning. Raises BadReply."""
        ...

    def measure_step(self, step: Step) -> int:
        """Output tokens that the revision of this step may need, rather too many."""
        ...

    def foresee_revision(self, part: Part) -> int:
        """Output tokens that the revision of this part takes on average, the answer segment being left as it is."""
        ...

    def show_steps(self, part: Part) -> str:
        """The numbered steps with their skills."""
        ...

    def read_revision(self, reply: str, part: Part) -> Draft:
        """Edits that cover the part, and the shorter text. Raises BadReply."""
        ...


def strip_fence(reply: str) -> str:
    """The reply without the code fence that some models put around all of it."""
    lines = reply.strip().splitlines()
    if len(lines) > 1 and lines[0].startswith("```") and lines[-1].strip() == "```":
        lines = lines[1:-1]
    return "\n".join(lines)
