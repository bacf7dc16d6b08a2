"""Spans that no boundary may cut: formulas, bold, code.

Reads a text, gives character spans in order, for instance "so \\(x = 1.\\) Then" -> [(3, 13)].
An opening mark without its closing one within a bounded distance protects nothing, so that hostile input stays linear.
"""

import re

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
