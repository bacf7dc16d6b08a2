"""The list of actions in a prune reply, common to both formats.

    Step 1: KEEP                                            1 KEEP
    Step 2: SINGLE-STEP COMPRESS: Joy reads 8 pages.        2 REWRITE: Joy reads 8 pages.
    Steps 3-4: MULTI-STEP COMPRESS: So 120 / 0.4 = 300.     3-4 MERGE: So 120 / 0.4 = 300.
    5. **DELETE**                                           5 DELETE

Names of actions are capital letters, so that a sentence such as "2. Keep the total" is not one of them. What follows
KEEP or DELETE is a remark of the teacher's and is not read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from drp.records import Action, Edit
from drp.teachers.checks import excerpt
from drp.teachers.replies.formats import BadReply, Part

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
