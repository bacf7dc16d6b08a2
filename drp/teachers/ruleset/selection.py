"""Which clauses of a trace stay: the ones that the answer depends on, the goal and the conclusion.

The passes, each over what the one before left: everything after the answer is reached; hedges, checks and claims that
are taken back; repetitions; computations whose result nothing uses; facts of the question that the computations name.
A clause that no pass can show to be dispensable stays: pruning too much costs the student more than pruning too little.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drp.teachers.ruleset.closing import Answer, find_closing, find_conclusion
from drp.teachers.ruleset.kinds import Kind
from drp.teachers.ruleset.quantities import find_quantities
from drp.teachers.ruleset.reading import Reading, find_words
from drp.teachers.ruleset.retraction import find_retracted
from drp.teachers.ruleset.sufficiency import drop_superfluous, states_outcome

_IDLE = {Kind.HEDGE, Kind.AFFIRMATION, Kind.VERIFICATION}
_RESTATING_SHARE = 0.6
_WINDOW = 60
"""How many clauses back a repetition is looked for."""
_HEAD = 14
"""How many clauses from the start the goal is looked for."""
_FIRST = re.compile(r"\W*first\b", re.IGNORECASE)
_OPERATING = frozenset(
    ["multiplied", "equal", "time", "plus", "minu", "divided", "give", "therefore", "thu", "calculating"]
)
_TASK = re.compile(
    r"\b(?:find|figure|determine|calculate|compute|solve|simplify|evaluate|how (?:many|much|far|long|old))\b",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile(
    r"\W*(?:so |then |and |now |which |therefore |finally )*,? ?(?:this|that|these|those|it|they|which|dividing|"
    r"simplifying|calculating|"
    r"adding|the (?:result|total|sum)|combining)\b",
    re.IGNORECASE,
)
_REFERS = re.compile(r"\b(?:they|it|this|that|these|those|both|same|he|she)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Selection:
    """What stays, and where the frame of the argument is."""

    kept: frozenset[int]
    goal: int | None
    conclusion: int | None


def select(readings: Sequence[Reading], question: str, answer: Answer | None, topic: frozenset[str]) -> Selection:
    """The clauses that stay. answer: None where the trace has none; nothing is then known to be its end."""
    closing = find_closing(readings, answer, topic, question) if answer else None
    conclusion = find_conclusion(readings, closing, answer, topic) if answer and closing is not None else None
    if closing is None and readings and readings[-1].kind is Kind.CONCLUSION:
        conclusion = len(readings) - 1
    kept = list(range(len(readings) if closing is None else closing + 1))
    if closing is not None and conclusion != closing and states_outcome(readings, closing):
        kept.append(closing + 1)
    goal = _find_goal(readings, kept)
    frame = {i for i in (goal, closing, conclusion) if i is not None}
    kept = sorted({*kept, *frame})
    retracted = find_retracted(readings, kept)
    kept = [i for i in kept if i not in retracted or i in frame]
    kept = _drop_idle(readings, kept, frame)
    kept = _drop_repeated(readings, kept, frame)
    kept = drop_superfluous(readings, kept, frame)
    if answer is not None and closing is not None and _turns_back(readings[: closing + 1]):
        kept = _drop_unused(readings, kept, frame, answer)
    kept = _drop_restated(readings, kept, frame, question)
    kept = _drop_unanswered(readings, kept, frame)
    kept = _tie_introductions(readings, kept, frame)
    return Selection(frozenset(kept), goal, conclusion)


def _turns_back(readings: Sequence[Reading]) -> bool:
    """Whether an approach is given up on the way to the answer; a straight argument has no dead ends."""
    return any(r.kind in {Kind.RETRACTION, Kind.ALTERNATIVE} for r in readings)


def _find_goal(readings: Sequence[Reading], kept: Sequence[int]) -> int | None:
    """The clause that says what is to be found: worded so, or else the first that is no mere hedge."""
    head = kept[:_HEAD]
    goals = [i for i in head if readings[i].kind is Kind.GOAL]
    tasks = [i for i in goals if _TASK.search(readings[i].text)]
    spoken = [i for i in head if readings[i].kind not in _IDLE and '"' not in readings[i].text]
    return next(iter([*tasks, *goals, *spoken, *head]), None)


def _drop_idle(readings: Sequence[Reading], kept: list[int], frame: set[int]) -> list[int]:
    """Without hedges, self-praise and checks that find nothing."""
    seen: set[str] = set()
    remaining = []
    for index in kept:
        reading = readings[index]
        idle = reading.kind in _IDLE or (reading.kind in {Kind.ALTERNATIVE, Kind.GOAL} and not reading.computed)
        adds = bool(reading.results - seen) and reading.computed
        if index in frame or not idle or adds:
            remaining.append(index)
        seen |= reading.quantities
    return remaining


def _drop_repeated(readings: Sequence[Reading], kept: list[int], frame: set[int]) -> list[int]:
    """Without clauses that say again what a kept one said."""
    remaining: list[int] = []
    wordings: set[str] = set()
    after = set(kept)
    for index in kept:
        reading = readings[index]
        tied = (_opens_sentence(reading) and index + 1 in after) or (
            index - 1 in remaining[-1:] and states_outcome(readings, index - 1)
        )
        again = not tied and (
            reading.wording in wordings or any(_repeats(reading, readings[i]) for i in remaining[-_WINDOW:])
        )
        if index in frame or not again:
            remaining.append(index)
            wordings.add(reading.wording)
    return remaining


def _opens_sentence(reading: Reading) -> bool:
    """Whether the clause after it goes on with its sentence."""
    return reading.text.rstrip().endswith((",", ";"))


def _repeats(reading: Reading, earlier: Reading) -> bool:
    if reading.is_symbolic:
        return (
            len(reading.notation) > 3
            and reading.notation in earlier.notation
            and len(reading.words - earlier.words) <= 3
        )
    if reading.kind is Kind.COMPUTATION and earlier.kind in {Kind.GIVEN, Kind.STATEMENT}:
        return False
    if reading.quantities:
        stated = earlier.results if reading.computed else earlier.results | earlier.quantities
        same = reading.quantities <= earlier.quantities and reading.results <= stated
        return same and len(reading.words & earlier.words) >= 0.5 * len(reading.words)
    shared = reading.words & earlier.words
    return len(reading.words) > 2 and len(shared) >= 0.8 * len(reading.words)


def _drop_unused(readings: Sequence[Reading], kept: list[int], frame: set[int], answer: Answer) -> list[int]:
    """Without computations whose results no later kept clause uses. Only numbers can show that; symbols stay."""
    used = set(answer.numbers)
    remaining: list[int] = []
    for index in reversed(kept):
        reading = readings[index]
        needed = index in frame or reading.is_symbolic or not reading.computed or not reading.results.isdisjoint(used)
        referred = bool(remaining) and _POINTS_BACK.match(readings[remaining[-1]].text) is not None
        if needed or referred:
            remaining.append(index)
            used |= reading.quantities
    return remaining[::-1]


def _drop_restated(readings: Sequence[Reading], kept: list[int], frame: set[int], question: str) -> list[int]:
    """Without facts of the question whose numbers a later kept clause names, or that have none."""
    words, known = find_words(question), find_quantities(question)
    named: set[str] = set()
    remaining: list[int] = []
    for index in reversed(kept):
        reading = readings[index]
        restates = (
            (
                reading.kind in {Kind.GIVEN, Kind.STATEMENT}
                or (reading.kind is Kind.COMPUTATION and not reading.computed)
            )
            and reading.quantities <= known
            and len(reading.words & words) >= _RESTATING_SHARE * len(reading.words)
        )
        opens = _opens_sentence(reading) and bool(remaining) and remaining[-1] == index + 1
        labels = _labels_next(readings, index, remaining)
        if not restates or opens or labels or index in frame or not reading.quantities <= named or reading.is_symbolic:
            remaining.append(index)
            named |= reading.quantities
    return remaining[::-1]


def _labels_next(readings: Sequence[Reading], index: int, remaining: Sequence[int]) -> bool:
    """Whether a fact says what a bare computation after it is about, or answers the question that opens the trace."""
    if index and readings[index - 1].kind is Kind.GOAL and _FIRST.match(readings[index - 1].text):
        alone = readings[index - 1].paragraph == readings[index].paragraph and bool(readings[index].quantities)
        return alone and not _is_named_next(readings, index, remaining)
    if not remaining or remaining[-1] != index + 1 or readings[index + 1].paragraph != readings[index].paragraph:
        return False
    return not readings[index + 1].words - _OPERATING and bool(readings[index].quantities)


def _is_named_next(readings: Sequence[Reading], index: int, remaining: Sequence[int]) -> bool:
    """Whether the computation right after a fact, in its paragraph, has its numbers and says in words what they are."""
    if not remaining or remaining[-1] > index + 2:
        return False
    reading, later = readings[index], readings[remaining[-1]]
    shared = (later.words & reading.words) - _OPERATING
    return (
        later.computed
        and later.paragraph == reading.paragraph
        and (reading.quantities <= later.quantities and len(shared) >= min(2, len(reading.words)))
    )


def _drop_unanswered(readings: Sequence[Reading], kept: list[int], frame: set[int]) -> list[int]:
    """Without plans whose execution went and remarks on what went ("That way I can see ...")."""
    remaining: list[int] = []
    for index, after in zip(kept, [*kept[1:], len(readings)], strict=True):
        reading = readings[index]
        lost = after > index + 1 and index not in frame and not reading.quantities and not reading.is_symbolic
        carried_out = after < len(readings) and readings[after].paragraph == reading.paragraph
        plan_lost = after < len(readings) and lost and reading.kind is Kind.PLAN and not carried_out
        remark = reading.kind is Kind.STATEMENT and not reading.quantities and not reading.is_symbolic
        remark_lost = remark and index not in frame and index - 1 not in remaining and _POINTS_BACK.match(reading.text)
        premise_lost = (
            remark
            and index not in frame
            and index > 0
            and index - 1 not in remaining
            and readings[index - 1].paragraph == reading.paragraph
            and readings[index - 1].kind is Kind.GIVEN
            and _REFERS.search(reading.text)
        )
        if not plan_lost and not remark_lost and not premise_lost:
            remaining.append(index)
    return remaining


def _tie_introductions(readings: Sequence[Reading], kept: list[int], frame: set[int]) -> list[int]:
    """A line that ends in a colon goes and stays with the line that it introduces."""
    chosen = set(kept)
    for index in range(len(readings) - 2, -1, -1):
        reading = readings[index]
        if not reading.text.rstrip(" *\n").endswith(":") or index in frame:
            continue
        if index + 1 not in chosen:
            chosen.discard(index)
            continue
        introduces = index + 1 in frame or readings[index + 1].text.lstrip().startswith(("-", "*", "•"))
        if introduces and reading.kind not in _IDLE:
            chosen.add(index)
    return sorted(chosen)
