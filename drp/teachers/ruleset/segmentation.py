"""Steps that tile the thinking, by one of three methods (paper, sections 3.1 and 6.1, appendix D).

skill     clauses, neighbours with one purpose joined, each step with its skill
default   paragraphs, long ones by groups of sentences; no skills
sentence  one step a sentence; no skills
"""

from collections.abc import Callable
from typing import Literal

from drp.records import Step
from drp.teachers.ruleset.clauses import Clause, split_clauses, split_sentences
from drp.teachers.ruleset.kinds import Kind, name_kind
from drp.teachers.ruleset.quantities import find_quantities
from drp.teachers.ruleset.skills import name_skill

Method = Literal["skill", "default", "sentence"]

_DISCOURSE = {Kind.HEDGE, Kind.AFFIRMATION, Kind.VERIFICATION, Kind.RETRACTION, Kind.ALTERNATIVE}
_HEAD = 12
"""Clauses at the head of a step that are asked whether it checks something."""
_STEP_LENGTH = 420
"""Characters from which a step takes no further clause: about four sentences."""


def segment(thinking: str, method: Method) -> list[Step]:
    """The steps of a trace. Empty for empty thinking."""
    if not thinking:
        return []
    return {"skill": _by_skill, "default": _by_paragraph, "sentence": _by_sentence}[method](thinking)


def _by_sentence(thinking: str) -> list[Step]:
    return [_make_step([clause], None) for clause in split_sentences(thinking)]


def _by_paragraph(thinking: str) -> list[Step]:
    groups = _group(split_sentences(thinking), _continues_paragraph)
    return [_make_step(group, None) for group in groups]


def _continues_paragraph(group: list[Clause], clause: Clause) -> bool:
    if group[-1].paragraph != clause.paragraph and not _is_introduction(group[-1].text):
        return False
    return clause.end - group[0].start <= _STEP_LENGTH


def _by_skill(thinking: str) -> list[Step]:
    kinds: dict[int, tuple[Kind, str]] = {}
    clauses = split_clauses(thinking)
    for clause in clauses:
        kind = name_kind(clause.text)
        kinds[clause.start] = (kind, name_skill(clause.text, kind))

    def continues(group: list[Clause], clause: Clause) -> bool:
        return _continues_skill(group, clause, kinds)

    return [_make_step(group, _choose_skill(group, kinds)) for group in _group(clauses, continues)]


def _continues_skill(group: list[Clause], clause: Clause, kinds: dict[int, tuple[Kind, str]]) -> bool:
    """Whether a clause goes on with what the group does."""
    (kind, skill), (last_kind, last_skill) = kinds[clause.start], kinds[group[-1].start]
    if clause.end - group[0].start > _STEP_LENGTH:
        return False
    if _is_introduction(group[-1].text) and kind not in _DISCOURSE:
        return True
    if kind in _DISCOURSE and last_kind in _DISCOURSE:
        return kind is not Kind.RETRACTION
    if group[-1].paragraph != clause.paragraph or kind is Kind.RETRACTION:
        return False
    checking = any(kinds[member.start][0] in {Kind.VERIFICATION, Kind.ALTERNATIVE} for member in group[:_HEAD])
    reading = {Kind.GIVEN, Kind.STATEMENT}
    same_sentence = group[-1].text.rstrip().endswith((",", ";")) and last_kind in reading
    checking = checking or same_sentence or (kind in reading and last_kind in reading)
    reads_on = kind is Kind.GIVEN and last_kind is Kind.COMPUTATION and find_quantities(clause.text) <= _gather(group)
    return checking or reads_on or skill == last_skill


def _gather(group: list[Clause]) -> set[str]:
    return set().union(*(find_quantities(clause.text) for clause in group))


def _choose_skill(group: list[Clause], kinds: dict[int, tuple[Kind, str]]) -> str:
    """The skill of the clause that does the most: an operation before an announcement."""
    order = [Kind.RETRACTION, Kind.VERIFICATION, Kind.ALTERNATIVE, Kind.COMPUTATION, Kind.CONCLUSION, Kind.GOAL]
    ranked = sorted(group, key=lambda c: order.index(kinds[c.start][0]) if kinds[c.start][0] in order else len(order))
    return kinds[ranked[0].start][1]


def _is_introduction(text: str) -> bool:
    return text.rstrip().endswith(":")


def _group(clauses: list[Clause], continues: Callable[[list[Clause], Clause], bool]) -> list[list[Clause]]:
    groups: list[list[Clause]] = []
    for clause in clauses:
        if groups and continues(groups[-1], clause):
            groups[-1].append(clause)
        else:
            groups.append([clause])
    return groups


def _make_step(group: list[Clause], skill: str | None) -> Step:
    text = "".join(clause.text for clause in group)
    return Step(text=text, skill=skill, start=group[0].start, end=group[-1].end)
