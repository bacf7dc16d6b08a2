"""The numbers of a text in one spelling, and which of them it states as results.

"5 pies of 8 are 40.00 slices" has the quantities {"5", "8", "40"} and the results {"40"}. Words count ("half",
"twice"), and "40%" is also 0.4.
"""

import re
from fractions import Fraction

_NUMERAL = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|(?<!\d)\.\d+")
_RATIO = re.compile(
    r"\\[dt]?frac\{(?P<top>\d{1,9})\}\{(?P<bottom>\d{1,9})\}|(?<![\d.])(?P<left>\d{1,9})/(?P<right>\d{1,9})(?!\d|\.\d)"
)
_PERCENT = re.compile(r"\s?\\?%|\s?percent")
_COUNTING = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_WORD_VALUES = {word: str(value) for value, word in enumerate(_COUNTING.split())} | {
    "eighteen": "18",
    "nineteen": "19",
    "twenty": "20",
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "hundred": "100",
    "thousand": "1000",
    "dozen": "12",
    "half": "0.5",
    "halves": "0.5",
    "quarter": "0.25",
    "twice": "2",
    "double": "2",
    "triple": "3",
    "thrice": "3",
}
_WORD = re.compile(r"\b(?:" + "|".join(sorted(_WORD_VALUES, key=len, reverse=True)) + r")\b", re.IGNORECASE)
_RESULT_CUE = re.compile(
    r"=|≈|\\approx|\\implies|→|\b(?:equals?|equal to|is|are|was|were|be|gives?|giving|get|gets|makes|leaves?|leaving|"
    r"results? in|resulting in|totals?|totaling|total of|becomes?|comes to|means|needs|contributes|yields?)\b",
    re.IGNORECASE,
)
_OPERATION_AFTER = re.compile(
    r"[\s\w%$\\/.'-]{0,24}?(?:\\times|\\cdot|\\div|[×*+÷·]|(?<=\s)x(?=\s\S?\d)|(?<=\s)[-−/](?=\s)|"
    r"\b(?:times(?= \S{0,3}\d| the\b|"
    r" as\b| that\b| more\b)|multiplied|plus|"
    r"minus|divided|more than|less than)\b)"
)
_REACH = 48


def find_quantities(text: str) -> set[str]:
    """Every number as a canonical decimal; ratios and percentages also by their value."""
    found = {canonise(m.group()) for m in _NUMERAL.finditer(text)}
    found.update(_WORD_VALUES[m.group().lower()] for m in _WORD.finditer(text))
    found.update(value for m in _RATIO.finditer(text) if (value := _divide(m)) is not None)
    for match in _NUMERAL.finditer(text):
        if len(match.group()) < 9 and _PERCENT.match(text, match.end()):
            found.add(_spell(Fraction(canonise(match.group())) / 100))
    return found


def find_numerals(text: str) -> set[str]:
    """Only the numbers that are written with digits, canonical."""
    return {canonise(m.group()) for m in _NUMERAL.finditer(text)}


def canonise(numeral: str) -> str:
    """ "1,200" -> "1200", "20.00" -> "20", ".5" -> "0.5"."""
    whole, _, decimals = numeral.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")


def find_results(text: str) -> set[str]:
    """The quantities that are stated as an outcome ("= 40", "gives 40", "is 40"), not as an operand of what follows."""
    results: set[str] = set()
    ratios = [(m.start(), m.end(), _divide(m)) for m in _RATIO.finditer(text)]
    covered = [(start, end) for start, end, _ in ratios]
    numbers = [
        (m.start(), m.end(), canonise(m.group()))
        for m in _NUMERAL.finditer(text)
        if not any(start <= m.start() < end for start, end in covered[:200])
    ]
    for start, end, value in [*ratios, *numbers]:
        if value is not None and _is_result(text, start, end):
            results.add(value)
    return results


def _is_result(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - _REACH) : start]
    cues = list(_RESULT_CUE.finditer(before))
    if not cues or _NUMERAL.search(before[cues[-1].end() :]):
        return False
    if cues[-1].group() == "=" and re.search(r"[+*×/]", before[cues[-1].end() :]):
        return False
    return _OPERATION_AFTER.match(text[end : end + _REACH].split("=")[0].split(",")[0]) is None


def _divide(match: re.Match[str]) -> str | None:
    top = match.group("top") or match.group("left")
    bottom = match.group("bottom") or match.group("right")
    return _spell(Fraction(int(top), int(bottom))) if int(bottom) else None


def _spell(value: Fraction) -> str:
    """A terminating decimal as such, any other ratio as "a/b"."""
    bottom = value.denominator
    while bottom % 2 == 0:
        bottom //= 2
    while bottom % 5 == 0:
        bottom //= 5
    return canonise(f"{float(value):.12f}") if bottom == 1 else f"{value.numerator}/{value.denominator}"
