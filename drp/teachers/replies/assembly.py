"""Kept and changed steps put together again, for the format in which the teacher writes out changes only.

Steps keep the white space that stood between them; where something was deleted, the stronger separation stays
(a paragraph's end before a space), and a sentence cut off by the deletion gets its full stop or its capital letter.

    "She has 3, " KEEP, "let me see. \\n" DELETE, "and buys 4." KEEP   ->   "She has 3.\\nAnd buys 4."
"""

import re
from collections.abc import Sequence

from drp.records import Action, Edit, Step

_SENTENCE_END = re.compile(r"[.!?:…][\"'”’)\]*]*$")
_LOWER_WORD = re.compile(r"[a-z]{2,}\b")


def assemble(steps: Sequence[Step], edits: Sequence[Edit], first: int = 0) -> str:
    """The text that the edits make of the steps, with the separation after its end.

    first: index of `steps[0]` in the whole trace, from which the edits' sources count.
    """
    text, gap, before = "", "", Action.KEEP
    for edit in edits:
        tail = _find_tail(steps[edit.sources[-1] - first].text)
        if edit.action is Action.DELETE:
            gap, before = max(gap, tail, key=_weigh), edit.action
            continue
        addition = edit.text.strip()
        if before is Action.DELETE:
            text, addition = _mend(text, gap, addition)
        both_kept = before is Action.KEEP and edit.action is Action.KEEP
        if text and not gap and not both_kept:
            gap = " "
        text, gap, before = text + gap + addition if text else addition, tail, edit.action
    text = _close(text) if before is Action.DELETE else text
    return text + gap if text else ""


def _mend(text: str, gap: str, addition: str) -> tuple[str, str]:
    """The two sides of a deletion, the left one closed and the right one opened as sentences where they are two."""
    new_line = "\n" in gap
    left = _close(text) if new_line or addition[:1].isupper() else text
    opens_sentence = not text or new_line or _SENTENCE_END.search(text[-5:])
    return left, _capitalise(addition) if opens_sentence else addition


def _close(text: str) -> str:
    return text[:-1].rstrip() + "." if text.endswith((",", ";")) else text


def _capitalise(text: str) -> str:
    """Only words: a single letter may be a variable."""
    return text[0].upper() + text[1:] if _LOWER_WORD.match(text) else text


def _find_tail(text: str) -> str:
    return text[len(text.rstrip()) :]


def _weigh(gap: str) -> tuple[int, int]:
    return gap.count("\n"), len(gap)
