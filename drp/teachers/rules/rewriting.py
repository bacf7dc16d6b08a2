"""The clauses that stay, shortened and joined: one edit for each step, and the shorter thinking (paper, section 3.2).

    "Okay, 5 times 8 is 40. Next, I'll find what is left. 40 - 14 = 26."  ->  "5 times 8 is 40. Next, 40 - 14 = 26."

The words of an operation stay where they belong to its clause ("I subtract to get 40 - 14 = 26"): the student chose the
operation with them. It has not been shown that a student trained on them gains by it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drp.records import Action, Edit, Step
from drp.teachers.numbers import find_figures, find_quantities
from drp.teachers.rules.reading import ORDINAL, Kind, Reading, strip_interjections
from drp.teachers.rules.selection import ClauseSelection

_ORDER = r"(?:first|next|then|now|finally|lastly|after that)"
_WORK = r"(?:add|subtract|multiply|divide|calculate|determine|find|compute|figure out)"
_INTENT = r"I(?:'ll| will| can| need to| must| have to)"
_FIGURE = r"\$?\d(?:[\d,]*\d)?(?:\.\d+)?%?"
_UNIT = r"(?: (?!and|is|are|or|by|to|from|of|then|equals|which|gives|so|times|minus|plus|multiplied|divided)[a-z]+)"
_SIDE = rf"((?:^|(?<=[\s(])){_FIGURE}{_UNIT}{{0,4}})"
_EQUALS = (
    r"(?:which |this |that )?(?:equals|is equal to|gives|results in|resulting in|giving|equaling|which is|totaling|"
    r"which totals|yields)"
)
PHRASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), shorter)
    for pattern, shorter in (
        (rf"^(?:let me|let's|I'll|I need to) (?:just )?{_WORK} (?:that|this|it|them|those|these)[:.,]\s*", ""),
        (
            rf"\b(to (?:find|determine|calculate) [^,.:]{{3,100}}), (?:{_INTENT} |I )?{_WORK}\b[^.:=]{{0,120}}:(?=\s)",
            r"\1:",
        ),
        (r" by (?:adding|multiplying|subtracting|dividing|summing)\b[^.:=\d]{3,120}:(?=\s\$?\d)", ":"),
        (rf"(^{_ORDER},? ){_INTENT} (?={_WORK}\b)", r"\1"),
        (rf"(^|, |, so |^so |^therefore, )I(?:'ll| will| can) (?={_WORK}\b)", r"\1"),
        (rf"\b({_WORK}) the total (?:number|amount) of ", r"\1 the total "),
        (r"\bto find out (?=how)", "to find "),
        (rf"{_SIDE} multiplied by (?=\$?\d)", r"\1 × "),
        (rf"{_SIDE} divided by (?=\$?\d)", r"\1 ÷ "),
        (rf"{_SIDE} plus (?=\$?\d)", r"\1 + "),
        (rf"{_SIDE} minus (?=\$?\d)", r"\1 - "),
        (rf"([+*/×÷−-] {_FIGURE}{_UNIT}{{0,4}}),? {_EQUALS}(?: us| me)?(?: a total of)? (?=\$?\d)", r"\1 = "),
        (r"^(?:that means|this means|which means|meaning)(?: that)?,? ", "so "),
    )
)
"""Phrases with the shorter ones that say the same, applied in this order."""

_OPENING = re.compile(r"(okay|alright), so\b", re.IGNORECASE)
_SO = re.compile(r"\bso(,?)\s*$", re.IGNORECASE)
_PREMISE = re.compile(
    r"(?:since|because|given that|as) [^,]{3,200}(?:,[^,]{3,200}){0,2}?, (?!and\b|or\b|but\b)(?=[A-Za-z$\d])",
    re.IGNORECASE,
)
_LOWERABLE = re.compile(
    r"(?:The|This|That|There|These|It|In|If|He|She|They|We|You|Each|Since|For|To|At|After|An?|Both|My|His|Her|Their|On|"
    r"By|From|With|Using|Then|First|Adding|Multiplying|Dividing|Subtracting|Add|Subtract|Multiply|Divide)\b"
)
_SENTENCE_END = re.compile(r"[.?!:][\"'”’)\]*]*$|\\\]$|\$\$$|\*\*$")
_OUTCOME_LEAD = re.compile(r"^(?:So|Therefore),? |^(?:This|That) (?:gives|means|is)(?: me| us| that)?,? (?=[^=]*=)")
_DEPENDENT = re.compile(r"(?:this|that|these|those)\b|[-*•]", re.IGNORECASE)
"""What begins a clause that needs the sentence before it: a pronoun, or the mark of a list."""
_PLAN_REACH = 2
"""Clauses from a plan to what carries it out; those between went."""


@dataclass(frozen=True)
class Fragment:
    """One clause that stays, or two joined into one sentence, as it will be written."""

    clauses: tuple[int, ...]
    """Indexes of the clauses."""
    steps: tuple[int, ...]
    """Indexes of the steps that they belong to."""
    paragraph: int
    starts_line: bool
    """Whether it began a line in the source."""
    text: str


def rewrite_clauses(readings: Sequence[Reading], selection: ClauseSelection) -> list[Fragment]:
    """The clauses that stay, shortened, with plans joined to what carries them out."""
    fragments: list[Fragment] = []
    for index in sorted(selection.kept):
        reading, before = readings[index], readings[index - 1].text if index else ""
        starts_line = "\n" in before[len(before.rstrip()) :]
        last = fragments[-1] if fragments else None
        continues = last is not None and not starts_line and last.clauses[-1] == index - 1 and not _ends(last.text)
        text = shorten_phrases(reading.text.strip()) if continues else shorten(reading.text, opens=index == 0)
        if not text:
            continue
        if text.endswith((",", ";", ":")) and index + 1 not in selection.kept:
            text = text[:-1] + "."
        fragment = Fragment((index,), (reading.step,), reading.paragraph, starts_line, text)
        joined = join_plan(last, fragment, readings) if last else None
        if joined:
            fragments[-1] = joined
        else:
            fragments.append(fragment)
    return fragments


def _ends(text: str) -> bool:
    return _SENTENCE_END.search(text) is not None


def shorten(text: str, *, opens: bool = False) -> str:
    """A clause without interjections and empty phrases. opens: whether it keeps the "Okay, so" of the first clause."""
    body = text.strip()
    core = strip_interjections(body)
    lead = _OPENING.match(body) if opens else _SO.search(body[: len(body) - len(core)])
    core = shorten_phrases(drop_premise(core))
    core = re.sub(r"\?$", ".", core)
    if not re.search(r"\w", core):
        return ""
    if not lead:
        return raise_first(core)
    opening = lead[0] if opens else f"So{lead[1]}"
    return f"{opening} {lower_first(core)}"


def shorten_phrases(text: str) -> str:
    """A clause with each of `PHRASES` replaced."""
    for pattern, shorter in PHRASES:
        text = pattern.sub(shorter, text)
    return text


def drop_premise(core: str) -> str:
    """The clause without a leading "Since ..., " whose numbers the rest names again."""
    premise = _PREMISE.match(core)
    if premise is None:
        return core
    rest = core[premise.end() :]
    repeats = find_figures(premise[0]) and find_quantities(premise[0]) <= find_quantities(rest)
    return rest if repeats else core


def raise_first(text: str) -> str:
    """With a capital at the start of prose; formulas and variables stay as they are."""
    return text[0].upper() + text[1:] if re.match(r"[a-z]{2,}|a\s|i\b", text) else text


def lower_first(text: str) -> str:
    """With a small letter at the start, unless the first word may be a name."""
    return text[0].lower() + text[1:] if _LOWERABLE.match(text) else text


def join_plan(plan: Fragment, fragment: Fragment, readings: Sequence[Reading]) -> Fragment | None:
    """A plan and the computation that carries it out as one sentence; None if they are not such a pair."""
    announced, done = readings[plan.clauses[-1]], readings[fragment.clauses[0]]
    near = fragment.clauses[0] - plan.clauses[-1] <= _PLAN_REACH and fragment.paragraph - plan.paragraph <= 1
    works = (done.is_computed or done.kind is Kind.GIVEN) and announced.quantities <= done.quantities
    if announced.kind is not Kind.PLAN or not near or not works or len(plan.clauses) > 1 or plan.text.endswith(":"):
        return None
    ordinal, core = ORDINAL.match(plan.text), _OUTCOME_LEAD.sub("", fragment.text)
    another = ORDINAL.match(core) and fragment.paragraph != plan.paragraph
    if another or _DEPENDENT.match(core):
        return None
    text = f"{ordinal[0]}{lower_first(core)}" if ordinal and not ORDINAL.match(core) else raise_first(core)
    steps = tuple(range(plan.steps[0], fragment.steps[-1] + 1))
    return replace(plan, clauses=(*plan.clauses, *fragment.clauses), steps=steps, text=text)


def write_edits(steps: Sequence[Step], fragments: Sequence[Fragment]) -> list[Edit]:
    """One edit for each step, or one for the neighbouring steps from which a sentence was joined."""
    edits: list[Edit] = []
    waiting = list(reversed(fragments))
    index = 0
    while index < len(steps):
        sources, held = [index], []
        while waiting and waiting[-1].steps[0] <= sources[-1]:
            held.append(waiting.pop())
            sources.extend(range(sources[-1] + 1, held[-1].steps[-1] + 1))
        edits.append(_write_edit(sources, steps, held))
        index = sources[-1] + 1
    return edits


def _write_edit(sources: list[int], steps: Sequence[Step], fragments: Sequence[Fragment]) -> Edit:
    text, source = join_fragments(fragments), steps[sources[0]].text
    if not fragments:
        return Edit(action=Action.DELETE, sources=sources, text="")
    if len(sources) > 1:
        return Edit(action=Action.MERGE, sources=sources, text=text)
    if text.split() == source.split():
        return Edit(action=Action.KEEP, sources=sources, text=source)
    return Edit(action=Action.REWRITE, sources=sources, text=text)


def join_fragments(fragments: Sequence[Fragment]) -> str:
    """The fragments as running text, in the paragraphs and lines of the source."""
    text = ""
    for before, fragment in zip([None, *fragments], fragments, strict=False):
        if before is not None:
            apart = before.paragraph != fragment.paragraph and not before.text.endswith((",", ";"))
            text += "\n\n" if apart else "\n" if fragment.starts_line else " "
        text += fragment.text
    return text
