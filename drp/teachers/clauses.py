"""Sentences and clauses of a text, with character offsets.

    split_clauses("5 pies of 8 make 40, so 40 - 14 = 26 are gone. Good.")
        ->  "5 pies of 8 make 40, ", "so 40 - 14 = 26 are gone. ", "Good."

A sentence is cut again at a connective ("so", "therefore", ";") that has maths on both sides. The pieces tile the text:
white space belongs to the piece before it. No cut is made inside a formula, bold text or code. An opening delimiter
whose closing one does not follow within a bounded distance protects nothing, so that splitting takes time in proportion
to the length of any text.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

Span = tuple[int, int]
"""Start and end of a part of a text, in characters."""


class Clause(NamedTuple):
    """A contiguous part of a text: text == whole[start:end]."""

    text: str
    start: int
    end: int
    paragraph: int
    """Number of the paragraph in which it starts, from 0."""


_SENTENCE_END = re.compile(r"\n\s*|(?<![.?!…])[.?!…]++[\"'”’)\]*]*\s+")
_CONNECTIVE = re.compile(
    r"[,;]\s+(?=(?:(?:and |but )?(?:so|which means|therefore|thus|hence)|(?:and|but) then)\b)|;\s+", re.IGNORECASE
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Fig|Eq|vs|approx|e\.g|i\.e|cf)|(?:^|\n)[ \t]*\(?(?:\d{1,3}|[a-zA-Z]))$"
)
_LOWER_WORD = re.compile(r"[a-z]{2,}|[a-z](?=['’])")
_MATHS = re.compile(r"\d|\\[a-zA-Z(\[]|[=+<>≤≥×÷]|(?<!['’])\b[b-hj-z]\b")
_DISPLAY_NEXT = re.compile(r"\\\[|\$\$|\\begin")
_LOOKBACK = 24
"""Characters before a full stop in which an abbreviation is looked for."""
_OPENING = re.compile(r"\\\[|\\\(|\\begin\{(\w{1,20}\*?)\}|\$\$|\$|\*\*|`")
_CLOSING = {"\\[": "\\]", "$$": "$$", "\\(": "\\)", "**": "**", "`": "`"}
_DISPLAY_REACH = 4000
"""Characters within which a displayed formula has to close."""
_INLINE_REACH = 400
"""Characters within which an inline formula, bold text or code has to close."""


def split_sentences(text: str) -> list[Clause]:
    """Sentences, lines and displayed formulas; together they are the whole text."""
    return _cut(text, _find_sentence_ends(text, find_protected(text)))


def split_clauses(text: str) -> list[Clause]:
    """Sentences, cut again at connectives with maths on both sides; together they are the whole text."""
    protected = find_protected(text)
    ends = _find_sentence_ends(text, protected)
    return _cut(text, sorted({*ends, *_find_connective_ends(text, protected, ends)}))


def carries_maths(text: str) -> bool:
    """Whether there is a number, a formula, a relation or a variable in the text."""
    return _MATHS.search(text) is not None


def find_protected(text: str) -> list[Span]:
    """The spans in which no cut is made, in order, without overlap: formulas (LaTeX and $), bold text and code.

    find_protected("so \\\\(x = 1.\\\\) Then")  ->  [(3, 13)]
    """
    spans: list[Span] = []
    position = 0
    while opening := _OPENING.search(text, position):
        end = _find_closing_end(text, opening)
        if end is not None:
            spans.append((opening.start(), end))
        position = opening.end() if end is None else end
    return spans


def _find_closing_end(text: str, opening: re.Match[str]) -> int | None:
    """The end of what the delimiter opens; None where nothing closes it within reach."""
    start = opening.end()
    if opening[0] == "$":
        return _find_dollar_end(text, start)
    is_display = opening[1] is not None or opening[0] in ("\\[", "$$")
    closing = f"\\end{{{opening[1]}}}" if opening[1] else _CLOSING[opening[0]]
    found = text.find(closing, start, start + (_DISPLAY_REACH if is_display else _INLINE_REACH))
    if found < 0 or (not is_display and "\n\n" in text[start:found]):
        return None
    return found + len(closing)


def _find_dollar_end(text: str, start: int) -> int | None:
    """The end of `$...$`, by Pandoc's rule, under which "$5 and $6" are amounts and not a formula."""
    if start >= len(text) or text[start].isspace():
        return None
    line_end = text.find("\n", start, start + _INLINE_REACH)
    found = text.find("$", start, start + _INLINE_REACH if line_end < 0 else line_end)
    closes = found > start and not text[found - 1].isspace() and not text[found + 1 : found + 2].isdigit()
    return found + 1 if closes else None


def _find_sentence_ends(text: str, protected: list[Span]) -> list[int]:
    matches = _find_outside(_SENTENCE_END, text, protected)
    return [match.end() for match in matches if _is_sentence_end(text, match)]


def _find_outside(pattern: re.Pattern[str], text: str, protected: list[Span]) -> Iterator[re.Match[str]]:
    """Matches that do not start inside a protected span."""
    starts = [start for start, _ in protected]
    for match in pattern.finditer(text):
        nearest = bisect_right(starts, match.start()) - 1
        if nearest < 0 or match.start() >= protected[nearest][1]:
            yield match


def _is_sentence_end(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - _LOOKBACK) : match.start()]
    if match[0].startswith("\n"):
        introduces = before.rstrip().endswith((":", ",", "="))
        return not (introduces and _DISPLAY_NEXT.match(text, match.end()))
    if "\n" in match[0]:
        return True
    if match[0].startswith(".") and _ABBREVIATION.search(before):
        return False
    return not _LOWER_WORD.match(text, match.end())


def _find_connective_ends(text: str, protected: list[Span], sentence_ends: list[int]) -> list[int]:
    """Ends of connectives with maths on both sides, within one sentence."""
    stops = [0, *sentence_ends, len(text)]
    ends: list[int] = []
    for match in _find_outside(_CONNECTIVE, text, protected):
        place = bisect_right(stops, match.start())
        left = max(stops[place - 1], ends[-1] if ends else 0)
        right = stops[place] if place < len(stops) else len(text)
        if carries_maths(text[left : match.start()]) and carries_maths(text[match.end() : right]):
            ends.append(match.end())
    return ends


def _cut(text: str, ends: Iterable[int]) -> list[Clause]:
    """The text cut at these positions, the first piece with all white space that the text begins with."""
    first = len(text) - len(text.lstrip())
    edges = [0, *(end for end in ends if first < end < len(text)), len(text)]
    clauses, paragraph = [], 0
    for start, end in pairwise(edges):
        piece = text[start:end]
        clauses.append(Clause(piece, start, end, paragraph))
        paragraph += piece.count("\n", len(piece.rstrip())) > 1
    return clauses if text else []
