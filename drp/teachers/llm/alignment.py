"""Steps of a reply found again in the source, so that they become offsets that tile the source.

`align` takes exact copies: white space may differ, and quotes and dashes may be other ones of their kind.

    align("He said “a – b”. So 4.", [CopiedStep("Step 1:", 'He said "a - b".'), CopiedStep("Step 2:", "So  4.")])
        ->  [(0, 17), (17, 22)]

`align_words` takes what teachers write when they are asked for copies: openings such as "First, I need to" dropped,
sentences left out, words inflected or replaced, formulas written in another way. Its steps have the words of the
source, too: what a teacher left out belongs to a neighbouring step.

    align_words("First, I need 8 / 2. So, it is 4.", [CopiedStep("Step 1:", "8 / 2"), CopiedStep("Step 2:", "It is 4")])
        ->  [(0, 21), (21, 33)], of whose words 5 of 9 are covered
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
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
_SUPERSCRIPTS = "\u00b2\u00b3\u00b9\u2070-\u208e\u00bc-\u00be"
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_COMPARED = re.compile(
    rf"\\[A-Za-z]+|(\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+(?:\.\d+)?|[{_SUPERSCRIPTS}{_CJK}]|[^\W\d_{_SUPERSCRIPTS}{_CJK}]+)"
)
"""Words and numbers; LaTeX commands are matched without a group, as another notation need not have them."""
_STEM = 5
"""Letters by which words are compared, so that "dividing" equals "divide"."""
_FAR = 8
"""Words of the source between two matches of a step from which on they do not belong together."""
_MAX_TAIL = 25
"""Words that may be missing at the end: more are taken for a reply that broke off."""
_MAX_GAPS = 3
"""Missing pieces that a message quotes."""
_BREAKS = [
    re.compile(pattern)
    for pattern in (
        r"\n\s*\n\s*",
        r"\n\s*",
        r"[.!?…:][^\w\s]*\s+|[。！？：]\s*",
        r"[,;][^\w\s]*\s+|[，；、]\s*",
        r"[)\]}$*]*\s+",
    )
]
"""Places at which a step may begin, the best first."""


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


@dataclass(frozen=True)
class Alignment:
    """Where the steps of a reply are in the source."""

    spans: list[Span]
    """One for each step; together they tile the source. A last step that the source does not have gets none."""
    coverage: float
    """Share of the source's words that the steps have, from 0 to 1."""


@dataclass(frozen=True)
class _Word:
    """A word or number of a text, as it is compared, with its offsets."""

    stem: str
    start: int
    end: int


@dataclass(frozen=True)
class _Run:
    """Consecutive words of a step that are consecutive in the source, too."""

    first: int
    """Index of the first word in the source."""
    size: int

    @property
    def last(self) -> int:
        return self.first + self.size - 1


def align_words(source: str, steps: Sequence[CopiedStep], min_coverage: float = 0.0) -> Alignment:
    """Find the steps in the source, in order, by the words that they have in common.

    Raises BadReply, with what is missing, if less than `min_coverage` of the source's words are covered, if the end
    is missing, or if a step other than the last is not found.
    """
    words = list(_find_words(source))
    found = [_drop_strays(runs) for runs in _match_words(words, steps)]
    known = [_is_found(runs, step, words) for runs, step in zip(found, steps, strict=True)]
    if len(known) > 1 and not known[-1]:
        # Some teachers add a conclusion of their own.
        found, known = found[:-1], known[:-1]
    problems = [
        f"step {number} is not part of the reasoning, or not at this place: {excerpt(step.text)}"
        for number, (is_known, step) in enumerate(zip(known, steps, strict=False), 1)
        if not is_known
    ]
    if problems:
        raise BadReply(*problems, reason=_REASON)
    ends = [-1, *(run.last for runs in found for run in runs)]
    starts = [*(run.first for runs in found for run in runs), len(words)]
    gaps = [range(end + 1, start) for end, start in zip(ends, starts, strict=True)]
    coverage = 1 - sum(map(len, gaps)) / len(words)
    if coverage < min_coverage:
        missing = sorted(sorted(gaps, key=len, reverse=True)[:_MAX_GAPS], key=lambda gap: gap.start)
        listed = "; ".join(excerpt(_cut_out(source, words, gap)) for gap in missing if gap)
        raise BadReply(
            f"the steps have only {coverage:.0%} of the reasoning's words, at least {min_coverage:.0%} are needed. "
            f"Missing are, among others: {listed}",
            reason=_REASON,
        )
    if len(gaps[-1]) > _MAX_TAIL:
        rest = excerpt(source[words[gaps[-1].start].start :])
        raise BadReply(f"the end of the reasoning is missing, from {rest} on", reason=_REASON)
    cuts = [
        _place_cut(source, words[before[-1].last : after[0].first + 1], number)
        for number, (before, after) in enumerate(pairwise(found), 2)
    ]
    return Alignment(list(pairwise([0, *cuts, len(source)])), coverage)


