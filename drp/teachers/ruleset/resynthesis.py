"""Edits of the steps and the shorter thinking that comes of them (paper, section 3.2: revise, then resynthesise).

Clauses are shortened, a plan is fused with the computation that carries it out, and what remains is joined as sentences
in the paragraphs of the source.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drp.records import Action, Edit, Step
from drp.teachers.ruleset.kinds import Kind
from drp.teachers.ruleset.reading import Reading
from drp.teachers.ruleset.selection import Selection
from drp.teachers.ruleset.shortening import compress, end_sentence, find_opening, lower_first, raise_first, shorten

_ORDINAL = re.compile(r"(?:first|next|then|finally|now|lastly|after that|second|third)\b,?\s+", re.IGNORECASE)
_PURPOSE_FIRST = re.compile(
    r"to (?:find|determine|calculate|get|figure out|compute)\b[^,.:]{3,120}(?=,)", re.IGNORECASE
)
_PURPOSE_LAST = re.compile(
    r"\bto (?:find|determine|calculate|get|figure out|compute)\b[^,.:]{3,120}(?=[.:]?\s*$)", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.?!:][\"'”’)\]*]*$|\\\]$|\$\$$|\*\*$")
_POINTING = re.compile(r"\b(?:this|that|these|those)\b", re.IGNORECASE)
_INTENDS = re.compile(r"\bI(?:'ll| will| can| need| should)\b")
_WORKED = re.compile(r"=|\b(?:equals?|gives?|giving|is)\b")
_GERUND = re.compile(r"(?:adding|subtracting|multiplying|dividing|combining|calculating)\b", re.IGNORECASE)
_OUTCOME_NAMED = re.compile(
    r"(?:this|that|this calculation) (gives(?: me| us)?|results in|leaves(?: me| us)?) (?=\S)", re.IGNORECASE
)
_SO = re.compile(r"^So,? ")
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


def revise_clauses(readings: Sequence[Reading], selection: Selection) -> list[Piece]:
    """The kept clauses, shortened, fused and made sentences."""
    pieces: list[Piece] = []
    for index in sorted(selection.kept):
        reading = readings[index]
        lead = find_opening(readings[0].text) if not pieces else ""
        fresh = index > 0 and "\n" in _trailing_space(readings[index - 1].text)
        continues = bool(pieces) and not fresh and _is_open(pieces[-1], index)
        text = compress(reading.text.strip()) if continues else shorten(reading.text, lead=lead)
        if not text:
            continue
        text = _carry_ordinal(text, _find_dropped_ordinal(readings, index, selection.kept)) if not lead else text
        if text.endswith((",", ";", ":")) and index + 1 not in selection.kept:
            text = end_sentence(text[:-1])
        piece = Piece((index,), (reading.step,), reading.paragraph, fresh, text)
        fused = _fuse(pieces[-1], piece, readings, selection) if pieces else None
        if fused is None and pieces and index != selection.conclusion:
            fused = _join_outcome(pieces[-1], piece, readings)
        if fused is not None:
            pieces[-1] = fused
        else:
            pieces.append(piece)
    return pieces


def _find_dropped_ordinal(readings: Sequence[Reading], index: int, kept: frozenset[int]) -> str:
    """The "Next, " of clauses that went, where this is the first of its paragraph that stays."""
    ordinal = ""
    for earlier in range(index - 1, max(-1, index - 1 - _ORDINAL_REACH), -1):
        if earlier in kept or readings[earlier].paragraph != readings[index].paragraph:
            break
        found = _ORDINAL.match(readings[earlier].text)
        ordinal = found.group() if found and readings[earlier].kind not in _DISCOURSE else ordinal
    return ordinal.strip()


def _carry_ordinal(text: str, ordinal: str) -> str:
    """ "So 9 * 7 = 63." with "First," -> "First, 9 * 7 = 63." """
    if not ordinal or _ORDINAL.match(text):
        return text
    return f"{ordinal.strip()} {lower_first(_SO.sub('', text))}"


def _trailing_space(text: str) -> str:
    return text[len(text.rstrip()) :]


def _is_open(piece: Piece, index: int) -> bool:
    """Whether a sentence goes on from a piece to the clause right after it."""
    return piece.sources[-1] == index - 1 and _SENTENCE_END.search(piece.text) is None


def _fuse(plan: Piece, piece: Piece, readings: Sequence[Reading], selection: Selection) -> Piece | None:
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
    if (
        not close
        or not announced.quantities <= done.quantities
        or plan.text.endswith(":")
    ):
        return None
    ordinal = _ORDINAL.match(plan.text)
    concluded = piece.text if _CONCLUDES.match(piece.text) else _carry_ordinal(piece.text, ordinal.group() if ordinal else "")
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
    if not (planned or found) or _POINTING.match(core):
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


def _join_outcome(before: Piece, piece: Piece, readings: Sequence[Reading]) -> Piece | None:
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


def write_edits(steps: Sequence[Step], pieces: Sequence[Piece]) -> list[Edit]:
    """One edit for every step, or for neighbours of which a sentence was fused."""
    groups = _group_steps(len(steps), pieces)
    return [_write_edit(group, steps, held) for group, held in groups]


def _group_steps(n_steps: int, pieces: Sequence[Piece]) -> list[tuple[list[int], list[Piece]]]:
    groups: list[tuple[list[int], list[Piece]]] = []
    waiting = list(pieces)[::-1]
    index = 0
    while index < n_steps:
        group, held = [index], []
        while waiting and waiting[-1].steps[0] <= group[-1]:
            piece = waiting.pop()
            held.append(piece)
            group.extend(range(group[-1] + 1, piece.steps[-1] + 1))
        groups.append((group, held))
        index = group[-1] + 1
    return groups


def _write_edit(group: list[int], steps: Sequence[Step], pieces: Sequence[Piece]) -> Edit:
    if not pieces:
        return Edit(action=Action.DELETE, sources=group, text="")
    text = join_pieces(pieces)
    if len(group) > 1:
        return Edit(action=Action.MERGE, sources=group, text=text)
    source = steps[group[0]].text
    if text.split() == source.split():
        return Edit(action=Action.KEEP, sources=group, text=source)
    return Edit(action=Action.REWRITE, sources=group, text=text)


def join_pieces(pieces: Sequence[Piece]) -> str:
    """The pieces as running text, in the paragraphs of the source."""
    parts: list[str] = []
    for before, piece in zip([None, *pieces], pieces, strict=False):
        if before is not None:
            parts.append(_choose_gap(before, piece))
        parts.append(piece.text)
    return "".join(parts)


def _choose_gap(before: Piece, piece: Piece) -> str:
    if before.paragraph != piece.paragraph and not before.text.endswith((",", ";")):
        return "\n\n"
    return "\n" if piece.fresh_line else " "
