"""Where a trace reaches its answer, and which clause says so.

"... 40 - 14 = 26. So, 26 pieces were taken. Wait, let me double-check ..." reaches 26 at the first sentence and
concludes at the second; what follows only looks back. An intermediate value that equals the answer by chance must not
count, so the clause has to speak of what was asked for, and nothing new may be found between it and the look back.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drp.teachers.ruleset.kinds import Kind
from drp.teachers.ruleset.quantities import canonise, find_quantities
from drp.teachers.ruleset.reading import Reading, find_words

_WRAPPING = re.compile(
    r"\\(?:text|mbox|mathrm|textbf|boldsymbol)\{([^{}]{0,60})\}|\\(?:left|right|displaystyle|boxed)|\\[,;!: ]|"
    r"\^\{?\\circ\}?|\\?[$%]"
)
_NUMBER = re.compile(r"[-−]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_QUESTION = re.compile(
    r"[^.?!]{0,400}\?|(?:Find|Compute|Evaluate|Simplify|Determine|What|Calculate|Express)\b[^.?!]{0,300}"
)
_LOOKING_BACK = {Kind.VERIFICATION, Kind.ALTERNATIVE, Kind.AFFIRMATION, Kind.RETRACTION, Kind.HEDGE}
_WORKING = re.compile(
    r"[+*×÷]|\d x \S?\d|=[^=]{0,200}=|\\(?:times|cdot|div)|\s[-−/]\s|\b(?:times \d|multiplied|divided|plus|"
    r"minus|confident)\b"
)
_NEARBY = 7
"""Clauses after the closing in which a conclusion in a paragraph of its own is looked for; checks may stand between."""
_BACK = 60
"""Clauses back in which an equation is looked for."""
_EQUATION = re.compile(r"\d[^=]{0,60}[+*/×÷−x-][^=]{0,60}=\s*\S?\d")
_GOING_ON = re.compile(r"(?:next|then|now|finally|after that|lastly)\b", re.IGNORECASE)
_NAMES_ANSWER = re.compile(r"\banswer\b", re.IGNORECASE)
_CONDITION = re.compile(r"\bif\b", re.IGNORECASE)
_CONCLUDING = re.compile(
    r"\W*(?:so|therefore|thus|hence|finally|in total|altogether)\b|.{0,80}\banswer\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Answer:
    """The final answer in the forms in which a clause may state it."""

    numbers: frozenset[str]
    """Canonical quantities, one of which must be there; empty for an answer that is no plain number."""
    notation: str
    """The answer's maths with white space and wrapping off."""

    def is_in(self, text: str, quantities: frozenset[str]) -> bool:
        """Whether a clause states it."""
        if self.numbers & quantities:
            return True
        return bool(self.notation) and re.search(_bound(self.notation), strip_notation(text)) is not None


def read_answer(predicted: str) -> Answer:
    """The answer as the grader gave it: "18", "\\$1,200", "\\frac{1}{2}", "30^\\circ", "(2, 3)"."""
    bare = _WRAPPING.sub("", predicted).strip().rstrip(".")
    number = _NUMBER.match(bare)
    if number is not None and not re.search(r"[\\^=,(]|[-+*/]\s*\S", bare[number.end() :]):
        return Answer(frozenset({canonise(number.group().lstrip("-−"))}), strip_notation(bare))
    ratio = find_quantities(bare) if re.fullmatch(r"\\[dt]?frac\{\d+\}\{\d+\}|\d+/\d+", bare) else set()
    values = {value for value in ratio if "/" in value or "." in value}
    return Answer(frozenset(values), strip_notation(bare))


def strip_notation(text: str) -> str:
    """A formula without white space, wrapping and sizes."""
    spelt = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    return re.sub(r"\s+", "", _WRAPPING.sub(r"\1", spelt))


def _bound(notation: str) -> str:
    """A pattern for a formula that is no part of a longer number or word."""
    return rf"(?<![\w.]){re.escape(notation)}(?!\w|\.\d)"


def find_topic(question: str, conclusion: str) -> frozenset[str]:
    """The content words of what is asked for and of the sentence that answers it."""
    asked = _QUESTION.findall(question)
    return find_words((asked[-1] if asked else question) + " " + conclusion)


def find_closing(readings: Sequence[Reading], answer: Answer, topic: frozenset[str], question: str) -> int | None:
    """Index of the first clause that states the answer and after which nothing new is derived, or None."""
    known = find_quantities(question)
    needed = 1 if answer.numbers.isdisjoint(known) else 2
    for index, reading in enumerate(readings):
        checks = reading.kind is Kind.VERIFICATION and _EQUATION.search(reading.text) and _is_known(readings, index)
        if checks or not _states(reading, answer, needed > 1) or not _speaks_of(readings, index, topic, needed):
            continue
        if not _is_taken_back(readings, index) and not _goes_on(readings, index, answer):
            return index
    return next((i for i in range(1, len(readings)) if _ends_alone(readings, i, answer, topic)), None)


def _ends_alone(readings: Sequence[Reading], index: int, answer: Answer, topic: frozenset[str]) -> bool:
    """Whether a conclusion stands in a paragraph of its own, right after the computation that gave the answer."""
    reading, before = readings[index], readings[max(0, index - _NEARBY) : index]
    own = reading.paragraph != readings[index - 1].paragraph and not _WORKING.search(reading.text)
    return own and _concludes(reading, answer, topic) and any(answer.numbers & r.results for r in before)


