"""The clauses of a trace's steps with what each says: kind, numbers, results, words.

Steps of any origin can be read; a step's boundaries are always clause boundaries too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from drp.records import Step
from drp.teachers.ruleset import cues
from drp.teachers.ruleset.clauses import split_clauses
from drp.teachers.ruleset.kinds import Kind, name_kind
from drp.teachers.ruleset.quantities import find_quantities, find_results

_WORD = re.compile(r"[A-Za-z]{2,}")
_PROSE = re.compile(
    r"\\text\{[^{}]{0,80}\}|\\[,;!]|\\(?:left|right|quad|displaystyle)\b|(?<!\\)\b[A-Za-z]{2,}\b|"
    r"[\s$.,;:!?*()\[\]{}]|\\[()\[\]]"
)
_TIMES = re.compile(r"(?<=[\d)]) ?x ?(?=[$(]?\d)")
"""The letter x as a multiplication sign."""
_VARIABLE = re.compile(
    r"(?<![A-Za-z_'’])[b-hj-zB-HJ-Z](?![A-Za-z'’])|\b[A-Z]\s*=|\\(?:theta|alpha|beta|pi|sqrt|sin|cos|tan|log|"
    r"vec|overline|angle)|[θαβπ√∠]"
)
_WORKING_KINDS = {Kind.COMPUTATION, Kind.CONCLUSION, Kind.ALTERNATIVE, Kind.VERIFICATION}
_READABLE = 3000
"""Characters of a clause that are read; no sentence is longer, but hostile or degenerate text may be."""
_CHECK_REACH = 6
"""How many clauses before a check the computation that it checks is looked for."""
_COMMON = """
the an is are was were be been of to in on at by for and or so that this it its as with from if then but not he she
they his her their we you my me our how many much what which who when does do did has have had will would can could
there each all now just also let need find total number amount problem question answer given since because
"""
_STOP_WORDS = frozenset(_COMMON.split())


@dataclass(frozen=True)
class Reading:
    """One clause as read."""

    text: str
    step: int
    """Index of the step that it belongs to."""
    paragraph: int
    kind: Kind
    quantities: frozenset[str]
    results: frozenset[str]
    words: frozenset[str] = field(repr=False)
    """Content words, lower case, plural endings off."""

    @property
    def computed(self) -> bool:
        """Whether it states a result that it works out."""
        return bool(self.results) and self.kind in {
            Kind.COMPUTATION,
            Kind.CONCLUSION,
            Kind.ALTERNATIVE,
            Kind.VERIFICATION,
        }

    @cached_property
    def is_symbolic(self) -> bool:
        """Whether it has variables or higher notation, whose results are not only numbers."""
        return _VARIABLE.search(_TIMES.sub("*", self.text)) is not None

    @cached_property
    def notation(self) -> str:
        """Its maths alone, in one spelling, for finding repetitions."""
        spelt = (
            _TIMES.sub("*", self.text)
            .replace("\\times", "*")
            .replace("×", "*")
            .replace("\\cdot", "*")
            .replace("\\dfrac", "\\frac")
        )
        return _PROSE.sub("", spelt)

    @cached_property
    def wording(self) -> str:
        """Letters and digits only, for finding literal repetitions."""
        return re.sub(r"[\W_]+", " ", self.text.lower()).strip()


def read_steps(steps: Sequence[Step]) -> list[Reading]:
    """The clauses of all steps, in order."""
    readings: list[Reading] = []
    paragraph = 0
    for index, step in enumerate(steps):
        clauses = split_clauses(step.text)
        readings.extend(read_clause(c.text, index, paragraph + c.paragraph) for c in clauses)
        breaks = step.text[len(step.text.rstrip()) :].count("\n") > 1
        paragraph += (clauses[-1].paragraph if clauses else 0) + breaks
    return [replace(r, kind=Kind.VERIFICATION) if _is_check(readings, i) else r for i, r in enumerate(readings)]


def _is_check(readings: Sequence[Reading], index: int) -> bool:
    """Whether a computation repeats or inverts one of its paragraph, beside words that say so: "7 * 5 = 35, right"."""
    reading = readings[index]
    if reading.kind is not Kind.COMPUTATION or not reading.results:
        return False
    before = readings[index - 1] if index else None
    after = readings[index + 1] if index + 1 < len(readings) else None
    beside = (before is not None and before.kind is Kind.VERIFICATION) or (
        after is not None and after.paragraph == reading.paragraph and after.kind is Kind.AFFIRMATION
    )
    if not beside and not cues.AFFIRMATION.search(reading.text):
        return False
    for earlier in reversed(readings[max(0, index - _CHECK_REACH) : index]):
        if earlier.paragraph != reading.paragraph or earlier.kind is Kind.RETRACTION:
            return False
        if earlier.computed and reading.quantities <= earlier.quantities:
            return True
    return False


def read_clause(text: str, step: int = 0, paragraph: int = 0) -> Reading:
    """One clause taken by itself."""
    said = text if len(text) <= _READABLE else text[: _READABLE // 2] + text[-_READABLE // 2 :]
    return Reading(
        text=text,
        step=step,
        paragraph=paragraph,
        kind=name_kind(said),
        quantities=frozenset(find_quantities(said)),
        results=frozenset(find_results(said)),
        words=find_words(said),
    )


def find_words(text: str) -> frozenset[str]:
    """Content words of a text, lower case, plural endings off."""
    words = (w.lower() for w in _WORD.findall(text))
    return frozenset(w.removesuffix("s") for w in words if w not in _STOP_WORDS)
