"""Which clauses of a trace stay: those on which the answer depends, the goal and the conclusion.

The trace ends where it reaches its answer (`find_closing`). Each of `PASSES` then drops some of the clauses that the
passes before it left. The goal, the closing and the conclusion always stay, and so does every clause that no pass can
show to be dispensable: pruning too much costs the student more than pruning too little.
"""

import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from drp.teachers.clauses import split_sentences
from drp.teachers.numbers import Value, find_quantities, locate_numbers
from drp.teachers.rules.reading import Kind, Reading

_LOOKING_BACK = {Kind.VERIFICATION, Kind.ALTERNATIVE, Kind.AFFIRMATION, Kind.RETRACTION, Kind.HEDGE}
_WORKING = re.compile(r"\d[^=.,]{0,20} [+*/×÷−x-] \S?\d")
"""An operation on two numbers."""
_CONCLUDING = re.compile(
    r"\W*(?:so|therefore|thus|hence|finally|in total|altogether)\b|.{0,80}\banswer\b", re.IGNORECASE
)
_OUTCOME = re.compile(r"(?:so|that means|this means|therefore|thus)\b", re.IGNORECASE)
_POINTS_BACK = re.compile(r"\b(?:they|it|this|that|these|those|both|same|he|she|which)\b", re.IGNORECASE)
_WRAPPING = re.compile(
    r"\\(?:text|mbox|mathrm|textbf|boldsymbol)\{([^{}]{0,60})\}|\\(?:left|right|displaystyle|boxed)|\\[,;!: ]|"
    r"\^\{?\\circ\}?|\\?[$%]"
)
_LIST_MARK = re.compile(r"^\s*(?:#{1,6}\s+|[-*]\s+|\d{1,2}[.)]\s+)")
_INTRODUCTION = re.compile(r"(?::|\*\*|is|are|equals)\s*$")
_FORMULA = ("\\[", "$$", "\\(", "\\boxed", "$", "**")
_HEAD = 14
"""Clauses at the start of a trace in which the goal is looked for."""
_NEAR = 7
"""Clauses after the closing in which a conclusion in a paragraph of its own is looked for; checks may be between."""
_WINDOW = 60
"""Clauses back in which a repetition is looked for."""
_BEFORE, _AFTER = 6, 40
"""Clauses on either side of a retraction that are looked at."""
_RESTATED_SHARE = 0.6
"""Share of a clause's words that the question has to have for the clause to restate it."""


@dataclass(frozen=True)
class StatedAnswer:
    """The final answer in the forms in which a clause may state it."""

    numbers: frozenset[Value]
    """The answer as a number; empty if it is more than a number."""
    notation: str
    """The answer without white space and markup."""

    def is_in(self, text: str, quantities: Set[Value]) -> bool:
        """Whether a text with these quantities states it, the notation not as a part of a longer number or word."""
        pattern = rf"(?<![\w.]){re.escape(self.notation)}(?!\w|\.\d)"
        return bool(self.numbers & quantities) or (
            bool(self.notation) and re.search(pattern, _strip_markup(text)) is not None
        )


@dataclass(frozen=True)
class ClauseSelection:
    """Indexes of the clauses that stay, and of those that say what is sought and what was found."""

    kept: frozenset[int]
    goal: int | None
    conclusion: int | None


Pass = Callable[[Sequence[Reading], Sequence[int], Reading], set[int]]
"""Takes all clauses, the indexes of those that are left, and the question; returns the indexes to drop."""


def read_answer(predicted: str) -> StatedAnswer:
    """The answer as the grader extracted it: "18", "\\\\$1,200", "\\\\frac{1}{2}", "30^\\\\circ", "(2, 3)"."""
    notation = _strip_markup(predicted).rstrip(".")
    numbers = locate_numbers(notation)
    plain = len(numbers) == 1 and re.fullmatch(
        r"[-−]?[A-Za-z]*", notation[: numbers[0].start] + notation[numbers[0].end :]
    )
    return StatedAnswer(frozenset({numbers[0].value}) if plain else frozenset(), notation)


def _strip_markup(text: str) -> str:
    """A formula without white space, text commands, sizes and units of angle and money."""
    return re.sub(r"\s+", "", _WRAPPING.sub(r"\1", re.sub(r"\\[dt]frac", r"\\frac", text)))


def select(readings: Sequence[Reading], question: Reading, answer: StatedAnswer | None) -> ClauseSelection:
    """The clauses that stay. answer: None if the trace has none; it is then not known where the reasoning ends."""
    closing = find_closing(readings, question, answer) if answer else None
    conclusion = None
    if answer and closing is not None:
        conclusion = _find_conclusion(readings, closing, answer)
    elif readings and readings[-1].kind is Kind.CONCLUSION:
        conclusion = len(readings) - 1
    kept = list(range(len(readings) if closing is None else closing + 1))
    goal = _find_goal(readings, kept)
    frame = {index for index in (goal, closing, conclusion) if index is not None}
    kept = sorted({*kept, *frame})
    for find_dispensable in PASSES:
        dropped = find_dispensable(readings, kept, question) - frame
        kept = [index for index in kept if index not in dropped]
    return ClauseSelection(frozenset(kept), goal, conclusion)


