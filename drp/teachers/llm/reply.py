"""The list of actions in a prune reply, common to both formats.

    Step 1: KEEP                                            1 KEEP
    Step 2: SINGLE-STEP COMPRESS: Joy reads 8 pages.        2 REWRITE: Joy reads 8 pages.
    Steps 3-4: MULTI-STEP COMPRESS: So 120 / 0.4 = 300.     3-4 MERGE: So 120 / 0.4 = 300.
    5. **DELETE**                                           5 DELETE

Names of actions are capital letters, so that a sentence such as "2. Keep the total" is not one of them. What follows
KEEP or DELETE is a remark of the teacher's and is not read.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from drp.records import Action, Edit, Step
from drp.teachers.checks import Violation, excerpt


class BadReply(Exception):
    """A reply that cannot be used. Goes back to the teacher with its problems.

    reason: the first problem's, where a check found it; else what is said of the form.
    """

    def __init__(self, *problems: str, reason: str = "unreadable reply") -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.reason = problems[0].reason if isinstance(problems[0], Violation) else reason


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


_NUMBERS = r"\d+(?:\s*(?:-|–|—|,|&|\+|\bto\b|\band\b)\s*(?:[Ss]teps?\s*)?\d+)*"
_ACTIONS = r"KEEP|DELETE|REWRITE|MERGE|SINGLE[-‑– _]STEP[- _]COMPRESS|MULTI[-‑– _]STEP[- _]COMPRESS"
_ENTRY = re.compile(
    rf"^[ \t>#*_`-]*(?:[Ss]teps?\s*)?({_NUMBERS})[ \t]*[*_`]*[ \t]*[:.)|\]–—-]?[*_`]*[ \t]*[*_`\[(]*"
    rf"({_ACTIONS})\b[)\]*_`]*[ \t]*(?:[:.—–-](?:[*_`]+(?=\s|$))?)?[ \t]*(.*)$",
    re.MULTILINE,
)
_RANGE = re.compile(r"(\d+)(?:\s*(?:-|–|—|\bto\b)\s*(?:[Ss]teps?\s*)?(\d+))?")
_REVISED = re.compile(r"^[*_]*(?:Revised|Revised text|Revised step|New text)[*_]*:[*_]*\s*", re.IGNORECASE)
_MEANINGS = {"KEEP": Action.KEEP, "DELETE": Action.DELETE, "REWRITE": Action.REWRITE, "SINGLE": Action.REWRITE}
_MOST = 6
"""Digits of a step's number. Longer ones are not numbers of steps."""


@dataclass(frozen=True)
class Entry:
    """One line of the list, as written: numbers as the teacher gave them, and the text up to the next entry."""

    action: Action
    numbers: list[int]
    text: str


def find_entries(reply: str) -> tuple[list[Entry], int]:
    """All entries, and where the last one's line ends. Raises BadReply where there is none."""
    matches = list(_ENTRY.finditer(reply))
    if not matches:
        raise BadReply(f"no line gives a step one of the four actions; the reply begins {excerpt(reply)}")
    ends = [match.start() for match in matches[1:]] + [len(reply)]
    entries = [_read_entry(match, reply[match.start(3) : end]) for match, end in zip(matches, ends, strict=True)]
    return entries, matches[-1].end()


def make_edits(entries: list[Entry], part: Part) -> list[Edit]:
    """One edit a step, or for a merge several steps; kept steps with their own text."""
    return [edit for entry in entries for edit in _make_edits(entry, part)]


def _make_edits(entry: Entry, part: Part) -> Iterator[Edit]:
    sources = [number - 1 for number in entry.numbers]
    if entry.action in (Action.KEEP, Action.DELETE):
        for source in sources:
            text = _text_of(part, source) if entry.action is Action.KEEP else ""
            yield Edit(action=entry.action, sources=[source], text=text)
    else:
        # A rewrite of several steps is a merge, whatever the teacher called it.
        action = Action.MERGE if len(sources) > 1 else entry.action
        yield Edit(action=action, sources=sources, text=entry.text)


def _text_of(part: Part, source: int) -> str:
    index = source - part.first
    return part.steps[index].text if 0 <= index < len(part.steps) else ""


def _read_entry(match: re.Match[str], text: str) -> Entry:
    word = re.split(r"[^A-Z]", match[2])[0]
    return Entry(_MEANINGS.get(word, Action.MERGE), _read_numbers(match[1]), _REVISED.sub("", text.strip()).strip())


def _read_numbers(text: str) -> list[int]:
    numbers: list[int] = []
    for match in _RANGE.finditer(text):
        first, last = match[1], match[2] or match[1]
        if max(len(first), len(last)) > _MOST or int(last) < int(first):
            raise BadReply(f"'{match[0]}' is not a range of steps")
        numbers += range(int(first), int(last) + 1)
    return numbers


# FOLDED DOC of teachers.replies.formats:
# What a reply format does: show a task to the teacher, foresee the reply's length, and read the reply.
#
# Readers raise BadReply with all that is wrong, in words for the teacher.
#
