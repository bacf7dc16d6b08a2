"""Which clauses of a trace stay: the ones that the answer depends on, the goal and the conclusion.

The passes, each over what the one before left: everything after the answer is reached; hedges, checks and claims that
are taken back; repetitions; computations whose result nothing uses; facts of the question that the computations name.
A clause that no pass can show to be dispensable stays: pruning too much costs the student more than pruning too little.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drp.teachers.clauses import split_sentences
from drp.teachers.rules.reading import Kind, Reading, canonise, find_quantities, find_words

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


_BACKWARD = 6
_FORWARD = 40
"""Clauses looked at on either side of a retraction."""


def find_retracted(readings: Sequence[Reading], kept: Sequence[int]) -> set[int]:
    """The retractions that bring nothing that is used, with the claims before them that they take back."""
    retracted: set[int] = set()
    for place, index in enumerate(kept):
        if readings[index].kind is not Kind.RETRACTION:
            continue
        following = (readings[i] for i in kept[place + 1 : place + 1 + _FORWARD])
        later = frozenset[str]().union(*(r.results for r in following if r.kind is not Kind.VERIFICATION))
        explains = "because" in readings[index].text and "=" not in readings[index].text
        if explains or not readings[index].results & later:
            retracted.add(index)
        retracted.update(_find_taken_back(readings, kept[max(0, place - _BACKWARD) : place], later))
    return retracted


def _find_taken_back(readings: Sequence[Reading], before: Sequence[int], later: frozenset[str]) -> set[int]:
    """The last claim before a retraction and what stands between them; nothing where the claim is made again."""
    taken: set[int] = set()
    for index in reversed(before):
        reading = readings[index]
        if reading.results & later or reading.is_symbolic:
            return set()
        taken.add(index)
        if reading.results:
            return taken
    return set()


_BARE_EQUATION = re.compile(r"\d[^=]{0,60}[+*/×÷−x-][^=]{0,60}=\s*\S?\d")
_OUTCOME_WITHIN = re.compile(r"=\s*\$?[\d.,]*\d[^,.;=]{0,40}, so (?!that's|that is|\$?\d)")
_OUTCOME = re.compile(
    r"(?:so|that means|this means|which means|therefore|thus)\b,? (?!that's|that is|\$?\d|I )", re.IGNORECASE
)
_OPERATION_ONLY = re.compile(
    r"\bI (?:need to|have to|should|must|can|will|'ll) (?:add|subtract|multiply|divide)"
    r"(?: (?:them|these|those|that|it|the (?:two )?numbers|together|here|instead))*\W*$",
    re.IGNORECASE,
)
_READS = {Kind.GIVEN, Kind.STATEMENT}
_ANNOUNCES = {Kind.PLAN, Kind.GOAL}
_REACH = 3


def drop_superfluous(readings: Sequence[Reading], kept: Sequence[int], frame: set[int]) -> list[int]:
    """Without plans, reasons and bare names of operations that the computation after them makes plain."""
    chosen = set(kept)
    for index in kept:
        if index in chosen and _BARE_EQUATION.search(readings[index].text) and _has_outcome(readings, index, chosen):
            chosen -= _find_covered(readings, index, chosen) - frame
    return [i for i in sorted(chosen) if i in frame or not _only_names_operation(readings, i, chosen)]


def _has_outcome(readings: Sequence[Reading], index: int, chosen: set[int]) -> bool:
    """Whether an equation is followed by what it shows, in words."""
    if _OUTCOME_WITHIN.search(readings[index].text):
        return True
    return index + 1 in chosen and states_outcome(readings, index)


def states_outcome(readings: Sequence[Reading], index: int) -> bool:
    """Whether the clause after a computation, in its paragraph, says in words what it shows."""
    if index + 1 >= len(readings) or not _BARE_EQUATION.search(readings[index].text):
        return False
    outcome, same = readings[index + 1], readings[index + 1].paragraph == readings[index].paragraph
    return same and bool(_OUTCOME.match(outcome.text)) and outcome.quantities <= readings[index].quantities


def _find_covered(readings: Sequence[Reading], index: int, chosen: set[int]) -> set[int]:
    """The plan and the reason right before an equation in its paragraph, whose numbers it has."""
    covered: set[int] = set()
    for earlier in range(index - 1, max(-1, index - 1 - _REACH), -1):
        reading = readings[earlier]
        if earlier not in chosen:
            continue
        if reading.paragraph != readings[index].paragraph or not reading.quantities <= readings[index].quantities:
            break
        reason = reading.text.rstrip().endswith((",", ";")) and not reading.results - readings[index].quantities
        if reading.is_symbolic or not (reading.kind in _ANNOUNCES or (reason and not covered)):
            break
        covered.add(earlier)
    return covered


def _only_names_operation(readings: Sequence[Reading], index: int, chosen: set[int]) -> bool:
    """Whether a clause says no more than which operation comes, and the computation that uses its numbers follows."""
    reading = readings[index]
    if "=" in reading.text or not _OPERATION_ONLY.search(reading.text):
        return False
    following = [readings[i] for i in range(index + 1, min(index + 1 + _REACH, len(readings))) if i in chosen]
    return any(later.computed and reading.quantities <= later.quantities for later in following)


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


# FOLDED DOC of teachers.ruleset.closing:
# Where a trace reaches its answer, and which clause says so.
#
# "... 40 - 14 = 26. So, 26 pieces were taken. Wait, let me double-check ..." reaches 26 at the first sentence and
# concludes at the second; what follows only looks back. An intermediate value that equals the answer by chance must not
# count, so the clause has to speak of what was asked for, and nothing new may be found between it and the look back.
#

# FOLDED DOC of teachers.ruleset.conclusions:
# The summary reduced to its final statement, its boxed answer as the student wrote it.
#
# "**Solution:** 60 - 40 = 20. Wendi needs \\(\\boxed{20}\\) cups." -> "Wendi needs \\(\\boxed{20}\\) cups."
#

# FOLDED DOC of teachers.ruleset.retraction:
# Claims that the student takes back.
#
# "So that makes 48. Wait, no, that's not right. 12 * 3 = 36." takes back the first sentence. A claim that a later clause
# makes again was doubted, not abandoned, and stays.
#

# FOLDED DOC of teachers.ruleset.sufficiency:
# What a computation makes superfluous around it: a plan, a reason or a remark that says the same in other words.
#
# "Next, I need to find how many are left. He sells 5 of 100 beads, so 100 - 5 = 95. That means 95 beads are left." keeps
# the equation and its outcome. One rule for all: a computation keeps either its outcome in words or, where it has none,
# its reason, so that every number stays explained once.
#