def find_closing(readings: Sequence[Reading], question: Reading, answer: StatedAnswer) -> int | None:
    """Index of the first clause that states the answer and after which nothing new is derived, or None."""
    given = not answer.numbers.isdisjoint(question.quantities)
    for index, reading in enumerate(readings):
        if _states(reading, answer, given) and not _derives_more(readings, index):
            return index
    return None


def _states(reading: Reading, answer: StatedAnswer, given: bool) -> bool:
    """Whether a clause states the answer as a result or, if the question lacks that number, as a conclusion."""
    if reading.kind in {Kind.GOAL, Kind.HEDGE, Kind.PLAN, Kind.RETRACTION}:
        return False
    concludes = not given and _CONCLUDING.match(reading.text) and not _WORKING.search(reading.text)
    if answer.numbers and not answer.numbers & reading.results and not concludes:
        return False
    return answer.is_in(reading.text, reading.quantities)


def _derives_more(readings: Sequence[Reading], index: int) -> bool:
    """Whether something new is derived after a clause, before the student looks back in another paragraph."""
    seen = set[Value]().union(*(reading.quantities for reading in readings[: index + 1]))
    plans = False
    for position, reading in enumerate(readings[index + 1 :], index + 1):
        if reading.kind in _LOOKING_BACK:
            if reading.paragraph == readings[index].paragraph:
                continue
            return False
        if reading.kind is Kind.CONCLUSION:
            return False
        if reading.is_computed and (not reading.results <= seen or _is_new(readings, position)):
            return True
        plans = plans or reading.kind in {Kind.PLAN, Kind.GOAL}
    return plans


def _is_new(readings: Sequence[Reading], index: int) -> bool:
    """Whether no clause before has the symbols of this one or, if it has none, the numbers of its operation."""
    reading, earlier = readings[index], readings[max(0, index - _WINDOW) : index]
    if reading.is_symbolic:
        return all(reading.wording not in each.wording for each in earlier)
    return bool(_WORKING.search(reading.text)) and not any(reading.quantities <= each.quantities for each in earlier)


def _find_conclusion(readings: Sequence[Reading], closing: int, answer: StatedAnswer) -> int:
    """Index of the clause from the closing on that is worded as a conclusion, at best in a paragraph of its own soon
    after the closing; else of the boxed answer; else the closing."""
    stating = [i for i in range(closing, len(readings)) if answer.is_in(readings[i].text, readings[i].quantities)]
    worded = [i for i in stating if _is_conclusion(readings[i])]
    own = [i for i in worded if i <= closing + _NEAR and readings[i].paragraph != readings[closing].paragraph]
    boxed = [i for i in stating if "\\boxed" in readings[i].text]
    return [*own, *worded, *boxed, closing][0]


def _is_conclusion(reading: Reading) -> bool:
    worded = reading.kind not in _LOOKING_BACK and _CONCLUDING.match(reading.text)
    return bool(worded) and not _WORKING.search(reading.text)


def _find_goal(readings: Sequence[Reading], kept: Sequence[int]) -> int | None:
    """Index of the clause that says what is to be found, else of the first that is more than thinking aloud."""
    head = kept[:_HEAD]
    goals = (i for i in head if readings[i].kind is Kind.GOAL)
    spoken = (i for i in head if readings[i].kind not in _LOOKING_BACK)
    return next(goals, next(spoken, next(iter(head), None)))


def find_retracted(readings: Sequence[Reading], kept: Sequence[int], _: Reading) -> set[int]:
    """Retractions, each with the claim before it, unless that claim is made again."""
    retracted: set[int] = set()
    for place, index in enumerate(kept):
        if readings[index].kind is not Kind.RETRACTION:
            continue
        following = (readings[i] for i in kept[place + 1 : place + 1 + _AFTER])
        later = frozenset[Value]().union(*(each.results for each in following if each.kind is not Kind.VERIFICATION))
        if not readings[index].results & later:
            retracted.add(index)
        before = kept[max(0, place - _BEFORE) : place]
        claim = next((i for i in reversed(before) if readings[i].results or readings[i].is_symbolic), None)
        if claim is not None and not readings[claim].is_symbolic and not readings[claim].results & later:
            retracted.update(i for i in before if i >= claim)
    return retracted


