"""Numbers read out of a text by their value, whatever way they are written.

    1,200 = 1200 = 1{,}200      27.0 = 27      \\frac12 = 1/2 = 0.5 = half      20% = 0.2      twenty-five = 25

The checks of a teacher's answer and the offline teacher share this reader. A value is a string in one normal form, so
that values can be compared and kept in sets. Some numbers can be read in more than one way: "1,200" is 1200, but in
"(1,200)" it may be 1 and 200. `find_values` returns every reading, to tell whether a text may state a number;
`find_quantities` and `locate_numbers` return the likeliest one, to tell which number a text states.

    find_values("5 pies of 8 slices make 40")  ->  {"5", "8", "40"}
    find_unknown("They ate 41 slices", frozenset({"5", "8", "40"}))  ->  ("41 (in 'They ate 41 slices')",)
"""

import re
from collections.abc import Iterator, Sequence, Set
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

Value = str
"""A number in its normal form: a decimal without leading, trailing or grouping signs where it ends within six places
("1200", "0.5"), else a reduced fraction ("1/3"). Never negative: a minus sign is an operation."""


class LocatedNumber(NamedTuple):
    """A number with the character offsets of its text."""

    start: int
    end: int
    value: Value


_MAX_DIGITS = 40
"""Longer numbers are compared digit by digit but take no part in arithmetic, which would take too long."""
_IDIOMATIC = 12
"""Number words up to this value are ordinary speech ("the two cases") and never count as unknown."""

_PLAIN = r"\d++(?:\.\d++)?|\.\d++"
_GROUPS = r"\d{0,2}(?:(?:,\\!|,|\{,\}|\\,|[\u2009\u202f])\d{3})+(?!\d)(?:\.\d+)?"
"""What follows the first digit of a number with its thousands set apart."""
# The same as `\d{_GROUPS}|{_PLAIN}`, but with one class of characters first, which `re` searches for much faster.
_NUMBER = re.compile(rf"[\d.](?:(?<=\d)(?:{_GROUPS}|\d*+(?:\.\d++)?)|(?<=\.)\d++)")
_NOT_DIGITS = re.compile(r"[^\d.]+")
_FRACTION = rf"\\[dtc]?frac\s*\{{({_PLAIN})\}}\s*\{{({_PLAIN})\}}"
_QUOTIENT = re.compile(rf"(?<!\d)({_PLAIN})\s*(?:[/⁄÷]|\\div)\s*({_PLAIN})|{_FRACTION}")
_QUOTIENT_SIGNS = ("/", "⁄", "÷", "\\div", "frac")
_RATIO_OR_NUMBER = re.compile(rf"(?<!\d)({_PLAIN})[/⁄]({_PLAIN})|{_FRACTION}|{_NUMBER.pattern}")
_PERCENT = re.compile(rf"(?<!\d)({_PLAIN})\s*(?:\\?%|percent|per cent)", re.IGNORECASE)
_SHORT_FRACTION = re.compile(r"(\\[dtc]?frac)\s*(\d)\s*(\d)")
_LEXEME = re.compile(rf"[a-z]+|{_PLAIN}")
_LABEL = re.compile(r"\b(?:steps?|case|part|way|method|approach)\s+\d{1,2}\b", re.IGNORECASE)
_LIST_MARKER = re.compile(r"^[ \t>*-]*\(?(\d{1,2})[.)]\*{0,2}[ \t]+(?=\S)", re.MULTILINE)

