"""What a teacher's answer has to satisfy before it becomes a record.

Each check is a pure function that returns a list of problems in words that a person, or a teacher asked again, can act
on; an empty list means passed. A problem is a text that also knows its reason, two or three words for a summary. The
LLM teacher's re-asks and the stages' last gate use the same ones.

    check_steps("a b", [Step(text="a ", skill=None, start=0, end=2)])
        ->  ["the steps end at character 2 of 3; missing: 'b'"]
"""

import re
from collections.abc import Callable, Iterator, Sequence, Set
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from drp.records import Action, Decomposition, Edit, Step
from drp.student.response import CLOSING, OPENING, join_response

Value = str
"""A number in its one normal form: "1200", "0.5", "1/3"."""

_MAX_DIGITS = 40
"""Longer numbers take no part in arithmetic: it would take for ever."""
_PLAIN = r"(?:\d++(?:\.\d++)?|\.\d++)"
_GROUPED = r"\d{1,3}(?:(?:,\\!|,|\{,\}|\\,|[\u2009\u202f])\d{3})+(?!\d)(?:\.\d+)?"
_NUMBER = re.compile(rf"{_GROUPED}|{_PLAIN}")
_NOT_DIGITS = re.compile(r"[^\d.]+")
_QUOTIENT = re.compile(
    rf"(?<!\d)({_PLAIN})\s*(?:[/⁄÷]|\\div)\s*({_PLAIN})|\\[dtc]?frac\s*\{{({_PLAIN})\}}\s*\{{({_PLAIN})\}}"
)
_PERCENT = re.compile(rf"(?<!\d)({_PLAIN})\s*(?:\\?%|percent|per cent)", re.IGNORECASE)
_SHORT_FRACTION = re.compile(r"(\\[dtc]?frac)\s*(\d)\s*(\d)")
_LABEL = re.compile(r"\b(?:steps?|case|part|way|method|approach)\s+\d{1,2}\b", re.IGNORECASE)
_MARKER = re.compile(r"^[ \t>*-]*\(?(\d{1,2})[.)]\*{0,2}[ \t]+(?=\S)", re.MULTILINE)
_SYMBOLS = {digit: f" {value} " for digits in ("⁰¹²³⁴⁵⁶⁷⁸⁹", "₀₁₂₃₄₅₆₇₈₉") for value, digit in enumerate(digits)} | {
    "½": " 1/2 ", "⅓": " 1/3 ", "⅔": " 2/3 ", "¼": " 1/4 ", "¾": " 3/4 ", "⅕": " 1/5 ", "⅛": " 1/8 ",
}  # fmt: skip
_TABLE = str.maketrans(_SYMBOLS)
_SYMBOL = re.compile("[" + "".join(_SYMBOLS) + "]")

_UNITS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SPELLED = _UNITS | _TENS
_SCALES = {
    "hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9,
    "hundreds": 100, "thousands": 1_000, "millions": 10**6, "billions": 10**9,
}  # fmt: skip
_OTHERS = {
    "once": "1", "single": "1", "first": "1", "twice": "2", "double": "2", "doubled": "2", "doubles": "2",
    "both": "2", "pair": "2", "couple": "2", "second": "2", "triple": "3", "tripled": "3", "thrice": "3",
    "dozen": "12", "half": "0.5 1 2", "halves": "0.5 1 2", "third": "1/3 3 1", "thirds": "1/3 3",
    "quarter": "0.25 1 4", "quarters": "0.25 4", "fourth": "0.25 4 1", "fourths": "0.25 4", "fifth": "0.2 5 1",
    "fifths": "0.2 5", "sixth": "1/6 6 1", "seventh": "1/7 7 1", "eighth": "0.125 8 1", "ninth": "1/9 9 1",
    "tenth": "0.1 10 1", "square": "2", "squared": "2", "cube": "3", "cubed": "3",
}  # fmt: skip
_FIGURES = _SPELLED.keys() | _SCALES.keys()
_LEXEME = re.compile(rf"[a-z]+|{_PLAIN}")
_IDIOMATIC = 12
"""Number words up to here are ordinary speech ("the two cases"); larger ones are figures and have to be known."""


