"""The paper's reply format (Appendix C): every step copied out, and the pruned reasoning written out in full.

Decomposition:                          Pruning:

    Step 1: Joy reads 8 pages.              Step 1: KEEP
    Skill: Interpreting a quantity          Steps 2-3: MULTI-STEP COMPRESS: So 8 / 20 = 0.4 a minute.
    Step 2: Divide 8 by 20.                 === PRUNED THINKING ===
    Skill: Division                         Joy reads 8 pages. So 8 / 20 = 0.4 a minute.
                                            === PRUNED ANSWER ===
                                            UNCHANGED
"""

import re

from drp.records import Action, Step
from drp.teachers.checks import check_steps
from drp.teachers.llm.alignment import Piece, align
from drp.teachers.llm.division import estimate_tokens, foresee_tokens
from drp.teachers.llm.reply import BadReply, Draft, Part, find_entries, make_edits, strip_fence

_HEADING = re.compile(r"^[ \t>#-]*(?:\*\*(Step\s+(\d+))\s*[:.]?\s*\*\*[ \t]*[:.]?|(Step\s+(\d+))\s*[:.])[ \t]*(.*)$")
_SKILL = re.compile(r"^(.*?)[\s*_(]*\bSkills?(?:\s+\d+)?[*_]*:[\s*_]*(\S.*?)[\s*_)]*$")
_SECTION = re.compile(r"^[^\w\n]*PRUNED (THINKING|ANSWER)[^\w\n]*$", re.MULTILINE)
_UNCHANGED = re.compile(r"\W*UNCHANGED\b")
_MAX_SKILL = 80
_COST_OF_LABELS = 1.6
"""Output tokens a token of reasoning: "Step n:" and "Skill: ..." come with every twenty words or so."""
_COST_OF_PRUNING = 1.5
"""Output tokens a token of a step: new texts stand in the list and again in the coherent reasoning, kept ones once."""
_COST_OF_LINE = 12
_COPY_WITH_SKILLS, _COPY = 1.65, 1.25
"""Mean output tokens a token of reasoning; this and the next two as measured on real traces, a step a sentence."""
_MEAN_REVISION, _MEAN_LINE = 1.23, 6
"""Mean output tokens of a revision: a token of the steps, and a step."""


class TextFormat:
    """See the module."""

    name = "text"

    def measure_thinking(self, text: str) -> int:
        return int(_COST_OF_LABELS * estimate_tokens(text)) + 1

    def foresee_steps(self, text: str, with_skills: bool) -> int:
        return round((_COPY_WITH_SKILLS if with_skills else _COPY) * foresee_tokens(text))

    def show_thinking(self, text: str) -> dict[str, str]:
        return {"thinking": text.strip()}

    def read_steps(self, reply: str, text: str, with_skills: bool) -> list[Step]:
        lines = strip_fence(reply).splitlines()
        labelled = _find_skilled_pieces(lines) if with_skills else [(piece, None) for piece in _find_pieces(lines)]
        if not labelled:
            form = "'Step 1: ...', each followed by a line 'Skill: ...'" if with_skills else "'Step 1: ...'"
            raise BadReply(f"no steps of the form {form}")
        spans = align(text, [piece for piece, _ in labelled])
        steps = [
            Step(text=text[start:end], skill=skill, start=start, end=end)
            for (start, end), (_, skill) in zip(spans, labelled, strict=True)
        ]
        problems = check_steps(text, steps)
        if problems:
            raise BadReply(*problems)
        return steps

    def measure_step(self, step: Step) -> int:
        return int(_COST_OF_PRUNING * estimate_tokens(step.text)) + _COST_OF_LINE

    def foresee_revision(self, part: Part) -> int:
        kept = sum(foresee_tokens(step.text) for step in part.steps)
        return round(_MEAN_REVISION * kept + _MEAN_LINE * len(part.steps))

    def show_steps(self, part: Part) -> str:
        return "\n".join(
            f"Step {number}: {step.text.strip()}" + (f"\nSkill: {step.skill}" if step.skill else "")
            for number, step in zip(part.numbers, part.steps, strict=True)
        )

    def read_revision(self, reply: str, part: Part) -> Draft:
        listed, sections = _split_sections(strip_fence(reply), part.is_last)
        entries, _ = find_entries(listed)
        summary = sections.get("ANSWER", "")
        if not sections["THINKING"] and any(entry.action is not Action.DELETE for entry in entries):
            raise BadReply("nothing stands under '=== PRUNED THINKING ==='")
        if part.is_last and not summary:
            raise BadReply(
                "nothing stands under '=== PRUNED ANSWER ==='; write UNCHANGED or the revised answer segment"
            )
        unchanged = not part.is_last or _UNCHANGED.match(summary)
        return Draft(make_edits(entries, part), sections["THINKING"] + "\n\n", None if unchanged else summary)


def _find_skilled_pieces(lines: list[str]) -> list[tuple[Piece, str | None]]:
    """A heading counts only at the beginning and after a skill: the reasoning may have steps of its own."""
    found: list[tuple[Piece, str | None]] = []
    label, words = "", [""]
    for line in lines:
        heading = None if label else _HEADING.match(line)
        if heading:
            label, words, line = _read_label(heading), [], heading[5]
        skill = _SKILL.match(line) if label and "Skill" in line else None
        words.append(skill[1] if skill else line)
        if skill:
            found.append((Piece(label, "\n".join(words)), _read_skill(skill[2], len(found) + 1)))
            label = ""
    if label:
        raise BadReply(f"step {len(found) + 1} has no line 'Skill: ...'")
    return found


def _find_pieces(lines: list[str]) -> list[Piece]:
    """Without skills a heading counts where its number is the next one."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        heading = _HEADING.match(line)
        if heading and int(heading[2] or heading[4]) == len(found) + 1:
            found.append((_read_label(heading), [heading[5]]))
        elif found:
            found[-1][1].append(line)
    return [Piece(label, "\n".join(words)) for label, words in found]


def _read_label(heading: re.Match[str]) -> str:
    return f"{heading[1] or heading[3]}:"


def _read_skill(name: str, number: int) -> str:
    if len(name) > _MAX_SKILL:
        raise BadReply(f"the skill of step {number} is not a short name: '{name[:_MAX_SKILL]}…'")
    return name


def _split_sections(reply: str, is_last: bool) -> tuple[str, dict[str, str]]:
    """The list of actions, and the text under each marker."""
    markers = list(_SECTION.finditer(reply))
    names = [marker[1] for marker in markers]
    wanted = ["THINKING", "ANSWER"] if is_last else ["THINKING"]
    if names != wanted and (is_last or names != ["THINKING", "ANSWER"]):
        lines = " and ".join(f"'=== PRUNED {name} ==='" for name in wanted)
        raise BadReply(f"the reply needs exactly once, after the list of actions, the line {lines}")
    ends = [marker.start() for marker in markers[1:]] + [len(reply)]
    texts = [reply[marker.end() : end].strip() for marker, end in zip(markers, ends, strict=True)]
    return reply[: markers[0].start()], dict(zip(names, texts, strict=True))