def _find_words(text: str) -> Iterator[_Word]:
    for match in _COMPARED.finditer(text):
        if match[1]:
            stem = unicodedata.normalize("NFKC", match[1]).casefold().replace(",", "")
            yield _Word(stem if stem[0].isdigit() else stem[:_STEM], match.start(), match.end())


def _match_words(words: Sequence[_Word], steps: Sequence[CopiedStep]) -> list[list[_Run]]:
    """The runs of each step."""
    stems, edges = list[str](), list[int]()
    for step in steps:
        stems += [word.stem for word in _find_words(step.text)]
        edges.append(len(stems))
    runs: list[list[_Run]] = [[] for _ in steps]
    matcher = SequenceMatcher(None, [word.stem for word in words], stems, autojunk=False)
    number = 0
    for first, place, size in matcher.get_matching_blocks():
        while size:
            while place >= edges[number]:
                number += 1
            inside = min(size, edges[number] - place)
            runs[number].append(_Run(first, inside))
            first, place, size = first + inside, place + inside, size - inside
    return runs


def _drop_strays(runs: list[_Run]) -> list[_Run]:
    """The runs of a step without single words far from the others, such as a "the" that matched by chance."""
    while len(runs) > 1 and runs[0].size < 3 and runs[1].first - runs[0].last > _FAR:
        runs = runs[1:]
    while len(runs) > 1 and runs[-1].size < 3 and runs[-1].first - runs[-2].last > _FAR:
        runs = runs[:-1]
    return runs


def _is_found(runs: Sequence[_Run], step: CopiedStep, words: Sequence[_Word]) -> bool:
    """Whether so much of the step is in the source that it is no chance: half its words, three in a row, or two of
    them a number."""
    if not runs:
        return False
    n_words = sum(1 for _ in _find_words(step.text))
    longest = max(runs, key=lambda run: run.size)
    has_number = any(word.stem[0].isdigit() for word in words[longest.first : longest.last + 1])
    return 2 * sum(run.size for run in runs) >= n_words or longest.size + has_number >= 3


def _cut_out(source: str, words: Sequence[_Word], gap: range) -> str:
    return source[words[gap[0]].start : words[gap[-1]].end]


def _place_cut(source: str, words: Sequence[_Word], number: int) -> int:
    """Where step `number` begins: at the best break between the step before and its own first word.

    words: from the last word of the step before to the first word of this one.
    """
    for pattern in _BREAKS:
        for before, after in pairwise(words):
            place = pattern.search(source, before.end, after.start)
            if place:
                return place.end()
    for after in words[1:]:
        if not _CUT_WORD.fullmatch(source, after.start - 1, after.start + 1):
            return after.start
    raise BadReply(
        f"step {number} begins inside a word or a number: {excerpt(source[words[0].start :])}", reason=_REASON
    )


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