_SYMBOLS = {digit: f" {value} " for digits in ("⁰¹²³⁴⁵⁶⁷⁸⁹", "₀₁₂₃₄₅₆₇₈₉") for value, digit in enumerate(digits)} | {
    "½": " 1/2 ", "⅓": " 1/3 ", "⅔": " 2/3 ", "¼": " 1/4 ", "¾": " 3/4 ", "⅕": " 1/5 ", "⅛": " 1/8 ",
}  # fmt: skip
_SYMBOL_TABLE = str.maketrans(_SYMBOLS)
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
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9}
_SCALES |= {f"{word}s": value for word, value in _SCALES.items()}
_FIGURES = _SPELLED.keys() | _SCALES.keys()
_MULTIPLES = {
    "twice": "2", "double": "2", "doubled": "2", "doubles": "2", "triple": "3", "tripled": "3", "thrice": "3",
    "dozen": "12", "half": "0.5", "halves": "0.5", "quarter": "0.25", "quarters": "0.25",
}  # fmt: skip
"""Words that state a number as definitely as digits do."""
_LOOSE = {
    "once": "1", "single": "1", "first": "1", "both": "2", "pair": "2", "couple": "2", "second": "2",
    "half": "1 2", "halves": "1 2", "third": "1/3 3 1", "thirds": "1/3 3", "quarter": "1 4", "quarters": "4",
    "fourth": "0.25 4 1", "fourths": "0.25 4", "fifth": "0.2 5 1", "fifths": "0.2 5", "sixth": "1/6 6 1",
    "seventh": "1/7 7 1", "eighth": "0.125 8 1", "ninth": "1/9 9 1", "tenth": "0.1 10 1",
    "square": "2", "squared": "2", "cube": "3", "cubed": "3",
}  # fmt: skip
"""Words that may stand for a number, with each number for which they may stand."""
_WORDS = {
    word: frozenset(f"{_MULTIPLES.get(word, '')} {_LOOSE.get(word, '')}".split())
    for word in _MULTIPLES.keys() | _LOOSE.keys()
}


@lru_cache(maxsize=128)
def find_values(text: str) -> frozenset[Value]:
    """Every value that the text states, in each of its readings. Remembered, as several checks read the same text."""
    text = _unify(text)
    lexemes = _LEXEME.findall(text.lower())
    values = {value for number in set(_NUMBER.findall(text)) for value in _read(number)}
    values.update(_find_shares(text))
    values.update(_write(value) for _, readings in _find_spelled(lexemes) for value in readings)
    values.update(value for word in _WORDS.keys() & set(lexemes) for value in _WORDS[word])
    return frozenset(values)


def find_quantities(text: str) -> set[Value]:
    """Every number of the text, in digits or in words, each in its likeliest reading.

    Words that only may stand for a number ("the first", "both") are left out.
    """
    text = _unify(text)
    lexemes = _LEXEME.findall(text.lower())
    values = {normalise(number) for number in set(_NUMBER.findall(text))}
    values.update(_find_shares(text))
    values.update(_write(readings[0]) for _, readings in _find_spelled(lexemes))
    values.update(_MULTIPLES[word] for word in _MULTIPLES.keys() & set(lexemes))
    return values


def find_figures(text: str) -> set[Value]:
    """The numbers written in digits, each in its likeliest reading."""
    return {normalise(number) for number in set(_NUMBER.findall(_unify(text)))}


def locate_numbers(text: str) -> list[LocatedNumber]:
    """The numbers written in digits, in order, each in its likeliest reading; a ratio such as "3/4" is one number."""
    located = []
    for match in _RATIO_OR_NUMBER.finditer(text):
        value = _divide(match) if match[1] or match[3] else normalise(match[0])
        if value is not None:
            located.append(LocatedNumber(match.start(), match.end(), value))
    return located


@lru_cache(maxsize=32)
def find_unknown(text: str, known: frozenset[Value]) -> tuple[str, ...]:
    """Numbers of the text that are not among the known values, each once and with the words around it.

    The numbering of lists and steps is left out, and so are small numbers in words. Remembered, as the stage checks
    again what the LLM teacher has checked.
    """
    text = _unify(text)
    spelled = ((words, readings[0]) for words, readings in _find_spelled(_LEXEME.findall(text.lower())))
    unknown = [words for words, value in spelled if value > _IDIOMATIC and _write(value) not in known]
    if not all(normalise(number) in known for number in set(_NUMBER.findall(text))):
        text = _blank_known_shares(_blank_numbering(text), known)
        unknown += [number for number in _NUMBER.findall(text) if normalise(number) not in known]
    return tuple(f"{number} (in '{_quote(text, number)}')" for number in dict.fromkeys(unknown))


@lru_cache(maxsize=1 << 14)
def normalise(number: str) -> Value:
    """The likeliest reading of a number in digits: "1,200" is 1200, "007.50" is 7.5, ".5" is 0.5."""
    return _tidy(_NOT_DIGITS.sub("", number))


def _unify(text: str) -> str:
    """The text with superscripts, subscripts and fraction signs as digits, and with \\frac12 as \\frac{1}{2}."""
    text = text.translate(_SYMBOL_TABLE) if _SYMBOL.search(text) else text
    return _SHORT_FRACTION.sub(r"\1{\2}{\3}", text)