def find_idle(readings: Sequence[Reading], kept: Sequence[int], _: Reading) -> set[int]:
    """Hedges, approval, checks and alternatives that bring no new result."""
    idle: set[int] = set()
    seen: set[Value] = set()
    for index in kept:
        reading = readings[index]
        brings = reading.is_computed and not reading.results <= seen
        if not brings and (reading.kind in _LOOKING_BACK - {Kind.RETRACTION} or reading.kind is Kind.GOAL):
            idle.add(index)
        seen |= reading.quantities
    return idle


def find_repeated(readings: Sequence[Reading], kept: Sequence[int], _: Reading) -> set[int]:
    """Clauses that say again what one before them said."""
    repeated: set[int] = set()
    left: list[int] = []
    for place, index in enumerate(kept):
        reading = readings[index]
        opens = reading.is_open and kept[place + 1 : place + 2] == [index + 1]
        if reading.kind is not Kind.PLAN and not opens and any(_repeats(reading, readings[i]) for i in left[-_WINDOW:]):
            repeated.add(index)
        else:
            left.append(index)
    return repeated


def _repeats(reading: Reading, earlier: Reading) -> bool:
    if reading.wording == earlier.wording:
        return True
    if reading.is_symbolic or (reading.kind is Kind.COMPUTATION and earlier.kind in {Kind.GIVEN, Kind.STATEMENT}):
        return False
    shared = len(reading.words & earlier.words)
    if not reading.quantities:
        return len(reading.words) > 2 and shared >= 0.8 * len(reading.words)
    stated = earlier.results if reading.is_computed else earlier.results | earlier.quantities
    same = reading.quantities <= earlier.quantities and reading.results <= stated
    return same and shared >= 0.5 * len(reading.words)


def find_explained(readings: Sequence[Reading], kept: Sequence[int], _: Reading) -> set[int]:
    """Outcomes in words ("so there are 40 slices") of an equation that a reason in its sentence already explains."""
    left = set(kept)
    return {
        i
        for i in kept
        if {i - 2, i - 1} <= left
        and readings[i - 2].is_open
        and _WORKING.search(readings[i - 1].text)
        and not readings[i - 1].is_open
        and _OUTCOME.match(readings[i].text)
        and readings[i].paragraph == readings[i - 1].paragraph
        and readings[i].quantities <= readings[i - 1].results
    }


def find_restated(readings: Sequence[Reading], kept: Sequence[int], question: Reading) -> set[int]:
    """Facts of the question whose numbers a later clause names, and those without numbers."""
    restated: set[int] = set()
    named: set[Value] = set()
    following = None
    for index in reversed(kept):
        reading = readings[index]
        opens = reading.is_open and following == index + 1
        if _restates(reading, question) and reading.quantities <= named and not opens:
            restated.add(index)
        else:
            named |= reading.quantities
            following = index
    return restated


def _restates(reading: Reading, question: Reading) -> bool:
    factual = reading.kind in {Kind.GIVEN, Kind.STATEMENT} or (
        reading.kind is Kind.COMPUTATION and not reading.is_computed
    )
    shared = len(reading.words & question.words)
    return (
        factual
        and not reading.is_symbolic
        and reading.quantities <= question.quantities
        and shared >= _RESTATED_SHARE * len(reading.words)
    )


def find_orphaned(readings: Sequence[Reading], kept: Sequence[int], _: Reading) -> set[int]:
    """Remarks without numbers that point back at a clause that went, and plans whose paragraph ends with them."""
    orphaned: set[int] = set()
    left = set(kept)
    for index in kept:
        reading = readings[index]
        if reading.quantities or reading.is_symbolic:
            continue
        if reading.kind is Kind.STATEMENT and index - 1 not in left and _POINTS_BACK.search(reading.text):
            orphaned.add(index)
            left.discard(index)
    return orphaned


PASSES: tuple[Pass, ...] = (find_retracted, find_idle, find_repeated, find_explained, find_restated, find_orphaned)
"""In the order in which `select` applies them."""


def condense_summary(summary: str, answer: StatedAnswer | None) -> str:
    """The last sentence of the summary, or the last that boxes the answer; the whole summary if it loses the answer.

    "60 - 40 = 20. Wendi needs \\\\(\\\\boxed{20}\\\\) cups."  ->  "Wendi needs \\\\(\\\\boxed{20}\\\\) cups."
    """
    whole = summary.strip()
    sentences = [sentence.text for sentence in split_sentences(whole)]
    last = max((i for i, text in enumerate(sentences) if "\\boxed" in text), default=len(sentences) - 1)
    if answer is None or last < 0:
        return whole
    first = last
    while first > 0 and sentences[first].lstrip().startswith(_FORMULA) and _INTRODUCTION.search(sentences[first - 1]):
        first -= 1
    short = _LIST_MARK.sub("", "".join(sentences[first : last + 1])).strip()
    return short if short and answer.is_in(short, find_quantities(short)) else whole
