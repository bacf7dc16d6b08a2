"""Steps that tile the thinking, by one of three methods (paper, sections 3.1 and 6.1, appendix D).

skill      neighbouring clauses with one purpose, each step with the mathematical skill that it exercises
default    paragraphs, cut where they are long; no skills
sentence   one step for each sentence; no skills

"5 pies of 8 slices make 5 * 8 = 40. Wait, let me double-check."
    ->  "5 pies of 8 slices make 5 * 8 = 40. " (Multiplication), "Wait, let me double-check." (Verification)
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from drp.records import Step
from drp.teachers.base import Method
from drp.teachers.clauses import Clause, split_clauses, split_sentences
from drp.teachers.numbers import find_quantities
from drp.teachers.rules.reading import Kind, name_kind

_BY_KIND = {
    Kind.GOAL: "Understanding the goal",
    Kind.HEDGE: "Expressing doubt",
    Kind.AFFIRMATION: "Verification",
    Kind.VERIFICATION: "Verification",
    Kind.RETRACTION: "Backtracking",
    Kind.ALTERNATIVE: "Exploring an alternative",
    Kind.CONCLUSION: "Stating the conclusion",
}
"""The skill of a clause of this kind, whatever it is about."""
_OTHERWISE = {
    Kind.GIVEN: "Reading a given quantity",
    Kind.PLAN: "Planning",
    Kind.STATEMENT: "Logical inference",
    Kind.COMPUTATION: "Interpreting a result",
}
"""The skill of a clause of this kind that neither `_TOPICS` nor `_OPERATIONS` match."""
_TOPICS = {
    "Modular arithmetic": r"\bmod(?:ulo|ular)?\b|\\pmod|\\equiv|\bremainder|\bcongruen",
    "Divisibility and factors": r"\bprime\b|\bdivisor|\bdivisible|\bmultiples? of|\bgcd\b|\blcm\b|\bfactors? of \d",
    "Trigonometry": r"\\?\b(?:sin|cos|tan)\b|θ|\\theta",
    "Substitution": r"\bsubstitut|\bplug(?:ging|ged)? |\bset(?:ting)? [a-z] ?(?:=|equal|to)|\breplac(?:e|ing)",
    "Simplifying": r"\bsimplif|\bcancel|\bcombin(?:e|ing) like|\bcommon denominator",
    "Solving an equation": r"\bsolv(?:e|ing)|\bboth sides|\bisolat|\bdivid\w+ both",
    "Setting up an equation": r"\b(?:let|denote|call)\b.{0,60}\b(?:be|as|by|represent|[a-z]\b)|\bset up|"
    r"\bthe equation\b|"
    r"\bdefine\b|\brepresents?\b",
    "Applying a formula or theorem": r"\bformula|\btheorem|\bidentity|\bPythag|\bquadratic\b|"
    r"\bdefinition of|\bproperty",
    "Geometry": r"\btriangle|\bcircle|\bangle|\bradius|\bperimeter|\barea\b|\brectang|\bparallel|\bperpendicular|"
    r"\bdiameter",
    "Percentages": r"\d\s?\\?%|\bpercent",
    "Comparison": r"\bcompar|\b(?:greater|less|larger|smaller|fewer|more) than\b|\\(?:leq?|geq?)\b|[<>≤≥]|"
    r"\bm(?:ax|in)imum",
}
_OPERATIONS = {
    "Division": r"\bdivid|÷|\\div|\d\s*/\s*\d|\bper (?:each|person)|\bquotient|\baverage",
    "Multiplication": r"\bmultipl|×|\\times|\\cdot|[\d)]\s*\*\s*\S|\btimes\b|\bproduct|\btwice|\bdoubl|\btripl",
    "Subtraction": r"\bsubtract|\bminus\b|[\d\w)}]\s+[-−]\s+[$\d\w(\\]|\bdifference|\bremain|\bleft\b|\bleaves",
    "Addition": r"\badd(?:s|ed|ing|ition)?\b|\bplus\b|[\d\w)}]\s*\+\s*[$\d\w(\\]|\bsum\b|\btogether|\bcombin|\btotal",
    # An equation in which no operation was found.
    "Simplifying": r"=",
}
"""Patterns of skills, in the order in which they are looked for: topics first, as they say more than an operation."""
_SKILLS = [(name, re.compile(words, re.IGNORECASE)) for name, words in [*_TOPICS.items(), *_OPERATIONS.items()]]
SKILLS = frozenset([*_BY_KIND.values(), *_OTHERWISE.values(), *_TOPICS, *_OPERATIONS])
"""Every skill that `name_skill` returns."""

_DISCOURSE = {Kind.HEDGE, Kind.AFFIRMATION, Kind.VERIFICATION, Kind.RETRACTION, Kind.ALTERNATIVE}
_FACTS = {Kind.GIVEN, Kind.STATEMENT}
_DECISIVE = [Kind.RETRACTION, Kind.VERIFICATION, Kind.ALTERNATIVE, Kind.COMPUTATION, Kind.CONCLUSION, Kind.GOAL]
"""The kind that comes first here gives a step its skill: an operation before its announcement."""
_HEAD = 12
"""Clauses at the start of a step by which it counts as a check."""
_STEP_LENGTH = 420
"""Characters above which a step takes no further clause: about four sentences."""


class _Member(NamedTuple):
    """A clause with what it does."""

    clause: Clause
    kind: Kind
    skill: str | None


def segment(thinking: str, method: Method) -> list[Step]:
    """The steps of a trace; none if the thinking is empty."""
    if method == "skill":
        members = [_describe(clause) for clause in split_clauses(thinking)]
        return [_make_step(group) for group in _group(members, _continues_skill)]
    sentences = [_Member(clause, Kind.STATEMENT, None) for clause in split_sentences(thinking)]
    if method == "sentence":
        return [_make_step([sentence]) for sentence in sentences]
    return [_make_step(group) for group in _group(sentences, _continues_paragraph)]


def _describe(clause: Clause) -> _Member:
    kind = name_kind(clause.text)
    return _Member(clause, kind, name_skill(clause.text, kind))


def name_skill(text: str, kind: Kind) -> str:
    """The skill of one clause: by its kind, else by its topic, else by its operation."""
    if kind in _BY_KIND:
        return _BY_KIND[kind]
    patterns = _SKILLS if kind is not Kind.GIVEN else _SKILLS[: len(_TOPICS) - 2]
    found = (name for name, pattern in patterns if pattern.search(text))
    return next(found, _OTHERWISE[kind])


def _group(members: Sequence[_Member], continues: Callable[[list[_Member], _Member], bool]) -> list[list[_Member]]:
    groups: list[list[_Member]] = []
    for member in members:
        short = groups and member.clause.end - groups[-1][0].clause.start <= _STEP_LENGTH
        if short and continues(groups[-1], member):
            groups[-1].append(member)
        else:
            groups.append([member])
    return groups


def _continues_paragraph(group: list[_Member], member: _Member) -> bool:
    last = group[-1].clause
    return last.paragraph == member.clause.paragraph or last.text.rstrip().endswith(":")


def _continues_skill(group: list[_Member], member: _Member) -> bool:
    """Whether a clause continues what the group does."""
    last, kind = group[-1], member.kind
    if kind is Kind.RETRACTION:
        return False
    if kind in _DISCOURSE and last.kind in _DISCOURSE:
        return True
    ending = last.clause.text.rstrip()[-1:]
    if ending == ":" and kind not in _DISCOURSE:
        return True
    if last.clause.paragraph != member.clause.paragraph:
        return False
    if any(each.kind in {Kind.VERIFICATION, Kind.ALTERNATIVE} for each in group[:_HEAD]):
        return True
    if last.kind in _FACTS and (kind in _FACTS or ending in {",", ";"}):
        return True
    if kind is Kind.GIVEN and last.kind is Kind.COMPUTATION:
        known = set().union(*(find_quantities(each.clause.text) for each in group))
        if find_quantities(member.clause.text) <= known:
            return True
    return member.skill == last.skill


def _make_step(group: list[_Member]) -> Step:
    decisive = min(group, key=lambda each: _DECISIVE.index(each.kind) if each.kind in _DECISIVE else len(_DECISIVE))
    text = "".join(each.clause.text for each in group)
    return Step(text=text, skill=decisive.skill, start=group[0].clause.start, end=group[-1].clause.end)
