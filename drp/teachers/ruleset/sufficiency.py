"""What a computation makes superfluous around it: a plan, a reason or a remark that says the same in other words.

"Next, I need to find how many are left. He sells 5 of 100 beads, so 100 - 5 = 95. That means 95 beads are left." keeps
the equation and its outcome. One rule for all: a computation keeps either its outcome in words or, where it has none,
its reason, so that every number stays explained once.
"""

import re
from collections.abc import Sequence

from drp.teachers.ruleset.kinds import Kind
from drp.teachers.ruleset.reading import Reading

_EQUATION = re.compile(r"\d[^=]{0,60}[+*/×÷−x-][^=]{0,60}=\s*\S?\d")
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
        if index in chosen and _EQUATION.search(readings[index].text) and _has_outcome(readings, index, chosen):
            chosen -= _find_covered(readings, index, chosen) - frame
    return [i for i in sorted(chosen) if i in frame or not _only_names_operation(readings, i, chosen)]


def _has_outcome(readings: Sequence[Reading], index: int, chosen: set[int]) -> bool:
    """Whether an equation is followed by what it shows, in words."""
    if _OUTCOME_WITHIN.search(readings[index].text):
        return True
    return index + 1 in chosen and states_outcome(readings, index)


def states_outcome(readings: Sequence[Reading], index: int) -> bool:
    """Whether the clause after a computation, in its paragraph, says in words what it shows."""
    if index + 1 >= len(readings) or not _EQUATION.search(readings[index].text):
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
