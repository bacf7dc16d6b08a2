"""Claims that the student takes back.

"So that makes 48. Wait, no, that's not right. 12 * 3 = 36." takes back the first sentence. A claim that a later clause
makes again was doubted, not abandoned, and stays.
"""

from collections.abc import Sequence

from drp.teachers.ruleset.kinds import Kind
from drp.teachers.ruleset.reading import Reading

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
