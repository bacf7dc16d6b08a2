"""Token estimates, and long traces divided into parts whose replies fit the teacher's output limit.

A text is cut between paragraphs; only where a paragraph alone is too long, between its sentences, then its words.

    divide("One.\\n\\nTwo.", limit=3, measure=bound_tokens)  ->  [(0, 6), (6, 10)]
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence

from drp.teachers.clauses import Span, split_sentences

_TOKEN = re.compile(r"[A-Za-z]{1,7}|[0-9]{1,3}|\n+|[^\sA-Za-z0-9]")
_MATCHES_PER_TOKEN = 1.05
"""Matches of _TOKEN for each GPT-4o token: 1.07 in prompts, 1.01 to 1.04 in replies."""
_MARGIN = 1.2
"""On 416 real traces there were between 0.86 and 1.29 matches of _TOKEN for each GPT-4o token."""
_HALF = 0.6
"""Largest share of a text that a half may have: paragraphs do not divide evenly."""


def estimate_tokens(text: str) -> int:
    """The expected number of GPT-4o tokens: off by -4% to +3% for the prompts and replies of 416 real traces. R1's own
    tokenizer needs 6% to 18% more."""
    return round(len(_TOKEN.findall(text)) / _MATCHES_PER_TOKEN)


def bound_tokens(text: str) -> int:
    """An upper estimate of the tokens of a text, for the tokenizers of current models."""
    return math.ceil(_MARGIN * len(_TOKEN.findall(text)))


def divide(text: str, limit: int, measure: Callable[[str], int]) -> list[Span]:
    """Cut a text into parts of about equal size, each measuring at most `limit` if it can be cut that small."""
    pieces = list(_refine(text, (0, len(text)), limit, measure, _CUTS))
    groups = pack([measure(text[start:end]) for start, end in pieces], limit)
    return [(pieces[group[0]][0], pieces[group[-1]][1]) for group in groups]


def halve(text: str, measure: Callable[[str], int]) -> list[Span]:
    """Cut a text into about two parts, or one if it cannot be cut."""
    return divide(text, int(_HALF * measure(text)) + 1, measure)


def pack(sizes: Sequence[int], limit: int) -> list[range]:
    """Group neighbours into as few groups as the limit allows, about equally full. A size above it is a group alone."""
    total = sum(sizes)
    share = total / max(1, math.ceil(total / limit))
    groups, start, filled = [], 0, 0
    for index, size in enumerate(sizes):
        if index > start and (filled + size > limit or filled + size / 2 > share):
            groups.append(range(start, index))
            start, filled = index, 0
        filled += size
    return [*groups, range(start, len(sizes))]


def shorten(text: str, limit: int) -> str:
    """The beginning and the end of what came before a part, with more of the end. limit: characters."""
    text = text.strip()
    if len(text) <= limit:
        return text or "(nothing: this is the beginning)"
    return f"{text[: limit // 4]} […] {text[-3 * limit // 4 :]}"


def _refine(
    text: str,
    span: Span,
    limit: int,
    measure: Callable[[str], int],
    cuts: Sequence[Callable[[str], list[int]]],
) -> Iterator[Span]:
    """The span, or the pieces that the first of the cuts makes of it, themselves refined by the other cuts."""
    start, end = span
    if not cuts or measure(text[start:end]) <= limit:
        yield span
        return
    for piece in _cut(text, span, cuts[0]):
        yield from _refine(text, piece, limit, measure, cuts[1:])


def _cut(text: str, span: Span, find_cuts: Callable[[str], list[int]]) -> list[Span]:
    """The span in pieces, none of them blank."""
    start, end = span
    last, edges = start + len(text[start:end].rstrip()), [start]
    for cut in find_cuts(text[start:end]):
        if start + cut < last and text[edges[-1] : start + cut].strip():
            edges.append(start + cut)
    return list(zip(edges, [*edges[1:], end], strict=True))


def _find_paragraphs(text: str) -> list[int]:
    return [match.end() for match in re.finditer(r"\n\s*\n\s*", text)]


def _find_sentences(text: str) -> list[int]:
    return [sentence.start for sentence in split_sentences(text)[1:]]


def _find_words(text: str) -> list[int]:
    return [match.end() for match in re.finditer(r"\s+", text)]


def _find_characters(text: str) -> list[int]:
    """Cuts for a text without spaces, such as a repeated sign."""
    return list(range(100, len(text), 100))


_CUTS = (_find_paragraphs, _find_sentences, _find_words, _find_characters)
