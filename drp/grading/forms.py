r"""Normalise answers: `tidy` for a parser, `canonical` for comparing as text and counting votes.

    tidy(r"\$32,\!348")                  "32348"
    tidy(r"864 \mbox{ inches}^2")        "864"
    canonical(r"\left( 3, \dfrac{1}2 \right)") == canonical(r"(3,\frac12)")

As is usual in the field, units, currency and degree signs are ignored ("5 hours" equals "5"), "(C)" equals "C", and
"1 and 2" equals "1, 2". A percent sign is kept: math-verify accepts "50%" for 50 and for 0.5, but not 50 for 0.5.
"""

import re
from decimal import Decimal
from fractions import Fraction

_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
# Words after a number that are not units.
_NO_UNIT = re.compile(
    r"\b(?:and|or|to|by|over|times(?=\s)|pi|sqrt|sin|cos|tan|cot|sec|csc|log|ln|exp|mod|choose|plus|minus|infinity|am|pm|"
    r"half|dozen|hundred|thousand|million|billion|trillion|percent|base|if|when|where|is|not)\b",
    re.IGNORECASE,
)
_NUMBER = r"-?\s*(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?"
_VALUE = rf"(?:{_NUMBER}|-?\s*\d+\s*/\s*\d+|-?\s*(?:\d+\s*)?\\frac\{{\d+\}}\{{\d+\}})"

_SIMPLE = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\(?:left|right)\s*\.", ""),
        (r"\\(?:left|right|displaystyle|textstyle|limits|[bB]igg?[lrm]?)(?![a-zA-Z])", ""),
        # Commas that LaTeX itself marks as thousands separators.
        (r"(?<=\d)(?:,\s*\\!\s*|\{,\})(?=\d{3})", ""),
        (r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|cm|mm|in)\s*\]", r"\\\\"),
        # Not after a backslash: `\\` ends a row of a matrix.
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;:> ]|\\q?quad(?![a-zA-Z])|~", " "),
        (r"\s+", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"[\u2212\u2013]", "-"),
        (r"\\?[$€£¥₹]", ""),
        (r"\s*\\?%|\s*\bper\s?cent(?:age)?\b", "%"),
        (r"\s*(?:\^\s*\{?\s*\\circ(?![a-zA-Z])\s*\}?|°|\\degrees?(?![a-zA-Z]))", " "),
        (r",?\s*\\(?:text|mbox|mathrm)\s*\{\s*,?\s*(?:and|or)\s*\}\s*", ", "),
        (r"(?<=[\d}\])])\s*,?\s+(?:and|or)\s+(?=[-\\\d({\[])", ", "),
        (r"\\(?:leq|leqslant|le)(?![a-zA-Z])|≤", r"\\le "),
        (r"\\(?:geq|geqslant|ge)(?![a-zA-Z])|≥", r"\\ge "),
        (r"√\s*(\d+)", r"\\sqrt{\1}"),
        (r"π", r"\\pi "),
        (r"∞", r"\\infty "),
        (r"∪", r"\\cup "),
        (r"(?<![a-zA-Z\\])(?:infinity|inf)(?![a-zA-Z])", r"\\infty "),
        (r"\\sqrt\s*(\d)(?!\d)", r"\\sqrt{\1}"),
    ]
]
_FRACTION = re.compile(r"\\frac\s*(\{[^{}]*\}|\d)\s*(\{[^{}]*\}|\d)")
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|textnormal|mbox|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}")
_TEXT_UNIT = re.compile(
    r"(?<=[\d})\]%])\s*(?:[/*]\s*)?\\(?:text|mbox|mathrm|textbf|textrm)\s*\{([^{}\d]*)\}\s*(?:\^\s*\{?\s*[23]\s*\}?)?$"
)
_WORD_UNIT = re.compile(
    rf"({_VALUE})\s*(?:-\s*)?([A-Za-z]{{2,}}[A-Za-z./]*(?:\s+[A-Za-z./]+){{0,5}})\s*(?:\^\s*\{{?[23]\}}?|²|³)?"
)
_SCALED = re.compile(rf"({_NUMBER})\s*({'|'.join(_SCALES)})\b\D*", re.IGNORECASE)
_GROUPED = re.compile(r"-?[1-9]\d{0,2}(?:(?:,\s?\d{3})+|(?: \d{3})+)(?:\.\d+)?")
_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)")
_INT = r"\d{1,30}"
_RATIONAL = re.compile(
    rf"-?(?:(?P<decimal>{_INT}(?:\.{_INT})?)|(?P<whole>{_INT})?\\frac\{{(?P<a>{_INT})\}}\{{(?P<b>{_INT})\}}|"
    rf"(?P<c>{_INT})/(?P<d>{_INT}))"
)
_WORDS = re.compile(r"[^\W\d_][^\d\\^_={}]*")
_CHOICE = re.compile(r"\(?([A-Z])\)?[.:]?|\(([A-Z])\)[.:]? [^\W_].*")
_ARTICLE = re.compile(r"(?:an?|the)\s+(?=\w{2})", re.IGNORECASE)


