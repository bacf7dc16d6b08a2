"""Two clauses as one sentence: a plan with what carries it out, a computation with the sentence that names its outcome.

"Next, I'll find the cost. 4 * 5 = 20." -> "Next, to find the cost: 4 * 5 = 20."
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drp.teachers.ruleset.kinds import Kind
from drp.teachers.ruleset.reading import Reading
from drp.teachers.ruleset.selection import Selection
from drp.teachers.ruleset.shortening import lower_first, raise_first

_ORDINAL = re.compile(r"(?:first|next|then|finally|now|lastly|after that|second|third)\b,?\s+", re.IGNORECASE)
_PURPOSE_FIRST = re.compile(
    r"to (?:find|determine|calculate|get|figure out|compute)\b[^,.:]{3,120}(?=,)", re.IGNORECASE
)
_PURPOSE_LAST = re.compile(
    r"\bto (?:find|determine|calculate|get|figure out|compute)\b[^,.:]{3,120}(?=[.:]?\s*$)", re.IGNORECASE
)
_POINTING = re.compile(r"\b(?:this|that|these|those)\b", re.IGNORECASE)
_INTENDS = re.compile(r"\bI(?:'ll| will| can| need| should)\b")
_WORKED = re.compile(r"=|\b(?:equals?|gives?|giving|is)\b")
_GERUND = re.compile(r"(?:adding|subtracting|multiplying|dividing|combining|calculating)\b", re.IGNORECASE)
_OUTCOME_NAMED = re.compile(
    r"(?:this|that|this calculation) (gives(?: me| us)?|results in|leaves(?: me| us)?) (?=\S)", re.IGNORECASE
)
_SO = re.compile(r"^So,? ")
_PRONOUN = re.compile(r"(?:he|she|they|his|her|their|another)\b", re.IGNORECASE)
"""What needs the aim before it to say who is meant."""
_CONCLUDES = re.compile(r"(?:so|therefore|thus|hence)\b", re.IGNORECASE)
_HAS_SO = re.compile(r"\bso\b", re.IGNORECASE)
_OUTCOME_LEAD = re.compile(
    r"^(?:So,? |Therefore,? |(?:This|That) (?:gives|means|is)(?: me| us| that)?,? (?=[^=]*[+*/×÷−-] [^=]*=))"
)
_AIMING = frozenset(["first", "determine", "calculate", "identify"])
_NAMED_SHARE = 0.6
"""Share of an aim's words that the computation has to name to stand for it."""
_JOINED_LENGTH = 200
_DISCOURSE = {Kind.HEDGE, Kind.AFFIRMATION, Kind.VERIFICATION, Kind.RETRACTION, Kind.ALTERNATIVE}
_ORDINAL_REACH = 8
"""Clauses back in a paragraph in which a dropped ordinal is looked for."""
_FUSED_LENGTH = 260
_FUSED_DISTANCE = 4
"""Clauses from a plan to what carries it out; those between went."""


@dataclass(frozen=True)
class Piece:
    """One clause that stays, or two fused into one, as it will stand."""

    sources: tuple[int, ...]
    """Indexes of the clauses."""
    steps: tuple[int, ...]
    """Indexes of the steps that they stand in."""
    paragraph: int
    fresh_line: bool
    """Whether it began a line in the source."""
    text: str


def fuse(plan: Piece, piece: Piece, readings: Sequence[Reading], selection: Selection) -> Piece | None:
    """A plan and the computation that carries it out as one sentence; None where they are not such a pair."""
    announced, done = readings[plan.sources[-1]], readings[piece.sources[0]]
    fact = done.kind is Kind.GIVEN and not _POINTING.search(done.text)
    pointing = _POINTING.match(_OUTCOME_LEAD.sub("", piece.text))
    if pointing or (_INTENDS.search(done.text) and not _WORKED.search(piece.text) and not _names_aim(announced, done)):
        return None
    works = (done.kind is Kind.COMPUTATION and done.results) or (
        done.computed and piece.sources[0] == selection.conclusion
    )
    if len(plan.sources) > 1 or not (works or fact or _names_aim(announced, done)):
        return None
    if plan.sources[0] == selection.goal:
        return _fuse_goal(plan, piece, readings)
    intends = works and not announced.results and _INTENDS.search(announced.text) and "=" not in plan.text
    if announced.kind is not Kind.PLAN and not intends:
        return None
    close = piece.sources[0] - plan.sources[-1] <= _FUSED_DISTANCE and piece.paragraph - plan.paragraph <= 1
    if not close or not announced.quantities <= done.quantities or plan.text.endswith(":"):
        return None
    ordinal = _ORDINAL.match(plan.text)
    lead = ordinal.group() if ordinal and not _CONCLUDES.match(piece.text) else ""
    concluded = carry_ordinal(piece.text, lead)
    text = concluded if piece.sources[0] == selection.conclusion else _write_fused(plan.text, piece.text)
    if len(text) > min(_FUSED_LENGTH, len(plan.text) + len(piece.text)):
        return None
    return _unite(plan, piece, text)


