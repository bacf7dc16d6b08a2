"""Sentences and clauses of a text, with character offsets.

"5 pies of 8 make 40, so 40 - 14 = 26 are gone. Good." splits into "5 pies of 8 make 40, ", "so 40 - 14 = 26 are gone. "
and "Good.": the connective carries a deduction from one side with maths to another. White space belongs to what is
before it.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Span = tuple[int, int]

_OPENER = re.compile(r"\\\[|\\\(|\\begin\{(\w{1,20}\*?)\}|\$\$|\$|\*\*|`")
_DISPLAY_REACH = 4000
_INLINE_REACH = 400


def find_protected(text: str) -> list[Span]:
    """Non-overlapping spans, in order, that belong together: formulas (LaTeX and $), bold and code."""
    spans: list[Span] = []
    position = 0
    while (opener := _OPENER.search(text, position)) is not None:
        end = _find_end(text, opener)
        if end is None:
            position = opener.end()
        else:
            spans.append((opener.start(), end))
            position = end
    return spans


def _find_end(text: str, opener: re.Match[str]) -> int | None:
    mark = opener.group()
    if mark == "$":
        return _find_dollar(text, opener.end())
    if mark.startswith("\\begin"):
        return _find_mark(text, opener.end(), f"\\end{{{opener.group(1)}}}", _DISPLAY_REACH)
    if mark in {"\\[", "$$"}:
        return _find_mark(text, opener.end(), "\\]" if mark == "\\[" else "$$", _DISPLAY_REACH)
    closing = "\\)" if mark == "\\(" else mark
    end = _find_mark(text, opener.end(), closing, _INLINE_REACH)
    return None if end is None or "\n\n" in text[opener.end() : end] else end


def _find_mark(text: str, start: int, closing: str, reach: int) -> int | None:
    found = text.find(closing, start, start + reach)
    return None if found < 0 else found + len(closing)


def _find_dollar(text: str, start: int) -> int | None:
    """The end of `$...$`, by Pandoc's rule, under which "$5 and $6" are amounts and no formula."""
    if start >= len(text) or text[start].isspace():
        return None
    line_end = text.find("\n", start, start + _INLINE_REACH)
    stop = start + _INLINE_REACH if line_end < 0 else line_end
    found = text.find("$", start, stop)
    while found >= 0:
        if not text[found - 1].isspace() and not text[found + 1 : found + 2].isdigit() and found > start:
            return found + 1
        return None
    return None


@dataclass(frozen=True)
class Clause:
    """A contiguous piece of a text."""

    text: str
    start: int
    end: int
    paragraph: int
    """Number of the paragraph in which it starts, from 0."""


_BREAK = re.compile(r"\n\s*|(?<![.?!…])[.?!…]++[\"'”’)\]*]*\s+")
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


def split_sentences(text: str) -> list[Clause]:
    """Sentences, lines and displayed formulas; they tile the text."""
    return _cut(text, _find_sentence_ends)


def split_clauses(text: str) -> list[Clause]:
    """Sentences, cut again at connectives between two sides that both carry maths; they tile the text."""
    return _cut(text, lambda whole, spans: sorted({*_find_sentence_ends(whole, spans), *_find_turns(whole, spans)}))


def carries_maths(text: str) -> bool:
    """Whether there is a number, a formula, a relation or a variable."""
    return _MATHS.search(text) is not None


def _cut(text: str, find_ends: Callable[[str, list[Span]], list[int]]) -> list[Clause]:
    first = len(text) - len(text.lstrip())
    ends = [end for end in find_ends(text, find_protected(text)) if first < end < len(text)]
    starts = [0, *ends]
    clauses, paragraph = [], 0
    for start, end in zip(starts, [*ends, len(text)], strict=True):
        piece = text[start:end]
        clauses.append(Clause(piece, start, end, paragraph))
        paragraph += _ends_paragraph(piece)
    return [clause for clause in clauses if clause.text]


def _ends_paragraph(piece: str) -> bool:
    return piece[len(piece.rstrip()) :].count("\n") > 1


def _find_sentence_ends(text: str, spans: list[Span]) -> list[int]:
    return [m.end() for m in _outside(_BREAK, text, spans) if _is_sentence_end(text, m)]


def _outside(pattern: re.Pattern[str], text: str, spans: list[Span]) -> Iterator[re.Match[str]]:
    """Matches that do not start inside a protected span."""
    starts = [start for start, _ in spans]
    for match in pattern.finditer(text):
        nearest = bisect_right(starts, match.start()) - 1
        if nearest < 0 or match.start() >= spans[nearest][1]:
            yield match


def _is_sentence_end(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - _LOOKBACK) : match.start()]
    if match.group().startswith("\n"):
        introduces = before.rstrip().endswith((":", ",", "="))
        return not (introduces and _DISPLAY_NEXT.match(text, match.end()))
    if "\n" in match.group():
        return True
    if match.group().startswith(".") and _ABBREVIATION.search(before):
        return False
    return not _LOWER_WORD.match(text, match.end())


def _find_turns(text: str, spans: list[Span]) -> list[int]:
    """Ends of connectives with maths on both sides, each side within its own sentence."""
    stops = [0, *_find_sentence_ends(text, spans), len(text)]
    turns: list[int] = []
    for match in _outside(_CONNECTIVE, text, spans):
        place = bisect_right(stops, match.start())
        left = max(stops[place - 1], turns[-1] if turns else 0)
        right = stops[place] if place < len(stops) else len(text)
        if carries_maths(text[left : match.start()]) and carries_maths(text[match.end() : right]):
            turns.append(match.end())
    return turns


# FOLDED DOC of teachers.ruleset.protected:
# Spans that no boundary may cut: formulas, bold, code.
#
# Reads a text, gives character spans in order, for instance "so \\(x = 1.\\) Then" -> [(3, 13)].
# An opening mark without its closing one within a bounded distance protects nothing, so that hostile input stays linear.
#