@lru_cache(maxsize=128)
def find_values(text: str) -> frozenset[Value]:
    """Every value that the text states, in any of its readings. Remembered: a text is looked through by each check."""
    text = _unify(text)
    numbers = set(_NUMBER.findall(text))
    values = {value for number in numbers for reading in _read(number) for value in reading}
    quotients = filter(None, (_divide(match) for match in _QUOTIENT.finditer(text)))
    values |= {_normalise(quotient) for quotient in quotients if quotient.denominator != 1}
    values |= {_normalise(part) for part in filter(None, map(_find_hundredth, _PERCENT.findall(text)))}
    values |= {_normalise(value) for _, readings in _find_spelled(text) for value in readings}
    words = _OTHERS.keys() & set(_LEXEME.findall(text.lower()))
    return frozenset(values | {value for word in words for value in _OTHERS[word].split()})


def find_figures(text: str) -> set[Value]:
    """The numbers written in digits, each in its likeliest reading."""
    return {_read(number)[0][0] for number in _NUMBER.findall(_unify(text))}


def find_unknown(text: str, known: Set[Value]) -> list[str]:
    """Numbers of the text that are not known, each once and with its surroundings. Numbering is not looked at."""
    text = _unify(text)
    spelled = ((words, readings[0]) for words, readings in _find_spelled(text))
    unknown = [words for words, value in spelled if value > _IDIOMATIC and _normalise(value) not in known]
    if not all(_is_known(number, known) for number in _NUMBER.findall(text)):
        text = _blank_equivalents(_blank_numbering(text), known)
        unknown += [number for number in _NUMBER.findall(text) if not _is_known(number, known)]
    return [f"{number} (in '{_quote(text, number)}')" for number in dict.fromkeys(unknown)]


def _unify(text: str) -> str:
    text = text.translate(_TABLE) if _SYMBOL.search(text) else text
    return _SHORT_FRACTION.sub(r"\1{\2}{\3}", text)


@lru_cache(maxsize=1 << 14)
def _read(number: str) -> list[list[Value]]:
    """The ways to read one match, the likeliest first: 1,200 may be 1 and 200; .5 may be 5 after an ellipsis."""
    parts = [part.strip(".") for part in _NOT_DIGITS.split(number)]
    readings = [[_tidy("".join(_NOT_DIGITS.split(number)))]]
    if len(parts) > 1 or number.startswith("."):
        readings.append([_tidy(part) for part in parts])
    return readings


def _tidy(digits: str) -> Value:
    whole, _, decimals = digits.partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole


@lru_cache(maxsize=1 << 14)
def _normalise(value: Fraction) -> Value:
    """As a decimal where it ends, else as a reduced fraction."""
    for places in range(7):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = str(scaled.numerator).rjust(places + 1, "0")
            return _tidy(f"{digits[: len(digits) - places]}.{digits[len(digits) - places :]}")
    return str(value)


def _is_known(number: str, known: Set[Value]) -> bool:
    """By the likeliest reading alone: a source with 1 and 500 does not have 1,500."""
    return _read(number)[0][0] in known


def _find_hundredth(number: str) -> Fraction | None:
    return Fraction(number) / 100 if len(number) <= _MAX_DIGITS else None


def _divide(match: re.Match[str]) -> Fraction | None:
    above, below = (match[1], match[2]) if match[1] else (match[3], match[4])
    if max(len(above), len(below)) > _MAX_DIGITS or not Fraction(below):
        return None
    return Fraction(above) / Fraction(below)


