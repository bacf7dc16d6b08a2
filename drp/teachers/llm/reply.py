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
_ANSWER_RATE = 0.5
"""Expected tokens of a revised answer segment, per token of the original. A strong language model made those of 10 real
traces 0.47 times as long."""

_NUMBERS = r"\d+(?:\s*(?:-|–|—|~|～|,|，|、|&|\+|\bto\b|\band\b)\s*(?:[Ss]teps?\s*)?\d+)*"
_ACTIONS = r"KEEP|DELETE|REWRITE|MERGE|SINGLE[-‑– _]STEP[- _]COMPRESS|MULTI[-‑– _]STEP[- _]COMPRESS"
_PREFIX = r"^[ \t>#*_`|-]*(?:(?:[Ss]teps?|STEPS?|步骤|第)\s*)?"
_AFTER = r"[)\]*_`】|]*[ \t]*(?:[:：.—–-](?:[*_`]+(?=\s|$))?)?[ \t]*(.*)$"
_ACTION_LINE = re.compile(
    rf"{_PREFIX}({_NUMBERS})[ \t]*步?[*_`]*[ \t]*[:：.)|\]–—-]?[*_`]*[ \t]*[*_`\[(【]*({_ACTIONS})\b{_AFTER}",
    re.MULTILINE,
)
_OTHER_ACTION_LINES = [
    # Other letters, where nothing but a text after a colon follows: "Step 1: Keep", not "2. Keep the total".
    re.compile(
        rf"{_PREFIX}({_NUMBERS})[ \t]*[*_`]*[ \t]*[:：.)–—-]?[*_`]*[ \t]*[*_`\[(]*({_ACTIONS})"
        r"(?=[)\]*_`]*[ \t]*(?:[:：(]|[.]?$))" + _AFTER,
        re.MULTILINE | re.IGNORECASE,
    ),
    # The step is repeated, and its action comes on a line of its own.
    re.compile(
        rf"^[ \t>#*_`-]*[Ss]teps?\s*({_NUMBERS})\b.*\n(?:(?![ \t>#*_`-]*[Ss]tep).*\n){{0,8}}?"
        rf"[ \t>*_`-]*(?:Action|Decision)[*_`]*[ \t]*[:：][ \t*_`\[]*({_ACTIONS})\b{_AFTER}",
        re.MULTILINE | re.IGNORECASE,
    ),
    # No numbers, as where a numbered list was rendered: the lines are in the order of the steps.
    re.compile(rf"^[ \t>*_`-]*()({_ACTIONS})\b{_AFTER}", re.MULTILINE),
]
"""Forms of the list that are tried in turn where no line has the usual one."""
_RANGE = re.compile(r"(\d+)(?:\s*(?:-|–|—|~|～|\bto\b)\s*(?:[Ss]teps?\s*)?(\d+))?")
_REVISED = re.compile(r"^[*_>\s-]*(?:Revised|Revised text|Revised step|New text)[*_]*[:：][*_]*\s*", re.IGNORECASE)
_RULE = re.compile(r"\s*^[ \t]*(?:-{3,}|\*{3,}|_{3,})[ \t]*$\s*\Z|\s*^[ \t]*#+[^\n]*\Z", re.MULTILINE)
"""A line or heading at the end of an entry, before the next section."""
_THOUGHT = re.compile(
    r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A.*^[ \t]*</think>[ \t]*$", re.DOTALL | re.MULTILINE
)
_FENCED = re.compile(r"^```[\w-]*[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
_CLOSING_REMARK = re.compile(
    r"\n\s*\n[ \t>*_-]*(?:Let me know|I hope|Hope (?:this|that|it)|Feel free|Please let me know)\b(?:(?!\n\s*\n).)*\Z",
    re.DOTALL,
)
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
class PartSegmentation:
    """The steps of one part of a trace."""

    steps: list[Step]
    """They tile the part; offsets count from its beginning."""
    coverage: float | None = None
    """See `Decomposition.coverage`."""


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
    """Expected tokens of a revision without the answer segment: per token of the steps, and per step."""
    max_edits_rates: ClassVar[tuple[float, float]]
    """Upper estimate of the same."""

    @abstractmethod
    def show_thinking(self, text: str) -> dict[str, str]:
        """The decompose prompt's placeholder for the reasoning, with its value."""

    @abstractmethod
    def read_steps(self, reply: str, text: str, with_skills: bool) -> PartSegmentation:
        """Steps that tile the text. Raises BadReply with all that is wrong."""

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

    def estimate_edits(self, part: TracePart, summary: str) -> int:
        """Tokens that the revision of this part is expected to take. summary: the trace's answer segment, which is
        revised with the last part."""
        per_token, per_step = self.edits_rates
        n_tokens = per_token * sum(estimate_tokens(step.text) for step in part.steps) + per_step * len(part.steps)
        return round(n_tokens + _ANSWER_RATE * estimate_tokens(summary) if part.is_last else n_tokens)


def clean_reply(reply: str) -> str:
    """The reply without what chat models put around it: their own thinking, a code fence, an offer to help further."""
    reply = _THOUGHT.sub("", reply.lstrip("\ufeff")).strip()
    fenced = _FENCED.findall(reply + "\n")
    if len(fenced) == 1 and 2 * len(fenced[0]) > len(reply):
        reply = fenced[0].strip()
    return _CLOSING_REMARK.sub("", reply)


def describe_reply(reply: str) -> str:
    """The beginning of a reply in which nothing of the expected form was found, for a message."""
    if not reply.strip():
        return "the reply is empty"
    what = "the reply is JSON, not lines of this form; it" if reply.lstrip()[0] in "{[" else "the reply"
    return f"{what} begins {excerpt(reply)}"


def is_unchanged(answer: str) -> bool:
    """Whether a reply says that the answer segment stays as it is."""
    return _UNCHANGED.match(answer) is not None


@dataclass(frozen=True)
class ActionLine:
    """One entry of the list of actions: the numbers as the teacher gave them, and the text up to the next entry."""

    action: Action
    numbers: list[int]
    text: str


def find_actions(reply: str, first: int = 1) -> tuple[list[ActionLine], int]:
    """All entries of the list, and the offset at which the last one's line ends. Raises BadReply if there is none.

    first: number of the first step, from which entries without numbers count.
    """
    matches = list(_ACTION_LINE.finditer(reply))
    others = iter(_OTHER_ACTION_LINES)
    while not matches and (other := next(others, None)):
        matches = list(other.finditer(reply))
    if not matches:
        raise BadReply(f"no line gives a step one of the four actions; {describe_reply(reply)}")
    ends = [*(match.start() for match in matches[1:]), len(reply)]
    lines = [
        _read_action(match, reply[match.start(3) : end], number)
        for number, (match, end) in enumerate(zip(matches, ends, strict=True), first)
    ]
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


def _read_action(match: re.Match[str], text: str, number: int) -> ActionLine:
    numbers = _read_numbers(match[1]) or [number]
    text = _REVISED.sub("", _RULE.sub("", text.strip()).strip()).strip()
    if match[0].lstrip().startswith("|"):
        text = text.splitlines()[0].strip(" |") if text else ""
    return ActionLine(_MEANINGS[match[2][0].upper()], numbers, text)


def _read_numbers(text: str) -> list[int]:
    numbers: list[int] = []
    for match in _RANGE.finditer(text):
        first, last = match[1], match[2] or match[1]
        if max(len(first), len(last)) > _MAX_DIGITS or int(last) < int(first):
            raise BadReply(f"'{match[0]}' is not a range of steps")
        numbers += range(int(first), int(last) + 1)
    return numbers
