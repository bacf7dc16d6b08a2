"""What the two reply formats have in common: their interface, and the list of actions with which a prune reply begins.

    text                                                    spans
    Step 1: KEEP                                            1 KEEP
    Step 2: SINGLE-STEP COMPRESS: Joy reads 8 pages.        2 REWRITE: Joy reads 8 pages.
    Steps 3-4: MULTI-STEP COMPRESS: So 120 / 0.4 = 300.     3-4 MERGE: So 120 / 0.4 = 300.
    5. **DELETE**                                           5 DELETE

Names of actions are in capital letters, so that a sentence such as "2. Keep the total" is not read as one. Whatever
follows KEEP or DELETE is a remark and is not read.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from drp.records import Action, Edit, Step
from drp.teachers.checks import Violation, excerpt
from drp.teachers.llm.division import bound_tokens, estimate_tokens

MAX_SKILL = 80
"""Characters of a skill's name at most."""

_NUMBERS = r"\d+(?:\s*(?:-|–|—|,|&|\+|\bto\b|\band\b)\s*(?:[Ss]teps?\s*)?\d+)*"
_ACTIONS = r"KEEP|DELETE|REWRITE|MERGE|SINGLE[-‑– _]STEP[- _]COMPRESS|MULTI[-‑– _]STEP[- _]COMPRESS"
_ACTION_LINE = re.compile(
    rf"^[ \t>#*_`-]*(?:[Ss]teps?\s*)?({_NUMBERS})[ \t]*[*_`]*[ \t]*[:.)|\]–—-]?[*_`]*[ \t]*[*_`\[(]*"
    rf"({_ACTIONS})\b[)\]*_`]*[ \t]*(?:[:.—–-](?:[*_`]+(?=\s|$))?)?[ \t]*(.*)$",
    re.MULTILINE,
)
_RANGE = re.compile(r"(\d+)(?:\s*(?:-|–|—|\bto\b)\s*(?:[Ss]teps?\s*)?(\d+))?")
_REVISED = re.compile(r"^[*_]*(?:Revised|Revised text|Revised step|New text)[*_]*:[*_]*\s*", re.IGNORECASE)
_UNCHANGED = re.compile(r"\W*(?:UNCHANGED|KEEP)\b")
_MEANINGS = {"K": Action.KEEP, "D": Action.DELETE, "R": Action.REWRITE, "S": Action.REWRITE, "M": Action.MERGE}
"""Actions by the first letter of their names in replies."""
_MAX_DIGITS = 6
"""Digits of a step's number at most."""


class BadReply(Exception):
    """A reply that cannot be used; its problems go back to the teacher.

    reason: that of the first problem if a check found it, else the given one.
    """

    def __init__(self, *problems: str, reason: str = "unreadable reply") -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.reason = problems[0].reason if isinstance(problems[0], Violation) else reason


@dataclass(frozen=True)
class TracePart:
    """The consecutive steps of a trace that one prune request is about."""

    steps: Sequence[Step]
    first: int
    """Index of `steps[0]` in the whole trace, from 0; the teacher sees numbers from 1."""
    is_last: bool
    """Whether the trace ends with these steps; the request then asks for the answer segment too."""

    @property
    def numbers(self) -> range:
        """The steps' numbers as the teacher sees them."""
        return range(self.first + 1, self.first + len(self.steps) + 1)


@dataclass(frozen=True)
class PartRevision:
    """What one prune reply says about its part of the trace, not yet checked against the source."""

    edits: list[Edit]
    """Their sources are indexes into the steps of the whole trace."""
    thinking: str
    """The shorter text, with the white space that separates it from the next part."""
    summary: str | None
    """None if the answer segment stays as it is, or was not asked for."""


