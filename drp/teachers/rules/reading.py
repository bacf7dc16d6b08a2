"""The clauses of a trace's steps with what each says: kind, numbers, results, words.

Steps of any origin can be read; a step's boundaries are always clause boundaries too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from functools import cached_property

from drp.records import Step
from drp.teachers.clauses import carries_maths, split_clauses

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


def _compile(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{a})" for a in alternatives), re.IGNORECASE)


LEADING_INTERJECTIONS = re.compile(
    r"(?:(?:hm+|uh+|um+|okay|ok|alright|all right|wait|oh|ah|aha|yeah|yep|yes|so(?! that)|now(?! that)|but|and|"
    r"then|also|"
    r"hold on(?: a (?:second|minute|moment))?|a (?:second|minute|moment)|hang on|actually|"
    r"(?:well|right|sorry|look|again|let me (?:see|think)|let's see)(?=[.,!:;]|$))\b['’]?(?!['’-])[,.!:;?\s…—–]*+)++",
    re.IGNORECASE,
)
"""At the head of a clause; may be the whole of it."""

RETRACTION = _compile(
    r"\bwait,? no\b",
    r"\bno,? wait\b",
    r"\b(?:that|this|it)(?:'s| is|'d be| would be| can't be| cannot be| isn't|'s definitely) (?:not |quite )*"
    r"(?:right|wrong|incorrect|correct|possible|a mistake)\b",
    r"\b(?:that|this) (?:can't|cannot|couldn't) be\b",
    r"\bscratch that\b",
    r"\bI (?:think I )?(?:made|must have made) (?:a|an|some) (?:mistake|error)\b",
    r"\b(?:that|this) (?:doesn't|does not) (?:make sense|seem right|work|add up)\b",
    r"\bactually,? no\b",
    r"\bI (?:misread|miscalculated|misinterpreted)\b",
    r"\bnot quite right\b",
)
"""Takes back what was said before it; `AFFIRMATION` is to be ruled out first ("that's right")."""

AFFIRMATION = _compile(
    r"\b(?:that|this|it|which|everything|all|answer)(?:'s| is| all)? (?:indeed |definitely |also |probably )?"
    r"(?:seems? |looks? |sounds? |feels? )?(?:all |pretty |quite |about |to be )*"
    r"(?:right|correct|good|solid|straightforward|consistent|fine|reasonable|clear|plausible|okay|simple)\b",
    r"(?<!n't )(?<!not )\bmakes? (?:perfect )?sense\b",
    r"\b(?:checks? out|adds up|matches|match(?:es)? up|holds (?:true|up))\b",
    r"^(?:correct|right|exactly|perfect|great|good|got (?:it|that)|yes|yep|yeah|same (?:result|answer|thing|"
    r"as before))\b",
    r"\bsame (?:result|answer|thing)\b",
    r"\bI(?:'m| am| feel| feel pretty| am pretty|'m pretty|'m fairly|'m quite) (?:confident|sure|certain)\b",
    r"\bI (?:think|believe|guess) (?:that's|that is|this is|I'm|I've|I did|everything)\b",
    r"\bI (?:don't|do not|can't|cannot) (?:see|think|find|spot|believe) (?:any|I|there|of any)\b",
    r"\b(?:gives|give) me (?:more |some |extra )?confidence\b",
    r"\bmore confident\b",
    r"\bconfirms?\b",
)

VERIFICATION = _compile(
    r"\bdouble[- ]?check",
    r"\bre-?check",
    r"\b(?:let me|let's|I'll|I can|I should|I could|to) (?:just )?(?:quickly )?(?:verify|check|confirm|"
    r"re-?calculate|recompute)\b",
    r"\bmak(?:e|ing) sure\b",
    r"\bto be (?:sure|thorough|certain|safe|extra)\b",
    r"\bto (?:recap|summari[sz]e|confirm|verify)\b",
    r"\b(?:go|going|went) (?:through|over) (?:the|this|that|it|my|each|these|everything)\b.{0,40}\bagain\b",
    r"\b(?:go|going) (?:over|through) .{0,40}\bonce more\b",
    r"\bthink (?:about (?:it|this|that) )?again\b",
    r"\b(?:let me|I should|I'll) (?:re-?read|read (?:it|the|this)|see if (?:I|this|that|there))\b",
    r"\bif (?:I|we) (?:add|check|plug|multiply|subtract|divide) .{0,60}\b(?:back|again)\b",
    r"\bas a (?:sanity )?check\b",
    r"\b(?:missed|missing|overlook|skip(?:ped)?) (?:anything|something|any)\b",
    r"\bany (?:mistakes?|errors?|other)\b",
    r"\blet me (?:just )?(?:reconsider|re-?examine|re-?evaluate|review|rethink)\b",
)

ALTERNATIVE = _compile(
    r"^alternatively\b",
    r"\banother (?:way|approach|method|thought|angle|possibility|idea|perspective)\b",
    r"\b(?:a|some) different (?:way|approach|method|angle)\b",
    r"^(?:or )?maybe (?:I|there|it|the|we)\b",
    r"^or (?:is|are|does|maybe|perhaps|am)\b",
    r"^perhaps\b",
    r"\b(?:wonder|wondering) if\b",
)

HEDGE = _compile(
    r"\bI(?:'m| am) (?:not (?:entirely |quite |really |too |completely |100% )?(?:sure|certain)|a bit|confus|"
    r"stuck|getting|overthink|overcomplicat)",
    r"\b(?:confusing|tricky|unclear|ambiguous|interesting|a bit (?:fuzzy|rusty|odd|strange|weird))\b",
    r"\bis that (?:right|correct|all|it|so)\b",
    r"\bam I (?:sure|right|missing|doing)\b",
    r"\bI (?:might|may) (?:be|have)\b",
    r"\b(?:don't|didn't) (?:know|remember|recall)\b",
    r"\bshould I\b",
    r"\bdoes that make sense\b",
    r"\blet me (?:just )?(?:think|see|try|parse|visuali[sz]e|picture|imagine|break|process|understand|recall|"
    r"wrap|look|read|slow|clarify|try to)\b",
    r"\bI (?:think|guess) I (?:can|need|should|have|see|got|get|understand)\b",
    r"\bI (?:remember|recall) (?:something|that there|learning)\b",
    r"\bI(?:'ll| will) present\b",
    r"\bone step at a time\b|\blet me not rush\b|^(?:so )?far,? so good\b|\b(?:doesn't|does not) (?:look|seem) too\b",
    r"^let me (?:redo|calculate) (?:it|this|that)(?: again)?\W*$",
    r"\bgo over the facts\b|\bhere(?:'s| is) what (?:I|we) know\b|\bsays the following\b",
    r"^(?:let me|let's|I'll|I will|I should|I can|I need to) (?:just )?(?:write|jot|note|put|set|lay|list|do|"
    r"calculate|compute|work|"
    r"add|count|solve|figure|start|sum|multiply|subtract|divide|plug|go|proceed)\b(?: (?:that|this|it|them|"
    r"those|these|all|the|addition|"
    r"subtraction|multiplication|division|calculation|math|numbers|information|down|out|up|together|again|in|"
    r"first|next))*\W*$",
)

GOAL = _compile(
    r"\b(?:I|we) (?:just |still |also )?(?:need|have|want|am asked|are asked|am supposed|'m asked|'m trying|"
    r"must)(?: to)? "
    r"(?:try to )?(?:find|figure out|determine|calculate|compute|solve|simplify|evaluate|factor|express|convert|"
    r"identify|count|prove|show|work out|know)\b",
    r"\bthe (?:question|problem) (?:is|asks?|is asking|wants|here is|says to)\b",
    r"\b(?:I|we)(?:'ve| have) (?:got )?(?:this|a|the) (?:problem|question)\b",
    r"\b(?:I'm|we're|I am|we are) (?:asked|looking|trying|supposed|tasked)\b",
    r"\bthe goal is\b",
    r"^(?:let me|let's) (?:try to )?(?:figure out|find out|determine) (?:how|what)\b",
)

CONCLUSION = _compile(
    r"\bfinal answer\b",
    r"\bthe (?:correct |right )?answer (?:is|should be|must be|would be|to)\b",
    r"\\boxed\b",
    r"^(?:so,? |and )?(?:therefore|thus|hence|in conclusion|in total|altogether|overall)\b",
    r"^so,? I (?:get|got|have|end up with)\b",
)

INTENTION = _compile(
    r"^(?:first|next|then|finally|now|lastly|after that|second|third|similarly|also|so|to start|starting)?,?\s*"
    r"(?:to (?:find|calculate|determine|get|figure|compute|solve|do|obtain|simplify|convert|start|begin|add|"
    r"know)\b.{0,160}?,\s*)?"
    r"(?:I|we|let me|let's|let us)(?:'ll| will| can| should| need to| have to| must| want to| could| just| would)*\s+"
    r"(?:just |then |now |simply |also |first |start by |begin by |try to |move on to |go on to )*"
    r"(?:find|figur|calculat|comput|determin|add|subtract|multiply|divide|set|solv|write|identif|convert|combin|"
    r"do\b|use|start|sum|count|work|"
    r"look|consider|need|rewrit|express|simplif|break|list|tackle|apply|substitut|take|plug|expand|isolat|evaluat|"
    r"move|see how|proceed|present)",
)

RECOLLECTION = re.compile(
    r"^(?:I (?:remember|recall|know|think|believe|see|recogni[sz]e|understand|realize|notice|guess|suppose|"
    r"can see|note)"
    r"|we know|it says|the problem (?:says|states|mentions|tells us)|it's given|"
    r"according to the problem)(?: that)?,?\s+",
    re.IGNORECASE,
)


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
    match = LEADING_INTERJECTIONS.match(text)
    return text[match.end() :] if match else text


def _find_marked(whole: str, core: str) -> Kind | None:
    """The kind that a cue phrase gives away."""
    relation = _RELATION.search(core) is not None
    if RETRACTION.search(whole) and not AFFIRMATION.search(core):
        return Kind.RETRACTION
    if VERIFICATION.search(core):
        return Kind.VERIFICATION
    if HEDGE.search(core) and not relation and not find_results(core) and not GOAL.search(core):
        return Kind.HEDGE
    if GOAL.search(core) and not relation:
        return Kind.PLAN if _CONTINUATION.match(whole) else Kind.GOAL
    if CONCLUSION.search(core):
        return Kind.CONCLUSION
    if ALTERNATIVE.search(core):
        return Kind.ALTERNATIVE
    if AFFIRMATION.search(core) and not relation and not find_results(core):
        return Kind.AFFIRMATION
    if core.rstrip(" \n*").endswith("?") and not relation:
        return Kind.HEDGE
    return None


def _find_plain(core: str) -> Kind:
    if INTENTION.match(core) and not find_results(core) and not _RELATION.search(core):
        return Kind.PLAN
    if OPERATION.search(core) and carries_maths(core):
        return Kind.COMPUTATION
    return Kind.GIVEN if find_quantities(core) else Kind.STATEMENT


_READ_WORD = re.compile(r"[A-Za-z]{2,}")
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
    if not beside and not AFFIRMATION.search(reading.text):
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
    words = (w.lower() for w in _READ_WORD.findall(text))
    return frozenset(w.removesuffix("s") for w in words if w not in _STOP_WORDS)


# FOLDED DOC of teachers.ruleset.quantities:
# The numbers of a text in one spelling, and which of them it states as results.
#
# "5 pies of 8 are 40.00 slices" has the quantities {"5", "8", "40"} and the results {"40"}. Words count ("half",
# "twice"), and "40%" is also 0.4.
#

# FOLDED DOC of teachers.ruleset.cues:
# The phrases by which a student hedges, checks, turns back and concludes, as compiled patterns.
#
# They are matched against one clause. Every quantifier is bounded or followed by something that it cannot itself match.
#

# FOLDED DOC of teachers.ruleset.kinds:
# What a clause does in the argument, read off its wording.
#
# "Okay, so I need to find the cost."    GOAL
# "Hmm, let me think."                   HEDGE
# "12 x 3 = 36"                          COMPUTATION
# "Wait, no, that's not right."          RETRACTION
#
