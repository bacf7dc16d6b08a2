"""Copied text found again in its source, so that the steps of a reply become offsets that tile the source.

White space may differ, and quotes and dashes may be other ones of their kind; any other difference is a problem.

    align("He said “a – b”. So 4.", [CopiedStep("Step 1:", 'He said "a - b".'), CopiedStep("Step 2:", "So  4.")])
        ->  [(0, 17), (17, 22)]
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from drp.teachers.checks import excerpt
from drp.teachers.clauses import Span
from drp.teachers.llm.reply import BadReply

_SAME = (
    dict.fromkeys("‘’‚‛`´′ʼ", "'")
    | dict.fromkeys("“”„‟«»″", '"')
    | dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "")
    | {"…": "..."}
)
_SAME_TABLE = str.maketrans(_SAME)
_OTHER_WIDTH = re.compile("[" + "".join(char for char, same in _SAME.items() if len(same) != 1) + "]")
_NOT_SPACE = re.compile(r"\S+")
_CUT_WORD = re.compile(r"[A-Za-z0-9]{2}|\d[.,]\d")
_WORD = re.compile(r"\d+(?:\.\d+)?|\w+")
_PROBE = 40
"""Characters of a step by which it is looked for elsewhere in the source."""
_REASON = "steps not verbatim"


@dataclass(frozen=True)
class CopiedStep:
    """One step of a reply."""

    label: str
    """Its heading, such as "Step 2:"; part of the source where the source itself numbers its steps."""
    text: str


@dataclass(frozen=True)
class FoldedText:
    """A text as it is compared (`fold`), with the offset of each of its characters in the original text."""

    text: str
    offsets: list[int]


def align(source: str, steps: Sequence[CopiedStep]) -> list[Span]:
    """Start and end of every step in the source; together they tile it.

    The white space between two steps belongs to the first of them. Raises BadReply if the steps are not a copy.
    """
    folded, position, starts = fold_with_offsets(source), 0, []
    for number, step in enumerate(steps, 1):
        length = _match(folded.text, position, step)
        if not length:
            raise BadReply(_explain(source, folded, position, number, step), reason=_REASON)
        starts.append(folded.offsets[position])
        position += length
    if position < len(folded.text):
        missing = excerpt(source[folded.offsets[position] :])
        raise BadReply(f"the end of the reasoning is missing, from {missing} on", reason=_REASON)
    for number, start in enumerate(starts[1:], 2):
        if _CUT_WORD.fullmatch(source[start - 1 : start + 1]) or _CUT_WORD.fullmatch(
            source, max(0, start - 2), start + 1
        ):
            message = f"step {number} begins inside a word or a number: {excerpt(source[start - 1 :])}"
            raise BadReply(message, reason=_REASON)
    return list(pairwise([0, *starts[1:], len(source)]))


def attribute(originals: Sequence[str], sentences: Sequence[str]) -> list[str]:
    """For each original, in order, the consecutive sentences of a shorter text that say the same, by common words.

    An original that no sentence is left for gets the sentence nearest to it, so that only an empty text gives "".
    """
    bits: dict[str, int] = {}
    wanted, given = _to_masks(originals, bits), _to_masks(sentences, bits)
    scores = [[_dice(mask, other) for other in wanted] for mask in given]
    best, choices = [0.0] * len(originals), list[list[int]]()
    for row in scores:
        # For each original, the best place up to it for the sentence before.
        reached = [0] * len(best)
        for place in range(1, len(best)):
            reached[place] = place if best[place] > best[reached[place - 1]] else reached[place - 1]
        best = [best[reached[place]] + score for place, score in enumerate(row)]
        choices.append(reached)
    texts = [""] * len(originals)
    place = max(range(len(best)), key=best.__getitem__, default=0)
    for sentence, reached in zip(reversed(sentences), reversed(choices), strict=True):
        texts[place] = sentence + texts[place]
        place = reached[place]
    for index, text in enumerate(texts):
        if not text and sentences:
            texts[index] = max(zip(scores, sentences, strict=True), key=lambda pair: pair[0][index])[1]
    return [text.strip() for text in texts]


def _to_masks(texts: Sequence[str], bits: dict[str, int]) -> list[int]:
    """The words of each text as a set of bits."""
    return [sum({1 << bits.setdefault(word, len(bits)) for word in _WORD.findall(text.lower())}) for text in texts]


def _dice(a: int, b: int) -> float:
    return 2 * (a & b).bit_count() / ((a.bit_count() + b.bit_count()) or 1)


def fold(text: str) -> str:
    """The text as it is compared: without white space, with plain quotes and dashes."""
    return "".join(text.split()).translate(_SAME_TABLE)


def fold_with_offsets(text: str) -> FoldedText:
    """The text as it is compared, with offsets."""
    offsets = [offset for run in _NOT_SPACE.finditer(text) for offset in range(run.start(), run.end())]
    if _OTHER_WIDTH.search(text):
        offsets = [offset for offset in offsets for _ in _SAME.get(text[offset], " ")]
    return FoldedText(fold(text), offsets)


def _match(source: str, position: int, step: CopiedStep) -> int:
    """The length of the step in the folded source if it begins at this position, else 0."""
    text = fold(step.text)
    for candidate in (text, fold(step.label) + text):
        if candidate and source.startswith(candidate, position):
            return len(candidate)
    return 0


def _explain(source: str, folded: FoldedText, position: int, number: int, step: CopiedStep) -> str:
    """Why the step does not begin at this position, in words for the teacher."""
    copied = fold_with_offsets(step.text)
    if not copied.text:
        return f"step {number} has no text"
    if position == len(folded.text):
        return f"step {number} comes after the reasoning's end: {excerpt(step.text)}"
    probe = copied.text[:_PROBE]
    later = folded.text.find(probe, position + 1)
    if later > 0:
        left_out = source[folded.offsets[position] : folded.offsets[later]]
        return f"between step {number - 1} and step {number} a piece of the reasoning is missing: {excerpt(left_out)}"
    if 0 <= folded.text.find(probe) < position:
        return f"step {number} is a repetition or out of order: {excerpt(step.text)}"
    same = _count_common(folded.text, position, copied.text)
    expected = source[folded.offsets[min(position + same, len(folded.offsets) - 1)] :]
    got = step.text[copied.offsets[same] :] if same < len(copied.offsets) else ""
    instead = f"it has {excerpt(got)} where the reasoning has {excerpt(expected)}"
    return f"step {number} is not a copy of the reasoning: {instead}"


def _count_common(source: str, position: int, text: str) -> int:
    """How many characters of the text are the same as in the source from this position on."""
    pairs = zip(source[position : position + len(text)], text, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(text), len(source) - position))