def _find_spelled(text: str) -> Iterator[tuple[str, list[Fraction]]]:
    """ "twenty-five" and "2.5 million", each as found and with its readings, the likeliest first."""
    lexemes = _LEXEME.findall(text.lower())
    if not _FIGURES & set(lexemes):
        return
    for word, following, after in zip(lexemes, [*lexemes[1:], ""], [*lexemes[2:], "", ""], strict=False):
        if word in _TENS and 0 < _UNITS.get(following, 0) < 10:
            number = Fraction(_TENS[word] + _UNITS[following])
            yield f"{word}-{following}", [number * _SCALES.get(after, 1), number, Fraction(_TENS[word])]
        elif word in _SPELLED:
            number = Fraction(_SPELLED[word])
            yield word, [number * _SCALES.get(following, 1), number]
        elif following in _SCALES:
            yield f"{word} {following}", [_read_factor(word) * _SCALES[following]]


def _read_factor(word: str) -> Fraction:
    is_number = not word.isalpha() and len(word) <= _MAX_DIGITS
    return Fraction(word) if is_number else Fraction(1)


def _blank_equivalents(text: str, known: Set[Value]) -> str:
    """Without quotients and percentages that the sources write in another way: 1/2 for 0.5, 20% for 0.2."""

    def is_known(value: Fraction | None) -> bool:
        return value is not None and _normalise(value) in known

    text = _QUOTIENT.sub(lambda match: _blank(match) if is_known(_divide(match)) else match[0], text)
    return _PERCENT.sub(lambda match: _blank(match) if is_known(_find_hundredth(match[1])) else match[0], text)


def _blank_numbering(text: str) -> str:
    """Without "Step 2" and without list markers that count up from 1."""
    expected = 1

    def drop(match: re.Match[str]) -> str:
        nonlocal expected
        number = int(match[1])
        if number not in (1, expected):
            return match[0]
        expected = number + 1
        return _blank(match)

    return _MARKER.sub(drop, _LABEL.sub(_blank, text))


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _quote(text: str, number: str) -> str:
    """The surroundings of the number's first occurrence."""
    pattern = r"[-\s]+".join(map(re.escape, re.split(r"[-\s]", number)))
    match = re.search(rf"(?<![\w.]){pattern}(?!\w)", text, re.IGNORECASE) or re.search(pattern, text, re.IGNORECASE)
    if not match:
        return number
    return " ".join(text[max(0, match.start() - 30) : match.end() + 30].split())


SameAnswer = Callable[[str, str], bool]
"""Whether an answer segment (first) states the given final answer (second), by grading. May block for a moment."""

_EXCERPT = 60
_LONG = 20_000
"""Characters of thinking; they take some 20 ms."""
_REMAINS = re.compile(
    r"SINGLE-STEP COMPRESS|MULTI-STEP COMPRESS|PRUNED (?:THINKING|ANSWER)"
    r"|^[^\w\n]*(?:[Ss]teps? )?\d+[^\w\n]*(?:KEEP|DELETE|REWRITE|MERGE)\b",
    re.MULTILINE,
)


class Objection(str):
    """What is wrong, in a sentence. reason: the same in two or three words, for counting."""

    reason: str

    def __new__(cls, text: str, reason: str) -> "Objection":
        problem = super().__new__(cls, text)
        problem.reason = reason
        return problem


def check_steps(thinking: str, steps: Sequence[Step]) -> list[Objection]:
    """The steps tile the thinking: no gap, no overlap, nothing changed, none blank."""
    problems, position = [], 0
    for number, step in enumerate(steps, 1):
        if step.start != position:
            problems.append(f"step {number} starts at character {step.start}, expected {position}")
        if step.text != thinking[step.start : step.end]:
            problems.append(f"step {number} is not the source's text: {excerpt(step.text)}")
        if not step.text.strip():
            problems.append(f"step {number} is blank")
        position = step.end
    if position != len(thinking):
        rest = excerpt(thinking[position:])
        problems.append(f"the steps end at character {position} of {len(thinking)}; missing: {rest}")
    return [Objection(text, "steps not verbatim") for text in problems]