def tidy(answer: str) -> str:
    """The answer as LaTeX that a parser understands, without units, currency, spacing and text wrappers."""
    text = answer.strip()
    for pattern, replacement in _SIMPLE:
        text = pattern.sub(replacement, text)
    text = _FRACTION.sub(lambda m: rf"\frac{{{m[1].strip('{}')}}}{{{m[2].strip('{}')}}}", text).strip()
    text = _drop_unit(_TEXT.sub(r"\1", _drop_unit(text)).strip().rstrip(".,;:").strip())
    scaled = _SCALED.fullmatch(text)
    if scaled and re.search(r"\d", scaled[1]):
        text = _plain(Decimal(re.sub(r"[,\s]", "", scaled[1])) * _SCALES[scaled[2].lower()])
    return re.sub(r"[,\s]", "", text) if _GROUPED.fullmatch(text) else text


def canonical(answer: str) -> str:
    """A text that is equal for answers that differ only in notation. Majority votes are counted over it."""
    text = tidy(answer)
    if _PLAIN.fullmatch(text):
        return _plain(Decimal(text))
    choice = _CHOICE.fullmatch(text)
    if choice:
        return choice[1] or choice[2]
    if is_words(text):
        return re.sub(r"[\s\"'`]+", " ", _ARTICLE.sub("", text, count=1)).strip().casefold()
    text = re.sub(r"([_^])\{(\w)\}", r"\1\2", re.sub(r"\\\\\s*", r"\\\\", text))
    text = re.sub(r"(?<=\d)\s+(?=\d)", ",", text)
    # A space after a command's name separates it from what follows; all other spaces are removed.
    return re.sub(r"(?<!\\)\s+", "", re.sub(r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])", r"\1\\ ", text))


def is_words(text: str) -> bool:
    """Whether the text is a name or phrase such as `east` or `not possible`, not mathematics."""
    return bool(_WORDS.fullmatch(text)) and bool(re.search(r"[^\W\d_]{2}", text))


def to_fraction(text: str) -> Fraction | None:
    """The exact value of a number, fraction or mixed number; None for anything else."""
    found = _RATIONAL.fullmatch(text)
    if not found:
        return None
    over, under = found["a"] or found["c"] or "0", int(found["b"] or found["d"] or "1")
    if under == 0:
        return None
    value = Fraction(found["decimal"] or found["whole"] or "0") + Fraction(int(over), under)
    return -value if text.startswith("-") else value


def _drop_unit(text: str) -> str:
    found = _TEXT_UNIT.search(text)
    if found and not _NO_UNIT.search(found[1].replace(".", "")):
        return _drop_unit(text[: found.start()].strip())
    found = _WORD_UNIT.fullmatch(text)
    if found and re.search(r"\d", found[1]) and not _NO_UNIT.search(found[2].replace(".", "")):
        return found[1].strip()
    return text


def _plain(number: Decimal) -> str:
    """The number without exponent, trailing zeros or a sign on zero."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text