@lru_cache(maxsize=1 << 14)
def _read(number: str) -> frozenset[Value]:
    """The number in every reading: 1,200 may also be 1 and 200, and .5 may be 5 at the end of an ellipsis."""
    parts = [part.strip(".") for part in _NOT_DIGITS.split(number)]
    loose = map(_tidy, parts) if len(parts) > 1 or number.startswith(".") else ()
    return frozenset({normalise(number), *loose})


def _tidy(digits: str) -> Value:
    whole, _, decimals = digits.partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole


def _find_shares(text: str) -> Iterator[Value]:
    """The values of quotients and percentages. A quotient that comes out whole is a computation (120/8), not another
    way to write a number."""
    if any(sign in text for sign in _QUOTIENT_SIGNS):
        yield from (value for match in _QUOTIENT.finditer(text) if (value := _divide(match)) and not value.isdecimal())
    if "%" in text or "cent" in text.lower():
        yield from filter(None, map(_find_hundredth, _PERCENT.findall(text)))


def _divide(match: re.Match[str]) -> Value | None:
    return _find_quotient(match[1] or match[3], match[2] or match[4])


def _find_hundredth(number: str) -> Value | None:
    return _find_quotient(number, "100")


@lru_cache(maxsize=1 << 14)
def _find_quotient(above: str, below: str) -> Value | None:
    """None where a number is too long, or the lower one zero."""
    if max(len(above), len(below)) > _MAX_DIGITS or not Fraction(below):
        return None
    return _write(Fraction(above) / Fraction(below))


@lru_cache(maxsize=1 << 14)
def _write(value: Fraction) -> Value:
    for places in range(7):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = str(scaled.numerator).rjust(places + 1, "0")
            return _tidy(f"{digits[: len(digits) - places]}.{digits[len(digits) - places :]}")
    return str(value)


def _find_spelled(lexemes: Sequence[str]) -> Iterator[tuple[str, list[Fraction]]]:
    """Numbers in words, such as "twenty-five" and "2.5 million", each with its readings, the likeliest first."""
    for index in [index for index, word in enumerate(lexemes) if word in _FIGURES]:
        word, before = lexemes[index], lexemes[index - 1] if index else ""
        following, after = [*lexemes[index + 1 : index + 3], "", ""][:2]
        if word in _TENS and 0 < _UNITS.get(following, 0) < 10:
            ten, unit, scale = Fraction(_TENS[word]), Fraction(_UNITS[following]), _SCALES.get(after, 1)
            yield f"{word}-{following}", [(ten + unit) * scale, ten + unit, ten, unit * scale, unit]
        elif word in _SPELLED and not (before in _TENS and 0 < _SPELLED[word] < 10):
            yield word, [Fraction(_SPELLED[word] * _SCALES.get(following, 1)), Fraction(_SPELLED[word])]
        elif word in _SCALES and before and before not in _SPELLED:
            is_factor = not before.isalpha() and len(before) <= _MAX_DIGITS
            yield f"{before} {word}", [(Fraction(before) if is_factor else Fraction(1)) * _SCALES[word]]


def _blank_known_shares(text: str, known: Set[Value]) -> str:
    """The text without quotients and percentages whose value is known: 1/2 where a source has 0.5, 20% for 0.2."""
    text = _QUOTIENT.sub(lambda match: _blank(match) if _divide(match) in known else match[0], text)
    return _PERCENT.sub(lambda match: _blank(match) if _find_hundredth(match[1]) in known else match[0], text)


def _blank_numbering(text: str) -> str:
    """The text without "Step 2" and without list markers that count up from 1."""
    expected = 1

    def blank_next(match: re.Match[str]) -> str:
        nonlocal expected
        number = int(match[1])
        if number not in (1, expected):
            return match[0]
        expected = number + 1
        return _blank(match)

    return _LIST_MARKER.sub(blank_next, _LABEL.sub(_blank, text))


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _quote(text: str, number: str) -> str:
    """The words around the number's first occurrence."""
    pattern = r"[-\s]+".join(map(re.escape, re.split(r"[-\s]", number)))
    match = re.search(rf"(?<![\w.]){pattern}(?!\w)", text, re.IGNORECASE) or re.search(pattern, text, re.IGNORECASE)
    if not match:
        return number
    return " ".join(text[max(0, match.start() - 30) : match.end() + 30].split())
