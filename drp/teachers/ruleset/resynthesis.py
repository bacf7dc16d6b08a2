"""Edits of the steps and the shorter thinking that comes of them (paper, section 3.2: revise, then resynthesise).

Clauses are shortened, a plan is fused with the computation that carries it out, and what remains is joined as sentences
in the paragraphs of the source.
"""

import re
from collections.abc import Sequence

from drp.records import Action, Edit, Step
from drp.teachers.ruleset.fusion import Piece, carry_ordinal, find_dropped_ordinal, fuse, join_outcome
from drp.teachers.ruleset.reading import Reading
from drp.teachers.ruleset.selection import Selection
from drp.teachers.ruleset.shortening import compress, end_sentence, find_opening, shorten

_SENTENCE_END = re.compile(r"[.?!:][\"'”’)\]*]*$|\\\]$|\$\$$|\*\*$")


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
        text = carry_ordinal(text, find_dropped_ordinal(readings, index, selection.kept)) if not lead else text
        if text.endswith((",", ";", ":")) and index + 1 not in selection.kept:
            text = end_sentence(text[:-1])
        piece = Piece((index,), (reading.step,), reading.paragraph, fresh, text)
        fused = fuse(pieces[-1], piece, readings, selection) if pieces else None
        if fused is None and pieces and index != selection.conclusion:
            fused = join_outcome(pieces[-1], piece, readings)
        if fused is not None:
            pieces[-1] = fused
        else:
            pieces.append(piece)
    return pieces


def _trailing_space(text: str) -> str:
    return text[len(text.rstrip()) :]


def _is_open(piece: Piece, index: int) -> bool:
    """Whether a sentence goes on from a piece to the clause right after it."""
    return piece.sources[-1] == index - 1 and _SENTENCE_END.search(piece.text) is None


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
