"""The mathematical skill that a clause exercises, in words that a mathematician would use (paper, 3.1).

"5 pies of 8 slices make 5 * 8 = 40" -> "Multiplication"; "Wait, let me double-check" -> "Verification".
"""

import re

from drp.teachers.ruleset.kinds import Kind

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