def _fuse_goal(goal: Piece, piece: Piece, readings: Sequence[Reading]) -> Piece | None:
    """A first step's aim and the computation in its paragraph that names what it finds, as one sentence."""
    aim, done = readings[goal.sources[0]], readings[piece.sources[0]]
    first = re.match(r"First,? ", goal.text)
    if first is None or aim.paragraph != done.paragraph or not aim.quantities <= done.quantities:
        return None
    core = _SO.sub("", re.sub(r"^Therefore,? ", "", piece.text))
    named = len(aim.words & done.words - _AIMING) >= _NAMED_SHARE * len(aim.words - _AIMING)
    planned = _names_aim(aim, done)
    found = named and (done.kind is Kind.GIVEN or (done.computed and _WORKED.search(core)))
    if not (planned or found) or _POINTING.match(core) or _PRONOUN.match(core):
        return None
    return _unite(goal, piece, core if _ORDINAL.match(core) else f"First, {lower_first(core)}")


def _names_aim(aim: Reading, plan: Reading) -> bool:
    """Whether a plan says with its own "to find ..." what the announcement before it wanted to find."""
    purpose = _PURPOSE_LAST.search(plan.text.rstrip())
    if purpose is None or aim.paragraph != plan.paragraph or not aim.quantities <= plan.quantities:
        return False
    wanted = aim.words - _AIMING
    return len(wanted & plan.words) >= _NAMED_SHARE * len(wanted)


def _unite(before: Piece, piece: Piece, text: str) -> Piece:
    steps = tuple(range(before.steps[0], piece.steps[-1] + 1))
    return replace(before, sources=(*before.sources, *piece.sources), steps=steps, text=text)


def join_outcome(before: Piece, piece: Piece, readings: Sequence[Reading]) -> Piece | None:
    """A computation with the sentence that only names its outcome; None where they are not such a pair."""
    worked, named = readings[before.sources[-1]], readings[piece.sources[0]]
    adjacent = (
        piece.sources[0] - before.sources[-1] == 1 and before.paragraph == piece.paragraph and not piece.fresh_line
    )
    if not adjacent or len(before.sources) > 1 or not re.search(r"[\w%)]\.$", before.text):
        return None
    text = None
    if (outcome := _OUTCOME_NAMED.match(piece.text)) is not None:
        verb = "leaving" if outcome.group(1).startswith("leaves") else "giving"
        text = f"{before.text[:-1]}, {verb} {piece.text[outcome.end() :]}"
    elif named.quantities <= worked.quantities and worked.computed and not _HAS_SO.search(before.text):
        text = f"{before.text[:-1]}, so {_SO.sub('', piece.text)}" if _SO.match(piece.text) else None
    if text is None or len(text) > _JOINED_LENGTH:
        return None
    return _unite(before, piece, text)


def _write_fused(plan: str, computation: str) -> str:
    """ "Next, to find the cost, I multiply. 4 * 5 = 20." -> "Next, to find the cost, 4 * 5 = 20." """
    ordinal = _ORDINAL.match(plan)
    lead, rest = (ordinal.group(), plan[ordinal.end() :]) if ordinal else ("", plan)
    purpose = _PURPOSE_FIRST.match(rest) or _PURPOSE_LAST.search(rest)
    core = _OUTCOME_LEAD.sub("", computation)
    if _PURPOSE_FIRST.match(core) or _GERUND.match(core):
        purpose = None
    mark = ":" if re.match(r"[$\d\\(]", core) else ","
    words = f"{lower_first(purpose.group()) if lead else raise_first(purpose.group())}{mark} " if purpose else ""
    return f"{lead}{words}{lower_first(core) if lead or words else raise_first(core)}"


def find_dropped_ordinal(readings: Sequence[Reading], index: int, kept: frozenset[int]) -> str:
    """The "Next, " of clauses that went, where this is the first of its paragraph that stays."""
    ordinal = ""
    for earlier in range(index - 1, max(-1, index - 1 - _ORDINAL_REACH), -1):
        if earlier in kept or readings[earlier].paragraph != readings[index].paragraph:
            break
        found = _ORDINAL.match(readings[earlier].text)
        ordinal = found.group() if found and readings[earlier].kind not in _DISCOURSE else ordinal
    return ordinal.strip()


def carry_ordinal(text: str, ordinal: str) -> str:
    """ "So 9 * 7 = 63." with "First," -> "First, 9 * 7 = 63." """
    if not ordinal or _ORDINAL.match(text):
        return text
    return f"{ordinal.strip()} {lower_first(_SO.sub('', text))}"