def check_edits(steps: Sequence[Step], edits: Sequence[Edit], first: int = 0) -> list[Objection]:
    """Every step is in exactly one edit, in order, and each action agrees with its sources and its text.

    first: index of `steps[0]` in the whole trace, from which the edits' sources count.
    """
    indexes = range(first, first + len(steps))
    problems = _check_coverage(indexes, [source for edit in edits for source in edit.sources])
    for edit in edits:
        if all(source in indexes for source in edit.sources):
            own = steps[edit.sources[0] - first]
            problems += [f"{_name(edit.sources)}: {problem}" for problem in _check_edit(own, edit)]
    return [Objection(text, "actions do not fit the steps") for text in problems]


def check_numbers(text: str, *sources: str | Set[Value]) -> list[Objection]:
    """No number that none of the sources (thinking, summary, question) has; see `drp.teachers.checks`.

    A source may be given as the values that `find_values` found in it, so that many texts can be held to it.
    """
    known = frozenset[Value]().union(*(find_values(each) if isinstance(each, str) else each for each in sources))
    unknown = find_unknown(text, known)
    if not unknown:
        return []
    message = (
        f"these numbers stand in neither the problem nor the original reasoning and answer: {'; '.join(unknown)}. "
        "Use only numbers that stand there, written as they are written there"
    )
    return [Objection(message, "invented number")]


def check_shorter(original: str, pruned: str, count: Callable[[str], int] = len) -> list[Objection]:
    """The response, thinking and summary together, became shorter, in tokens (`count`) or else in characters."""
    before, after = count(original), count(pruned)
    if after < before:
        return []
    unit = "characters" if count is len else "tokens"
    message = f"the result is not shorter than the original: {after} {unit} against {before}. Delete or compress more"
    return [Objection(message, "not shorter")]


def check_answer(summary: str, original: str, expected: str, same_answer: SameAnswer) -> list[Objection]:
    """The answer segment still states the final answer. One that was left as it is was not changed by the teacher."""
    if summary == original or same_answer(summary, expected):
        return []
    message = f"the answer segment no longer states the final answer {expected}: {excerpt(summary[-_EXCERPT:])}"
    return [Objection(message, "answer changed")]


def check_conclusion(thinking: str, pruned: str, expected: str) -> list[Objection]:
    """Where the original reasoning states the final answer, the pruned reasoning still does."""
    wanted = find_figures(expected)
    if wanted:
        lost = wanted <= find_values(thinking) and not wanted <= find_values(pruned)
    else:
        lost = _squeeze(expected) in _squeeze(thinking) and _squeeze(expected) not in _squeeze(pruned)
    message = f"the pruned reasoning no longer reaches the final answer {expected}"
    return [Objection(message, "answer not reached")] if lost else []


def check_form(pruned: str, original: str) -> list[Objection]:
    """No tag that would end the thinking early, and nothing left over from the reply's own form."""
    problems = [f"the text holds the tag {tag}; leave it out" for tag in (OPENING, CLOSING) if tag in pruned]
    remains = {match[0].strip() for match in _REMAINS.finditer(pruned)} - set(_REMAINS.findall(original))
    problems += [f"the text holds {remain!r}, which belongs to the list of actions" for remain in sorted(remains)]
    return [Objection(text, "remains of the form") for text in problems]


def check_revision(
    source: Decomposition,
    edits: Sequence[Edit],
    thinking: str,
    summary: str,
    *,
    count: Callable[[str], int] = len,
    same_answer: SameAnswer | None = None,
) -> list[Objection]:
    """All checks of a finished pruning. The expected answer is the trace's own, or the gold one where it has none.

    same_answer: None leaves the grading of the answer segment out.
    """
    if not thinking.strip():
        return [Objection("nothing is left of the reasoning", "nothing left")]
    expected = source.predicted or source.answer
    original = f"{source.thinking}\n{source.summary}"
    pruned = f"{thinking}\n{summary}"
    problems = check_edits(source.steps, edits)
    problems += check_form(pruned, original)
    known = (source.thinking, source.summary, source.question)
    problems += check_numbers("\n".join([pruned, *texts_written(edits)]), *known)
    # As responses, so that whoever counts the record's tokens afterwards has counted them already.
    before, after = join_response(source.thinking, source.summary), join_response(thinking, summary)
    problems += check_shorter(before, after, count)
    if source.predicted is not None:
        problems += check_conclusion(source.thinking, thinking, source.predicted)
    if same_answer is not None:
        problems += check_answer(summary, source.summary, expected, same_answer)
    return problems


