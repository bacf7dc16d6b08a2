"""The clauses of a trace's steps, each with what it says: its kind, its numbers and its words.

    "So, 5 pies of 8 slices make 5 * 8 = 40 slices."
        ->  kind COMPUTATION, quantities {"5", "8", "40"}, results {"40"}, words {"pie", "slice", "make"}

The kind is read off the wording (`CUES`) and is what the passes of `selection` and the skills of `segmentation` go by.
Every pattern is matched against one clause of bounded length.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from drp.records import Step
from drp.teachers.clauses import carries_maths, split_clauses
from drp.teachers.numbers import Value, find_quantities, locate_numbers


class Kind(StrEnum):
    """The part that a clause plays in the argument."""

    GOAL = "goal"
    """What is to be found: "I need to find the cost."."""
    GIVEN = "given"
    """A statement with a number: "She has 20 chickens."."""
    PLAN = "plan"
    """The step that comes next: "Next, I'll calculate the cost."."""
    COMPUTATION = "computation"
    """An operation on numbers or symbols: "12 x 3 = 36"."""
    STATEMENT = "statement"
    """Anything without a number that has no cue."""
    CONCLUSION = "conclusion"
    """What follows in the end: "Therefore, the answer is 36."."""
    HEDGE = "hedge"
    """Thinking aloud: "Hmm, let me think."."""
    AFFIRMATION = "affirmation"
    """Approval of what was found: "That seems right."."""
    VERIFICATION = "verification"
    """A check, or its announcement: "Wait, let me double-check."."""
    RETRACTION = "retraction"
    """Taking back what was said: "Wait, no, that's not right."."""
    ALTERNATIVE = "alternative"
    """Another approach: "Alternatively, I could use a formula."."""


def _compile(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in alternatives), re.IGNORECASE)


CUES: dict[Kind, re.Pattern[str]] = {
    Kind.RETRACTION: _compile(
        r"\bwait,? no\b",
        r"\b(?:that|this|it)(?:'s| is) (?:not (?:quite )?(?:right|correct|possible)|wrong|incorrect|a mistake)\b",
        r"\b(?:that|this) (?:doesn't|does not) (?:make sense|seem right|work)\b",
        r"\bI (?:think I )?made (?:a|an|some) (?:mistake|error)\b",
    ),
    Kind.VERIFICATION: _compile(
        r"\bdouble[- ]?check",
        r"\b(?:let me|let's|I'll|I can|I should|to) (?:just )?(?:quickly )?"
        r"(?:verify|check|confirm|recap|summari[sz]e)\b",
        r"\bmak(?:e|ing) sure\b",
        r"\bto be (?:sure|thorough|certain|safe)\b",
        r"\bgo (?:through|over) .{0,60}\b(?:again|once more)\b",
        r"\bthink (?:about (?:it|this|that) )?again\b",
        r"\b(?:let me|I should) (?:re-?read|read (?:it|the|this)|see if (?:I|this|that|there))\b",
        r"\bmiss(?:ed|ing) (?:anything|something)\b",
        r"\bany (?:mistakes?|errors?|other)\b",
    ),
    Kind.GOAL: _compile(
        r"\b(?:I|we)(?:'m| am| are)? (?:just |still |also )?(?:need|have|want|asked|trying)(?: to)? (?:try to )?"
        r"(?:find|figure out|determine|calculate|compute|solve|simplify|evaluate|factor|express|convert|identify|count|"
        r"prove|show|work out|know)\b",
        r"\bthe (?:question|problem) (?:is|asks?|wants|here is)\b",
        r"\b(?:I|we)(?:'ve| have) (?:got )?(?:this|a|the) (?:problem|question)\b",
        r"^(?:let me|let's) (?:try to )?(?:figure out|find out|determine) (?:how|what)\b",
    ),
    Kind.HEDGE: _compile(
        r"\bI(?:'m| am) (?:not (?:entirely |really |too |completely )?(?:sure|certain)|a bit|confus|stuck|getting)",
        r"\b(?:confusing|tricky|unclear|ambiguous|interesting)\b",
        r"\bis that (?:right|correct|all|it|so)\b",
        r"\b(?:don't|didn't) (?:know|remember|recall)\b",
        r"\blet me (?:just )?(?:think|see|try|parse|visuali[sz]e|picture|imagine|break|understand|recall|look|read|"
        r"clarify)\b",
        r"\bI(?:'ll| will) present\b",
        r"\bone step at a time\b|\blet me not rush\b|^far,? so good\b",
        r"\bgo over the facts\b|\bhere(?:'s| is) what (?:I|we) know\b|\bsays the following\b",
        r"^(?:let me|let's|I'll|I will|I should|I can|I need to) (?:just )?(?:write|note|put|set|list|do|calculate|"
        r"compute|work|add|count|solve|start|multiply|subtract|divide|plug)\b(?: (?:that|this|it|them|those|these|the|"
        r"addition|subtraction|multiplication|division|calculation|math|numbers|down|out|up|together|again|in|first))*"
        r"\W*$",
    ),
    Kind.CONCLUSION: _compile(
        r"\bfinal answer\b",
        r"\bthe (?:correct )?answer (?:is|should be|must be|to)\b",
        r"\\boxed\b",
        r"^(?:therefore|thus|hence|in conclusion|in total|altogether|overall)\b",
    ),
    Kind.ALTERNATIVE: _compile(
        r"^alternatively\b",
        r"\banother (?:way|approach|method|thought|angle|possibility|idea)\b",
        r"^(?:or )?maybe (?:I|there|it|the|we)\b",
        r"^or (?:is|are|does|maybe|perhaps)\b|^perhaps\b",
    ),
    Kind.AFFIRMATION: _compile(
        r"\b(?:that|this|it|which|everything|all|answer)(?:'s| is| all)? (?:indeed |also )?"
        r"(?:seems? |looks? |sounds? )?"
        r"(?:pretty |quite |about |to be )*"
        r"(?:right|correct|good|solid|straightforward|consistent|fine|reasonable|clear|plausible|simple)\b",
        r"(?<!n't )(?<!not )\bmakes? (?:perfect )?sense\b",
        r"\b(?:checks? out|adds up|match(?:es)?(?: up)?|confirms?)\b",
        r"^(?:correct|right|exactly|perfect|great|good|got (?:it|that)|yes|yep|yeah)\b",
        r"\bsame (?:result|answer|thing)\b",
        r"\bI(?:'m| am| feel)(?: pretty| fairly| quite)? (?:confident|sure|certain)\b",
        r"\bI (?:think|believe|guess) (?:that's|that is|this is|I'm|I've|I did|everything)\b",
        r"\bI (?:don't|do not|can't|cannot) (?:see|think|find) (?:any|I|there)\b",
    ),
    Kind.PLAN: _compile(
        r"^(?:(?:first|next|then|finally|now|lastly|after that|second|third|similarly|also|so|to start),?\s+)?"
        r"(?:to (?:find|calculate|determine|get|figure|compute|solve|do|obtain|simplify|convert|start|begin|add|know)\b"
        r".{0,160}?,\s*)?"
        r"(?:I|we|let me|let's|let us)(?:'ll| will| can| should| need to| have to| must| want to| could| just)*\s+"
        r"(?:just |then |now |simply |also |first |start by |begin by |try to |move on to )*"
        r"(?:find|figur|calculat|comput|determin|add|subtract|multiply|divide|set|solv|write|identif|convert|combin|do\b|"
        r"use|start|sum|count|work|look|consider|need|rewrit|express|simplif|break|list|tackle|apply|substitut|take|plug|"
        r"expand|isolat|evaluat|move|see how|proceed)",
    ),
}
"""The phrases that give a kind away, in the order in which `name_kind` looks for them."""
_WITHOUT_RESULT = {Kind.HEDGE, Kind.AFFIRMATION, Kind.PLAN}
"""Kinds that a clause with a result never has."""

_INTERJECTIONS = re.compile(
    r"(?:(?:hm+|uh+|um+|okay|ok|alright|all right|wait|oh|ah|aha|yeah|yep|yes|so(?! that)|but|and|also|"
    r"hold on|a (?:second|minute|moment)|hang on|actually|"
    r"(?:well|right|sorry|look|again|let me (?:see|think)|let's see)(?=[.,!:;]|$))\b['’]?(?!['’-])[,.!:;?\s…—–]*+)++",
    re.IGNORECASE,
)
_OPERATION = _compile(
    r"[×÷*·]|\d x \S?\d|\\(?:times|cdot|div|frac|sqrt|binom|sum|int|pmod)",
    r"[\d\w)}]\s*[+−/=<>≤≥^-]\s*[\d\w({\\$-]",
    r"\b(?:times|multipl\w+|plus|minus|divid\w+|subtract\w*|add(?:s|ed|ing)?|sum|difference|product|total|half of|"
    r"percent of|squared|cubed|equals?|combin\w+|doubl\w+)\b",
)
_RELATION = re.compile(r"=|\\(?:le|ge|ne|equiv|implies|approx)|[<>≤≥≈]")
ORDINAL = re.compile(r"(?:first|second|next|then|finally|now|lastly|after that)\b,?\s+", re.IGNORECASE)
"""What opens a step of a plan."""
_STATES = re.compile(
    r"(?:[=≈→]|\\approx|\\implies|\b(?:equals?|equal to|is|are|was|were|be|gives?|giving|gets?|makes?|leaves?|leaving|"
    r"results? in|resulting in|totals?|totaling|total of|becomes?|comes to|means|needs|contributes|yields?)\b)"
    r"[^\d=+*×/]*$",
    re.IGNORECASE,
)
"""What comes before a number that is stated as a result."""
_OPERATES = re.compile(
    r"[^\d=,+]{0,24}?(?:\\times|\\cdot|\\div|[×*+÷·]|(?<=\s)[-−/](?=\s)|(?<=\s)x(?=\s\S?\d)|"
    r"\b(?:times (?=\S{0,3}\d|the\b|as\b|that\b)|(?:multiplied|plus|minus|divided|more than|less than)\b))"
)
"""What comes after a number that is an operand."""
_VARIABLE = re.compile(
    r"(?<![A-Za-z_'’])[b-hj-zB-HJ-Z](?![A-Za-z'’])|\b[A-Z]\s*=|\\(?:theta|alpha|beta|pi|sqrt|sin|cos|tan|log|vec|angle)|"
    r"[θαβπ√∠]"
)
_TIMES = re.compile(r"(?<=[\d)]) ?x ?(?=[$(]?\d)|\\times|\\cdot|×")
"""A multiplication sign, among them the letter x."""
_WORD = re.compile(r"[A-Za-z]{2,}")
_COMMON = """
the an is are was were be been of to in on at by for and or so that this it its as with from if then but not he she they
his her their we you my me our how many much what which who when does do did has have had will would can could there
each all now just also let need find total number amount problem question answer given since because
"""
_STOP_WORDS = frozenset(_COMMON.split())
_REACH = 48
"""Characters on either side of a number that are read to tell a result from an operand."""
_READABLE = 3000
"""Characters of a clause that are read; a sentence is never longer, but a degenerate trace may be."""
_CHECK_REACH = 6
"""Clauses before a check in which the computation that it checks is looked for."""


@dataclass(frozen=True)
class Reading:
    """One clause with what was read in it."""

    text: str
    step: int
    """Index of the step that it belongs to."""
    paragraph: int
    """Number of its paragraph in the thinking, from 0."""
    kind: Kind
    quantities: frozenset[Value]
    """Every number, in digits or words."""
    results: frozenset[Value]
    """The numbers that it states as results; see `find_results`."""
    words: frozenset[str] = field(repr=False)
    """Content words; see `find_words`."""

    @property
    def is_computed(self) -> bool:
        """Whether it states a result that it works out."""
        works = {Kind.COMPUTATION, Kind.CONCLUSION, Kind.ALTERNATIVE, Kind.VERIFICATION}
        return bool(self.results) and self.kind in works

    @property
    def is_open(self) -> bool:
        """Whether the next clause continues its sentence, or is what it introduces."""
        return self.text.rstrip().endswith((",", ";", ":"))

    @cached_property
    def is_symbolic(self) -> bool:
        """Whether it has variables or higher notation, whose results are not only numbers."""
        return _VARIABLE.search(_TIMES.sub("*", self.text)) is not None

    @cached_property
    def wording(self) -> str:
        """Words, numbers and signs in one spelling, without punctuation, for finding repetitions."""
        return " ".join(re.findall(r"\w+|[-+*/=<>^]", _TIMES.sub("*", self.text.lower())))


def read_steps(steps: Sequence[Step]) -> list[Reading]:
    """The clauses of all steps, in order."""
    readings: list[Reading] = []
    paragraph = 0
    for index, step in enumerate(steps):
        clauses = split_clauses(step.text)
        readings.extend(read_clause(clause.text, index, paragraph + clause.paragraph) for clause in clauses)
        ends_paragraph = step.text[len(step.text.rstrip()) :].count("\n") > 1
        paragraph += (clauses[-1].paragraph if clauses else 0) + ends_paragraph
    return [
        replace(reading, kind=Kind.VERIFICATION) if is_check(readings, index) else reading
        for index, reading in enumerate(readings)
    ]


def read_clause(text: str, step: int = 0, paragraph: int = 0) -> Reading:
    """One clause by itself."""
    head = text if len(text) <= _READABLE else text[: _READABLE // 2] + text[-_READABLE // 2 :]
    quantities = frozenset(find_quantities(head))
    return Reading(text, step, paragraph, name_kind(head), quantities, find_results(head), find_words(head))


def is_check(readings: Sequence[Reading], index: int) -> bool:
    """Whether a computation repeats or inverts one of its paragraph, next to words that say so: "7 * 5 = 35, right"."""
    reading, before, after = readings[index], readings[max(0, index - 1)], readings[min(index + 1, len(readings) - 1)]
    if reading.kind is not Kind.COMPUTATION or not reading.results:
        return False
    approved = after.kind is Kind.AFFIRMATION and after.paragraph == reading.paragraph
    if before.kind is not Kind.VERIFICATION and not approved and not CUES[Kind.AFFIRMATION].search(reading.text):
        return False
    earlier = readings[max(0, index - _CHECK_REACH) : index]
    own = (each for each in earlier if each.is_computed and each.paragraph == reading.paragraph)
    return any(reading.quantities <= each.quantities for each in own)


def name_kind(text: str) -> Kind:
    """The kind of one clause, by its cues, else by whether it computes or has numbers."""
    whole = text.strip().lstrip("-*# ")
    core = strip_interjections(whole)
    if not core:
        return Kind.HEDGE
    relates = _RELATION.search(core) is not None
    states = relates or bool(find_results(core))
    for kind, cue in CUES.items():
        if (kind is Kind.GOAL and relates) or (kind in _WITHOUT_RESULT and states):
            continue
        if cue.search(whole if kind is Kind.RETRACTION else core):
            return Kind.PLAN if kind is Kind.GOAL and ORDINAL.match(whole) else kind
    if core.rstrip(" \n*").endswith("?") and not relates:
        return Kind.HEDGE
    if _OPERATION.search(core) and carries_maths(core):
        return Kind.COMPUTATION
    return Kind.GIVEN if find_quantities(core) else Kind.STATEMENT


def strip_interjections(text: str) -> str:
    """The clause from its first word that says something: "Hmm, okay, so x = 2" -> "x = 2"."""
    match = _INTERJECTIONS.match(text)
    return text[match.end() :] if match else text


def find_results(text: str) -> frozenset[Value]:
    """The numbers stated as an outcome ("= 40", "gives 40", "is 40"), not as an operand of what follows."""
    return frozenset(
        number.value
        for number in locate_numbers(text)
        if _STATES.search(text[max(0, number.start - _REACH) : number.start])
        and not _OPERATES.match(text[number.end : number.end + _REACH])
    )


def find_words(text: str) -> frozenset[str]:
    """Content words of a text, lower case, without the plural's s."""
    words = (word.lower() for word in _WORD.findall(text))
    return frozenset(word.removesuffix("s") for word in words if word not in _STOP_WORDS)
