"""Kept and changed steps put together again, for the format in which the teacher writes out changes only.

Steps keep the white space that stood between them; where something was deleted, the stronger separation stays
(a paragraph's end before a space), and a sentence cut off by the deletion gets its full stop or its capital letter.

    "She has 3, " KEEP, "let me see. \\n" DELETE, "and buys 4." KEEP   ->   "She has 3.\\nAnd buys 4."
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from drp.records import Action, Edit, Step
from drp.teachers.checks import excerpt
from drp.teachers.llm.reply import BadReply

_SAME = (
    dict.fromkeys("‘’‚‛`´′ʼ", "'")
    | dict.fromkeys("“”„‟«»″", '"')
    | dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "")
    | {"…": "..."}
)
_TABLE = str.maketrans(_SAME)
_OTHER_WIDTH = re.compile("[" + "".join(char for char, same in _SAME.items() if len(same) != 1) + "]")
_CUT = re.compile(r"[A-Za-z0-9]{2}|\d[.,]\d")
_PROBE = 40
_REASON = "steps not verbatim"


@dataclass(frozen=True)
class Piece:
    """One step of a reply. label: its heading, which is the source's own where the source numbers its steps, too."""

    label: str
    text: str


@dataclass(frozen=True)
class Folded:
    """A text as it is compared, without white space, quotes and dashes plain; offsets[i] is where character i was."""

    text: str
    offsets: list[int]


def fold(text: str) -> str:
    """The text as it is compared: no white space, quotes and dashes plain."""
    return "".join(text.split()).translate(_TABLE)


def fold_with_offsets(text: str) -> Folded:
    """See Folded."""
    if not _OTHER_WIDTH.search(text):
        return Folded(fold(text), [offset for offset, char in enumerate(text) if not char.isspace()])
    widths = ((offset, len(_SAME.get(char, char))) for offset, char in enumerate(text) if not char.isspace())
    return Folded(fold(text), [offset for offset, width in widths for _ in range(width)])


def align(source: str, pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    """Start and end of every piece in the source; together they tile it. Raises BadReply where that cannot be.

    The white space between two pieces belongs to the first of them.
    """
    folded, position, starts = fold_with_offsets(source), 0, []
    for number, piece in enumerate(pieces, 1):
        length = _match(folded.text, position, piece)
        if not length:
            raise BadReply(_explain(source, folded, position, number, piece), reason=_REASON)
        starts.append(folded.offsets[position])
        position += length
    if position < len(folded.text):
        missing = excerpt(source[folded.offsets[position] :])
        raise BadReply(f"the end of the reasoning is missing, from {missing} on", reason=_REASON)
    _refuse_cut_words(source, starts)
    return list(pairwise([0, *starts[1:], len(source)]))


def _match(source: str, position: int, piece: Piece) -> int:
    """How far the piece goes from this position; 0 where it does not stand there."""
    text = fold(piece.text)
    for candidate in (text, fold(piece.label) + text):
        if candidate and source.startswith(candidate, position):
            return len(candidate)
    return 0


def _explain(source: str, folded: Folded, position: int, number: int, piece: Piece) -> str:
    copied = fold_with_offsets(piece.text)
    if not copied.text:
        return f"step {number} has no text"
    if position == len(folded.text):
        return f"step {number} comes after the reasoning's end: {excerpt(piece.text)}"
    probe = copied.text[:_PROBE]
    later = folded.text.find(probe, position + 1)
    if later > 0:
        left_out = source[folded.offsets[position] : folded.offsets[later]]
        return f"between step {number - 1} and step {number} a piece of the reasoning is missing: {excerpt(left_out)}"
    if 0 <= folded.text.find(probe) < position:
        return f"step {number} is a repetition or out of order: {excerpt(piece.text)}"
    same = _count_common(folded.text, position, copied.text)
    expected = source[folded.offsets[min(position + same, len(folded.offsets) - 1)] :]
    got = piece.text[copied.offsets[same] :] if same < len(copied.offsets) else ""
    instead = f"it has {excerpt(got)} where the reasoning has {excerpt(expected)}"
    return f"step {number} is not a copy of the reasoning: {instead}"


def _count_common(source: str, position: int, text: str) -> int:
    pairs = zip(source[position : position + len(text)], text, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(text), len(source) - position))


def _refuse_cut_words(source: str, starts: list[int]) -> None:
    for number, start in enumerate(starts[1:], 2):
        if _CUT.fullmatch(source[start - 1 : start + 1]) or _CUT.fullmatch(source[max(0, start - 2) : start + 1]):
            message = f"step {number} begins inside a word or a number: {excerpt(source[start - 1 :])}"
            raise BadReply(message, reason=_REASON)


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


# FOLDED DOC of teachers.replies.alignment:
# Copied text found again in its source, so that steps become offsets that tile it exactly.
#
# White space may differ, and quotes and dashes may be other ones of their kind; any other difference is a problem.
#
#     align('He said “a – b”. So 4.', [Piece("Step 1:", 'He said "a - b".'), Piece("Step 2:", "So  4.")])
#         ->  [(0, 17), (17, 22)]
#