def is_slow(source: Decomposition, summary: str | None) -> bool:
    """Whether checking a revision may take more than a moment: a new answer segment (None: it was left as it was) is
    graded, a long trace is read."""
    return summary not in (None, source.summary) or len(source.thinking) > _LONG


def texts_written(edits: Sequence[Edit]) -> list[str]:
    """What the teacher itself wrote: the texts of rewritten and merged steps."""
    return [edit.text for edit in edits if edit.action in (Action.REWRITE, Action.MERGE)]


def excerpt(text: str) -> str:
    """The beginning of a text on one line, in quotes."""
    line = " ".join(text[: 4 * _EXCERPT].split())
    return f"'{line}'" if len(line) <= _EXCERPT else f"'{line[:_EXCERPT]}…'"


def _check_coverage(indexes: range, sources: list[int]) -> list[str]:
    if sources == list(indexes):
        return []
    seen = set(sources)
    beyond = sorted(source + 1 for source in seen if source not in indexes)
    missing = [index + 1 for index in indexes if index not in seen]
    repeated = sorted({a + 1 for a, b in pairwise(sorted(sources)) if a == b})
    unordered = sorted({b + 1 for a, b in pairwise(sources) if b < a})
    found = {
        "have no action": missing,
        "have more than one action": repeated,
        "do not exist": beyond,
        "are out of order": unordered,
    }
    return [f"steps that {what}: {_list(numbers)}" for what, numbers in found.items() if numbers]


def _check_edit(step: Step, edit: Edit) -> list[str]:
    merged = edit.action is Action.MERGE
    if merged and (len(edit.sources) < 2 or edit.sources != list(range(edit.sources[0], edit.sources[-1] + 1))):
        return ["a merge takes two or more neighbouring steps"]
    if not merged and len(edit.sources) > 1:
        return [f"{edit.action} takes one step"]
    if edit.action is Action.DELETE and edit.text:
        return ["a deleted step has no text"]
    if edit.action is Action.KEEP and edit.text.strip() != step.text.strip():
        return ["a kept step keeps its text"]
    if edit.action in (Action.REWRITE, Action.MERGE) and not edit.text.strip():
        return ["the new text is missing; delete the step if it is not needed"]
    return []


def _name(sources: list[int]) -> str:
    return f"step {sources[0] + 1}" if len(sources) == 1 else f"steps {sources[0] + 1}-{sources[-1] + 1}"


def _list(numbers: list[int], most: int = 12) -> str:
    shown = ", ".join(str(number) for number in numbers[:most])
    return shown if len(numbers) <= most else f"{shown} and {len(numbers) - most} more"


def _squeeze(text: str) -> str:
    """Letters and digits alone, so that \\text{Evelyn} equals Evelyn."""
    return re.sub(r"\\(?:text|mathrm|mathbf)|[\W_]", "", text).lower()


# FOLDED DOC of teachers.numbers:
# Numbers in reasoning, read by value, so that a pruned text can be searched for invented ones.
#
# 1,200 = 1200 = 1{,}200; 27.0 = 27; \\frac12 = 1/2 = 0.5 = half; 20% = 0.2; "twenty-five" = 25. A quotient counts as
# known only where it is another way to write the same number (1/2 and 0.5), not where it is a computation (120/8).
#
#     find_unknown("They ate 41 slices", find_values("5 pies of 8 slices make 40"))  ->  ["41 (in 'They ate 41 slices')"]
#
