"""What a clause does in the argument, read off its wording.

"Okay, so I need to find the cost."    GOAL
"Hmm, let me think."                   HEDGE
"12 x 3 = 36"                          COMPUTATION
"Wait, no, that's not right."          RETRACTION
"""

import re
from enum import StrEnum

from drp.teachers.ruleset import cues
from drp.teachers.ruleset.clauses import carries_maths
from drp.teachers.ruleset.quantities import find_quantities, find_results


class Kind(StrEnum):
    """The part that a clause plays."""

    GOAL = "goal"
    GIVEN = "given"
    PLAN = "plan"
    COMPUTATION = "computation"
    STATEMENT = "statement"
    CONCLUSION = "conclusion"
    HEDGE = "hedge"
    AFFIRMATION = "affirmation"
    VERIFICATION = "verification"
    RETRACTION = "retraction"
    ALTERNATIVE = "alternative"


OPERATION = re.compile(
    r"[×÷*·]|\d x \S?\d|\\(?:times|cdot|div|frac|sqrt|binom|sum|int|pmod)|[\d\w)}]\s*[+−/=<>≤≥^-]\s*[\d\w({\\$-]"
    r"|\b(?:times|multipl\w+|plus|minus|divid\w+|subtract\w*|add(?:s|ed|ing)?|sum|difference|product|total|half of|"
    r"percent of|squared|cubed|equals?|combin\w+|doubl\w+)\b",
    re.IGNORECASE,
)
_CONTINUATION = re.compile(r"(?:next|then|finally|now|lastly|after that|second)\b", re.IGNORECASE)
_RELATION = re.compile(r"=|\\(?:le|ge|ne|equiv|implies|approx)|[<>≤≥≈]")


def name_kind(text: str) -> Kind:
    """The kind of one clause."""
    stripped = text.strip().lstrip("-*# ")
    core = strip_interjections(stripped)
    if not core:
        return Kind.HEDGE
    marked = _find_marked(stripped, core)
    return marked or _find_plain(core)


def strip_interjections(text: str) -> str:
    """The clause from its first word that says something: "Hmm, okay, so x = 2" -> "x = 2"."""
    match = cues.LEADING_INTERJECTIONS.match(text)
    return text[match.end() :] if match else text


def _find_marked(whole: str, core: str) -> Kind | None:
    """The kind that a cue phrase gives away."""
    relation = _RELATION.search(core) is not None
    if cues.RETRACTION.search(whole) and not cues.AFFIRMATION.search(core):
        return Kind.RETRACTION
    if cues.VERIFICATION.search(core):
        return Kind.VERIFICATION
    if cues.HEDGE.search(core) and not relation and not find_results(core) and not cues.GOAL.search(core):
        return Kind.HEDGE
    if cues.GOAL.search(core) and not relation:
        return Kind.PLAN if _CONTINUATION.match(whole) else Kind.GOAL
    if cues.CONCLUSION.search(core):
        return Kind.CONCLUSION
    if cues.ALTERNATIVE.search(core):
        return Kind.ALTERNATIVE
    if cues.AFFIRMATION.search(core) and not relation and not find_results(core):
        return Kind.AFFIRMATION
    if core.rstrip(" \n*").endswith("?") and not relation:
        return Kind.HEDGE
    return None


def _find_plain(core: str) -> Kind:
    if cues.INTENTION.match(core) and not find_results(core) and not _RELATION.search(core):
        return Kind.PLAN
    if OPERATION.search(core) and carries_maths(core):
        return Kind.COMPUTATION
    return Kind.GIVEN if find_quantities(core) else Kind.STATEMENT