class ReplyFormat(ABC):
    """One way to show a task to the teacher and to read its reply.

    Lengths are in output tokens: `bound_*` gives an upper estimate, by which long traces are divided, and `estimate_*`
    the expected length, for `drp estimate`.
    """

    name: ClassVar[str]
    steps_rates: ClassVar[tuple[float, float]]
    """Expected tokens of a decomposition, per token of reasoning: without skills, and with skills."""
    edits_rates: ClassVar[tuple[float, float]]
    """Expected tokens of a revision that leaves the answer segment unchanged: per token of the steps, and per step."""
    max_edits_rates: ClassVar[tuple[float, float]]
    """Upper estimate of the same."""

    @abstractmethod
    def show_thinking(self, text: str) -> dict[str, str]:
        """The decompose prompt's placeholder for the reasoning, with its value."""

    @abstractmethod
    def read_steps(self, reply: str, text: str, with_skills: bool) -> list[Step]:
        """Steps that tile the text, with offsets from its beginning. Raises BadReply with all that is wrong."""

    @abstractmethod
    def bound_steps(self, text: str) -> int:
        """Tokens that the decomposition of this text takes at most."""

    def estimate_steps(self, text: str, with_skills: bool) -> int:
        """Tokens that the decomposition of this text is expected to take."""
        return round(self.steps_rates[with_skills] * estimate_tokens(text))

    @abstractmethod
    def show_steps(self, part: TracePart) -> str:
        """The numbered steps with their skills."""

    @abstractmethod
    def read_revision(self, reply: str, part: TracePart) -> PartRevision:
        """Edits that cover the part, and the shorter text. Raises BadReply with all that is wrong."""

    def bound_edit(self, step: Step) -> int:
        """Tokens that the revision of this step takes at most."""
        per_token, per_step = self.max_edits_rates
        return int(per_token * bound_tokens(step.text) + per_step)

    def estimate_edits(self, part: TracePart) -> int:
        """Tokens that the revision of this part is expected to take."""
        per_token, per_step = self.edits_rates
        return round(per_token * sum(estimate_tokens(step.text) for step in part.steps) + per_step * len(part.steps))


def strip_fence(reply: str) -> str:
    """The reply without the code fence that some models put around all of it."""
    lines = reply.strip().splitlines()
    if len(lines) > 1 and lines[0].startswith("```") and lines[-1].strip() == "```":
        lines = lines[1:-1]
    return "\n".join(lines)


def is_unchanged(answer: str) -> bool:
    """Whether a reply says that the answer segment stays as it is."""
    return _UNCHANGED.match(answer) is not None


@dataclass(frozen=True)
class ActionLine:
    """One entry of the list of actions: the numbers as the teacher gave them, and the text up to the next entry."""

    action: Action
    numbers: list[int]
    text: str


def find_actions(reply: str) -> tuple[list[ActionLine], int]:
    """All entries of the list, and the offset at which the last one's line ends. Raises BadReply if there is none."""
    matches = list(_ACTION_LINE.finditer(reply))
    if not matches:
        raise BadReply(f"no line gives a step one of the four actions; the reply begins {excerpt(reply)}")
    ends = [*(match.start() for match in matches[1:]), len(reply)]
    lines = [_read_action(match, reply[match.start(3) : end]) for match, end in zip(matches, ends, strict=True)]
    return lines, matches[-1].end()


def make_edits(lines: Sequence[ActionLine], part: TracePart) -> list[Edit]:
    """One edit for each kept or deleted step, and one for the steps that a line rewrites or merges."""
    texts = {number: step.text for number, step in zip(part.numbers, part.steps, strict=True)}
    edits = []
    for line in lines:
        if line.action is Action.KEEP:
            edits += [Edit(action=line.action, sources=[n - 1], text=texts.get(n, "")) for n in line.numbers]
        elif line.action is Action.DELETE:
            edits += [Edit(action=line.action, sources=[n - 1], text="") for n in line.numbers]
        else:
            # A rewrite of several steps is a merge, whatever the teacher called it.
            action = Action.MERGE if len(line.numbers) > 1 else line.action
            edits.append(Edit(action=action, sources=[n - 1 for n in line.numbers], text=line.text))
    return edits


def _read_action(match: re.Match[str], text: str) -> ActionLine:
    return ActionLine(_MEANINGS[match[2][0]], _read_numbers(match[1]), _REVISED.sub("", text.strip()).strip())


def _read_numbers(text: str) -> list[int]:
    numbers: list[int] = []
    for match in _RANGE.finditer(text):
        first, last = match[1], match[2] or match[1]
        if max(len(first), len(last)) > _MAX_DIGITS or int(last) < int(first):
            raise BadReply(f"'{match[0]}' is not a range of steps")
        numbers += range(int(first), int(last) + 1)
    return numbers
