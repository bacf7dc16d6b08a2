"""Edits of the steps and the shorter thinking that comes of them (paper, section 3.2: revise, then resynthesise).

Clauses are shortened, a plan is fused with the computation that carries it out, and what remains is joined as sentences
in the paragraphs of the source.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drp.records import Action, Edit, Step
from drp.teachers.rules import reading as cues
from drp.teachers.rules.reading import Kind, Reading, find_numerals, find_quantities, strip_interjections
from drp.teachers.rules.selection import Selection

_ASIDE = re.compile(
    r"(?<=\w)\s\((?![^()]{0,120}(?:[\d=+*/\\$^!]| - ))(?=[^()]{0,60}[a-zA-Z]{3})[^()]{3,120}\)(?![!^*/(])"
)
_SELF_TALK = r"^(?:let me|let's|I'll|I will|I need to|I should) (?:just )?"
_WHAT = r"(?:that|this|it|them|those|these|the (?:addition|subtraction|multiplication|division|calculation|math))"
_NUMBER_WORK = (
    r"(?:calculat\w+|comput\w+|do|work out|see|check|solve|add|figure|multiply|subtract|divide|write|jot|note|verify)"
)
_UNIT = r"(?: (?!and|is|are|or|by|to|from|of|then|equals|which|gives|so|times|minus|plus|multiplied|divided)[a-z]+)"
_FIGURE = r"\$?\d(?:[\d,]*\d)?(?:\.\d+)?%?"
_SIDE = rf"((?:^|(?<=[\s(])){_FIGURE}{_UNIT}{{0,4}})"
_WORKED_SIDE = rf"((?:[+*/×÷−-]) {_FIGURE}{_UNIT}{{0,4}})"
_EQUALS = (
    r"(?:which |this |that )?(?:equals|is equal to|gives|results in|resulting in|giving|equaling|which is|totaling|"
    r"which totals|yields)"
)
_ORDER = r"(?:first|next|then|now|finally|lastly|after that)"
_WORK = r"(?:add|subtract|multiply|divide|calculate|determine|find|compute|figure out)\b"
_FIXES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), new)
    for pattern, new in (
        (
            r", (?:right|correct|okay|you know|I think|I believe|I guess|if I'm not mistaken|of course)(?=[?.,!]\s*$)",
            "",
        ),
        (r"\bis (?:indeed|actually|simply|just|basically|essentially) (?=\S)", "is "),
        (
            rf"{_SELF_TALK}{_NUMBER_WORK} {_WHAT}(?: (?:out|down|up|together|in my head|addition|division|"
            rf"multiplication|subtraction))*[:.,]\s*",
            "",
        ),
        (r", (?:which|and that) means (?:that )?", ", so "),
        (r"^(?:that means|this means|which means|meaning)(?: that)?,? ", "so "),
        (r"\bin order to ", "to "),
        (r", (?:which (?:results in|gives us|gives me)|resulting in|giving us|giving me) ", ", giving "),
        (r"([+*/×÷−-] \$?[\d.,]*\d(?: [a-z]{1,12}){0,2}), (?:which|that|this) (?:equals|gives|is) (?=\$?\d)", r"\1 = "),
        (r" step by step(?=[.,:])", ""),
        (r"\bthe fact that\b", "that"),
        (r"^(?:that is|that's|that would be|this would be),\s+", ""),
        (r"\bto find out (?=how)", "to find "),
        (
            r"\bto (find|determine|calculate) ([^,.:]{3,100}), I(?:'ll| will| can| need to| must| have to)? "
            r"(?:add|subtract|multiply|divide|sum|combine|take|use)\b[^.:=]{0,120}:(?=\s)",
            r"to \1 \2:",
        ),
        (
            r"\bI(?:'ll| will| can| need to| must| have to)? (?:add|subtract|multiply|divide|sum|combine|"
            r"take)\b[^.:=,]{0,120} to (find|determine|calculate|get) "
            r"([^.:,]{3,100}):(?=\s)",
            r"to \1 \2:",
        ),
        (r"\bI (?:add|subtract|multiply|divide)(?: (?:them|these|those|the numbers))? to get (?=\$?\d)", ""),
        (rf"{_SIDE} multiplied by (?=\$?\d)", r"\1 × "),
        (rf"{_SIDE} divided by (?=\$?\d)", r"\1 ÷ "),
        (rf"{_SIDE} plus (?=\$?\d)", r"\1 + "),
        (rf"{_SIDE} minus (?=\$?\d)", r"\1 - "),
        (rf"{_WORKED_SIDE},? {_EQUALS}(?: us| me)?(?: a total of)? (?=\$?\d)", r"\1 = "),
        (r"\bresult(?:s|ing) in a (?:total|result) of ", "giving "),
        (r"\bgives (?:me |us )?a (?:total|result) of ", "gives "),
        (r"\bis calculated as(?: follows)?:? (?=\$?\d)", "is "),
        (r"\b(?:is calculated|can be calculated|is found) by [^,.:=\d]{3,120}: (?=\$?\d)", "is "),
        (r"\bI can (?:calculate|find|determine) ([^,.:=]{3,80}) as (?=\$?\d)", r"\1 is "),
        (r"\b(?:I recognize|I note|I know|I see) that ", ""),
        (r"\bI (?:multiply|divide|add|subtract) [^,.:=\d]{3,100}: (?=\$?\d)", ""),
        (rf"^({_ORDER},? )I(?:'ll| will| can| need to| must| have to) (?={_WORK})", r"\1"),
        (rf"(^|, |, so |^so |^therefore, )I(?:'ll| will| can) (?={_WORK})", r"\1"),
        (r"((?:^|, |, so |^so |(?:first|next|then|finally),? ))I (?=(?:multiply|add|subtract|divide) )", r"\1"),
        (r"\bwhich is given as\b", "which is"),
        (r"^(?:additionally|furthermore|moreover),? ", ""),
        (rf"\b({_WORK}) the total (?:number|amount) of ", r"\1 the total "),
        (r"\bplus (?=\$?\d)", "+ "),
        (r"(?<=[a-z] )equals (?=\$?\d)", "= "),
        (r", = ", " = "),
        (r" by (?:adding|multiplying|subtracting|dividing|summing)\b[^.:=\d]{3,120}:(?=\s\$?\d)", ":"),
    )
)
_LEADS = re.compile(r"(?:first|next|then|finally|now|similarly|therefore|but)\b[,\s]*", re.IGNORECASE)
_OPENING = re.compile(r"(okay|alright), so\b", re.IGNORECASE)
_TRAILING_QUESTION = re.compile(r"\?\s*$")
_DANGLING = " \t\n,;–—-"
_ENDED = re.compile(r"[.?!:][\"'”’)*]*$|\\\]$|\$\$$|\*\*$|\}$|\|$")
_LIST_NUMBER = re.compile(r"^\d{1,2}[.)]\s+")
_SUBORDINATE = re.compile(r"(?:since|because|given that|as) (?=[^,]{3,200}, )", re.IGNORECASE)
_MAIN_CLAUSE = re.compile(r"(?!(?:and|or|but|which|who|so|then|while)\b)[A-Za-z$\d]")
_MANNER = re.compile(
    r"(?:adding|subtracting|multiplying|dividing|combining|summing|calculating)\b[^,.:=\d]{3,140}, ", re.IGNORECASE
)
_WRITTEN_OUT = re.compile(
    r"\d[^.,;]{0,40}[+*/×÷−x-][^.;]{0,60}(?:=|equals)|(?:times|plus|minus|multiplied|divided)\b[^.;]{0,60}\d"
)
_OUTCOME = re.compile(r"=|\b(?:equals?|is|are|gives?|giving|resulting|totaling)\b")
_LOWERABLE = re.compile(
    r"(?:The|This|That|There|These|Those|It|In|If|He|She|They|We|You|Each|Since|For|To|At|After|Before|When|"
    r"Adding|Multiplying|"
    r"Dividing|Subtracting|A|An|Both|Let|My|Our|His|Her|Their|On|By|From|With|Using|Substituting|Then|First|"
    r"Calculating|Half|"
    r"Subtract|Add|Multiply|Divide|Given|According|Of|As|Combining)\b"
)


def shorten(text: str, *, lead: str = "") -> str:
    """A clause without interjections, empty phrases and asides; its white space at both ends is off.

    lead: what it has to begin with, such as the "Okay, so " with which the student opens.
    """
    body = text.strip()
    core = strip_interjections(body)
    core = _drop_manner(core)
    core = _drop_premise(_LIST_NUMBER.sub("", cues.RECOLLECTION.sub("", core, count=1)))
    core = compress(core)
    core = _TRAILING_QUESTION.sub(".", _ASIDE.sub("", core).strip())
    if not re.search(r"\w", core):
        return ""
    if core.count('"') % 2:
        core = core.replace('"', "")
    return join_lead(lead or _keep_connective(body), core)


def compress(text: str) -> str:
    """A clause with its empty phrases replaced by the shorter ones that say the same."""
    for pattern, new in _FIXES:
        text = pattern.sub(new, text)
    return text


def _drop_manner(core: str) -> str:
    """Without a leading "Adding these, " that names no number, before a sum that is written out."""
    match = _MANNER.match(core)
    if match is None or not _WRITTEN_OUT.search(core[match.end() :]) or not _MAIN_CLAUSE.match(core[match.end() :]):
        return core
    return core[match.end() :]


def _drop_premise(core: str) -> str:
    """Without a leading "Since ..., " whose numbers the deduction names itself."""
    if _SUBORDINATE.match(core) is None:
        return core
    for comma in re.finditer(r", ", core[:400]):
        premise, deduction = core[: comma.start()], core[comma.end() :]
        if not _MAIN_CLAUSE.match(deduction):
            continue
        repeated = find_numerals(premise) and find_quantities(premise) <= find_quantities(deduction)
        return deduction if repeated and _OUTCOME.search(deduction) else core
    return core


def find_opening(text: str) -> str:
    """The student's opening words ("Okay, so "), or nothing."""
    match = _OPENING.match(text.strip())
    return match.group() + " " if match else ""


