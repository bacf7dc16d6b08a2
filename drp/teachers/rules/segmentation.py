"""Steps that tile the thinking, by one of three methods (paper, sections 3.1 and 6.1, appendix D).

skill     clauses, neighbours with one purpose joined, each step with its skill
default   paragraphs, long ones by groups of sentences; no skills
sentence  one step a sentence; no skills
"""

import re
from collections.abc import Callable
from typing import Literal

from drp.records import Step
from drp.teachers.clauses import Clause, split_clauses, split_sentences
from drp.teachers.rules.reading import Kind, find_quantities, name_kind

_BY_KIND = {
    Kind.GOAL: "Understanding the goal",
    Kind.HEDGE: "Expressing doubt",
    Kind.AFFIRMATION: "Verification",
    Kind.VERIFICATION: "Verification",
    Kind.RETRACTION: "Backtracking",
    Kind.ALTERNATIVE: "Exploring an alternative",
    Kind.CONCLUSION: "Stating the conclusion",
}
_BY_DEFAULT = {Kind.GIVEN: "Reading a given quantity", Kind.PLAN: "Planning", Kind.STATEMENT: "Logical inference"}


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_TOPICS = (
    ("Evaluating a limit", _compile(r"\\lim\b|\blimit (?:as|of)\b")),
    ("Differentiation", _compile(r"\bderivative|\bdifferentiat|\\frac\{d|\bf'\(")),
    ("Integration", _compile(r"\\int\b|\bintegra(?:l|te)")),
    ("Probability", _compile(r"\bprobabilit|\bfavou?rable|\bexpected value")),
    ("Modular arithmetic", _compile(r"\bmod(?:ulo|ular)?\b|\\pmod|\\equiv|\bremainder|\bcongruen")),
    (
        "Counting",
        _compile(
            r"\\binom|\bcombination|\bpermutation|\bfactorial|\bways\b|\bchoose\b|\bhow many (?:ways|numbers)|\d!"
        ),
    ),
    (
        "Divisibility and factors",
        _compile(
            r"\bprime\b|\bdivisor|\bdivisible|\bmultiples? of|\bgcd\b|\blcm\b|\bgreatest common|\bleast common|"
            r"\bfactors? of \d"
        ),
    ),
    ("Trigonometry", _compile(r"\\?\b(?:sin|cos|tan|sec|csc|cot)\b|θ|\\theta")),
    ("Complex numbers", _compile(r"\bcomplex (?:number|plane)|\bimaginary|\bconjugate")),
    (
        "Vectors and matrices",
        _compile(r"\bvector|\bmatri(?:x|ces)|\bdeterminant|\bdot product|\bcross product|pmatrix"),
    ),
    (
        "Sequences and series",
        _compile(
            r"\b(?:arithmetic|geometric) (?:sequence|series|progression)|\bcommon (?:ratio|difference)|\\sum\b|"
            r"\bnth term"
        ),
    ),
    (
        "Case analysis",
        _compile(
            r"\bcase \d|\bcase (?:one|two|three)\b|\bin (?:this|that|each|either) case|\botherwise\b|"
            r"\bsuppose\b|\bassume\b"
        ),
    ),
    (
        "Factoring",
        _compile(
            r"\bfactor(?:s|ed|ing|i[sz]e)? (?:out|the|this|it|into|as)|\bfactoring|\bdifference of squares|"
            r"\bcompleting the square"
        ),
    ),
    ("Expanding", _compile(r"\bexpand|\bdistribut|\bFOIL\b")),
    (
        "Substitution",
        _compile(r"\bsubstitut|\bplug(?:ging|ged)? |\bset(?:ting)? [a-z] ?(?:=|equal|to)|\breplac(?:e|ing)"),
    ),
    (
        "Simplifying",
        _compile(
            r"\bsimplif|\bcancel|\breduc(?:e|es|ing) (?:to|the fraction)|\bcombin(?:e|ing) like|\bcommon denominator"
        ),
    ),
    (
        "Solving an equation",
        _compile(r"\bsolv(?:e|ing)|\bboth sides|\bisolat|\bdivid\w+ both|\bsubtract\w* .{0,20}from both"),
    ),
    (
        "Setting up an equation",
        _compile(
            r"\b(?:let|denote|call)\b.{0,60}\b(?:be|as|by|represent|[a-z]\b)|\bset up|\bthe equation\b|"
            r"\bdefine\b|\brepresents?\b"
        ),
    ),
    (
        "Applying a formula or theorem",
        _compile(r"\bformula|\btheorem|\bidentity|\bVieta|\bPythag|\bquadratic\b|\bdefinition of|\blaw of|\bproperty"),
    ),
    (
        "Geometry",
        _compile(
            r"\btriangle|\bcircle|\bangle|\bradius|\bperimeter|\barea\b|\bvolume of|\bsquare (?:with|of side)|"
            r"\brectang|\bparallel|\bperpendicular|\bdiameter|\bchord"
        ),
    ),
    (
        "Unit conversion",
        _compile(
            r"\bconvert|\b(?:minutes|hours|seconds|days|feet|inches|cents|weeks) (?:in|per|to) (?:a|an|one|each|"
            r"the|hours?|minutes?|dollars?|years?|weeks?|feet)\b"
        ),
    ),
    ("Percentages", _compile(r"\d\s?\\?%|\bpercent")),
    (
        "Comparison",
        _compile(
            r"\bcompar|\b(?:greater|less|larger|smaller|bigger|fewer|more) than\b|\\(?:leq?|geq?)\b|[<>≤≥]|"
            r"\bmaximum|\bminimum"
        ),
    ),
)
_OPERATIONS = (
    ("Division", _compile(r"\bdivid|÷|\\div|\d\s*/\s*\d|\bper (?:each|person)|\bquotient|\baverage")),
    (
        "Multiplication",
        _compile(r"\bmultipl|×|\\times|\\cdot|[\d)]\s*\*\s*\S|\btimes\b|\bproduct|\btwice|\bdoubl|\btripl"),
    ),
    (
        "Subtraction",
        _compile(r"\bsubtract|\bminus\b|[\d\w)}]\s+[-−]\s+[$\d\w(\\]|\bdifference|\bremain|\bleft\b|\bleaves"),
    ),
    (
        "Addition",
        _compile(r"\badd(?:s|ed|ing|ition)?\b|\bplus\b|[\d\w)}]\s*\+\s*[$\d\w(\\]|\bsum\b|\btogether|\bcombin|\btotal"),
    ),
    (
        "Fractions and ratios",
        _compile(r"\\[dt]?frac|\bfraction|\bratio\b|\bhalf\b|\bthirds?\b|\bfourths?\b|\bproportion"),
    ),
)
_EQUATION = _compile(r"=")


def name_skill(text: str, kind: Kind) -> str:
    """One name for one clause; the most specific topic wins, then the arithmetic operation, then the clause's kind."""
    if kind in _BY_KIND:
        return _BY_KIND[kind]
    ways = (*_TOPICS, *_OPERATIONS) if kind is not Kind.GIVEN else _TOPICS[:-3]
    found = next((skill for skill, pattern in ways if pattern.search(text)), None)
    if found is not None:
        return found
    if kind is Kind.COMPUTATION:
        return "Simplifying" if _EQUATION.search(text) else "Interpreting a result"
    return _BY_DEFAULT[kind]


SKILLS = frozenset(
    {*_BY_KIND.values(), *_BY_DEFAULT.values(), "Interpreting a result"}
    | {name for name, _ in (*_TOPICS, *_OPERATIONS)}
)
"""Every name that `name_skill` can give."""


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


# FOLDED DOC of teachers.ruleset.skills:
# The mathematical skill that a clause exercises, in words that a mathematician would use (paper, 3.1).
#
# "5 pies of 8 slices make 5 * 8 = 40" -> "Multiplication"; "Wait, let me double-check" -> "Verification".
#