def find_conclusion(readings: Sequence[Reading], closing: int, answer: Answer, topic: frozenset[str]) -> int:
    """Index of the clause that is worded as a conclusion: at the closing or the nearest after it; else the closing."""
    nearby = range(closing + 1, min(closing + 1 + _NEARBY, len(readings)))
    for i in nearby:
        own = readings[i].paragraph != readings[i - 1].paragraph
        if own and _concludes(readings[i], answer, topic) and not _WORKING.search(readings[i].text):
            return i
    if _concludes(readings[closing], answer, topic):
        return closing
    later = range(closing + 1, len(readings))
    found = (i for i in later if _concludes(readings[i], answer, topic) and not _WORKING.search(readings[i].text))
    boxed = (
        i for i in later if "\\boxed" in readings[i].text and answer.is_in(readings[i].text, readings[i].quantities)
    )
    return next(found, next(boxed, closing))


def _concludes(reading: Reading, answer: Answer, topic: frozenset[str]) -> bool:
    """Whether a clause, in the words of a conclusion, says what the answer is."""
    if reading.kind in _LOOKING_BACK or not is_concluding(reading.text):
        return False
    named = reading.words & topic or _NAMES_ANSWER.search(reading.text)
    return bool(named) and answer.is_in(reading.text, reading.quantities)


def is_concluding(text: str) -> bool:
    """Whether a clause is worded as a conclusion ("So, ...", "Therefore ...", "The answer is ...")."""
    return _CONCLUDING.match(text) is not None


def _states(reading: Reading, answer: Answer, given: bool) -> bool:
    if reading.kind in {Kind.GOAL, Kind.HEDGE, Kind.PLAN, Kind.RETRACTION}:
        return False
    if answer.numbers and not answer.numbers & reading.results and (given or not _declares(reading)):
        return False
    return answer.is_in(reading.text, reading.quantities)


def _declares(reading: Reading) -> bool:
    """Whether a clause asserts, in the words of a conclusion and under no condition."""
    if reading.results and _EQUATION.search(reading.text):
        return False
    return is_concluding(reading.text) and _CONDITION.search(reading.text) is None


def _speaks_of(readings: Sequence[Reading], index: int, topic: frozenset[str], needed: int) -> bool:
    """Whether the clause, with its neighbours in the paragraph, uses the words of what is asked for."""
    reading = readings[index]
    near = [r for r in readings[max(0, index - 1) : index + 2] if abs(r.paragraph - reading.paragraph) <= 1]
    words = frozenset[str]().union(*(r.words for r in near)) if needed == 1 else reading.words
    if len(words & topic) >= min(needed, len(topic)) or reading.kind is Kind.CONCLUSION:
        return True
    looked_at = readings[index + 1 : index + 4]
    return needed == 1 and reading.computed and any(r.kind in _LOOKING_BACK for r in looked_at)


def _goes_on(readings: Sequence[Reading], index: int, answer: Answer) -> bool:
    """Whether something new is derived after the clause before the student looks back."""
    seen = set(readings[index].quantities).union(*(r.quantities for r in readings[:index]))
    stated = False
    for position, reading in enumerate(readings[index + 1 :], index + 1):
        if _only_pauses(readings, index, position):
            return True
        if reading.kind is Kind.CONCLUSION and answer.is_in(reading.text, reading.quantities):
            return stated and readings[position - 1].computed
        if reading.kind in _LOOKING_BACK:
            return False
        if reading.computed and not (reading.results <= seen and _is_known(readings, position)):
            return True
        stated = stated or reading.kind in {Kind.PLAN, Kind.GOAL}
    return stated


def _is_known(readings: Sequence[Reading], index: int) -> bool:
    """Whether an equation of numbers was there before; other clauses are told by their results."""
    reading = readings[index]
    if reading.is_symbolic or _EQUATION.search(reading.text) is None:
        return True
    return any(reading.quantities <= earlier.quantities for earlier in readings[max(0, index - _BACK) : index])


def _is_taken_back(readings: Sequence[Reading], index: int) -> bool:
    """Whether the clause right after, in the paragraph, says that it was wrong."""
    after = readings[index + 1 : index + 2]
    return any(r.kind is Kind.RETRACTION and r.paragraph == readings[index].paragraph for r in after)


def _only_pauses(readings: Sequence[Reading], index: int, position: int) -> bool:
    """Whether a look back is one of a step's own, after which "Next, ..." goes on to an equation that is new."""
    if readings[position].paragraph != readings[index].paragraph:
        return False
    if readings[position].kind not in _LOOKING_BACK:
        return False
    following = readings[position + 1 : position + 1 + _NEARBY + _NEARBY]
    later = [r for r in following if r.paragraph > readings[index].paragraph]
    first = [r for r in later if r.paragraph == later[0].paragraph]
    turned = any(r.kind is Kind.RETRACTION for r in first)
    if not any(_GOING_ON.match(r.text) for r in (first if turned else first[:1])):
        return False
    own = [i for i in range(position + 1, len(readings)) if readings[i].paragraph == later[0].paragraph][:_NEARBY]
    return any(readings[i].computed and not _is_known(readings, i) for i in own)
