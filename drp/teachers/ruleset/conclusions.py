"""The summary reduced to its final statement, its boxed answer as the student wrote it.

"**Solution:** 60 - 40 = 20. Wendi needs \\(\\boxed{20}\\) cups." -> "Wendi needs \\(\\boxed{20}\\) cups."
"""

import re

from drp.teachers.ruleset.clauses import split_sentences
from drp.teachers.ruleset.closing import read_answer
from drp.teachers.ruleset.quantities import find_quantities

_PARAGRAPHS = re.compile(r"\n\s*\n")
_LIST_MARK = re.compile(r"^\s*(?:#{1,6}\s+|[-*]\s+|\d{1,2}[.)]\s+)")
_INTRODUCTION = re.compile(r"(?::|\*\*|is|are|equals)\s*$")
_BOX = "\\boxed"


def condense_summary(summary: str, predicted: str | None) -> str:
    """The last statement with the answer; the whole summary where that would lose the answer."""
    whole = summary.strip()
    if not whole or predicted is None:
        return whole
    short = _find_statement(whole)
    answer = read_answer(predicted)
    if not short or len(short) >= len(whole) or not answer.is_in(short, frozenset(find_quantities(short))):
        return whole
    return short


def _find_statement(summary: str) -> str:
    sentences = split_sentences(summary)
    if _BOX in summary:
        last = (
            max(i for i, sentence in enumerate(sentences) if _BOX in sentence.text)
            if any(_BOX in s.text for s in sentences)
            else -1
        )
    else:
        last = len(sentences) - 1
    if last < 0:
        return ""
    first = last
    while (
        first > 0
        and _needs_introduction(sentences[first].text)
        and _INTRODUCTION.search(sentences[first - 1].text.rstrip())
    ):
        first -= 1
    text = "".join(sentence.text for sentence in sentences[first : last + 1])
    return _LIST_MARK.sub("", text).strip()


def _needs_introduction(text: str) -> bool:
    """Whether a statement is a bare formula, which the line before it introduces."""
    return text.lstrip().startswith(("\\[", "$$", "\\(", "\\boxed", "$", "**"))