def join_lead(lead: str, core: str) -> str:
    """Put a connective before a clause, or capitalise the clause where there is none."""
    if not core:
        return ""
    return lead + lower_first(re.sub(r"^so,? ", "", core, flags=re.IGNORECASE)) if lead else raise_first(core)


def raise_first(text: str) -> str:
    """With a capital at the start of prose; formulas and variables stay as they are."""
    return text[0].upper() + text[1:] if re.match(r"[a-z]{2,}|a\s|i\b", text) else text


def lower_first(text: str) -> str:
    """With a small letter at the start of prose; names can't be told from words, so only common openers change."""
    return text[0].lower() + text[1:] if _LOWERABLE.match(text) else text


def end_sentence(text: str) -> str:
    """With a full stop where a clause was cut off from what followed; formulas and lists stay."""
    body = text.rstrip(_DANGLING)
    return body if not body or _ENDED.search(body) else body + "."


def _keep_connective(body: str) -> str:
    """A single connective that opened the clause, or the "so" among several, which ties a deduction to its ground."""
    core = strip_interjections(body)
    stripped = body[: len(body) - len(core)]
    if re.search(r"\bso\b", stripped, re.IGNORECASE):
        return "So, " if re.search(r"\bso,", stripped, re.IGNORECASE) else "So "
    if re.fullmatch(r"(?:then|now|but|and)\W*", stripped, re.IGNORECASE):
        return raise_first(stripped.rstrip(" ,")) + ", " if stripped.lower().startswith(("then", "now")) else ""
    return ""


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


# FOLDED DOC of teachers.ruleset.shortening:
# The same clause without its padding.
#
# "Hmm, okay, so I think that 5 times 8 is indeed 40, right?" -> "So 5 times 8 is 40."
#

# FOLDED DOC of teachers.ruleset.fusion:
# Two clauses as one sentence: a plan with what carries it out, a computation with the sentence that names its outcome.
#
# "Next, I'll find the cost. 4 * 5 = 20." -> "Next, to find the cost: 4 * 5 = 20."
#
