"""The paper's reply format (Appendix C): every step copied out, and the pruned reasoning written out in full.

Decomposition:                          Pruning:

    Step 1: Joy reads 8 pages.              Step 1: KEEP
    Skill: Interpreting a quantity          Steps 2-3: MULTI-STEP COMPRESS
    Step 2: Divide 8 by 20.                 === PRUNED THINKING ===
    Skill: Division                         Joy reads 8 pages. So 8 / 20 = 0.4 a minute.
                                            === PRUNED ANSWER ===
                                            UNCHANGED

The list of actions may hold the new texts too. Where it does not, the new text of a step is the part of the pruned
reasoning that has most of its words.
"""

import re

from drp.records import Action, Edit, Step
from drp.teachers.clauses import split_sentences
from drp.teachers.llm.alignment import CopiedStep, align, attribute
from drp.teachers.llm.division import bound_tokens
from drp.teachers.llm.reply import (
    MAX_SKILL,
    BadReply,
    PartRevision,
    ReplyFormat,
    TracePart,
    find_actions,
    is_unchanged,
    make_edits,
    strip_fence,
)

_HEADING = re.compile(r"^[ \t>#-]*(?:\*\*(Step\s+(\d+))\s*[:.]?\s*\*\*[ \t]*[:.]?|(Step\s+(\d+))\s*[:.])[ \t]*(.*)$")
_SKILL = re.compile(r"^(.*?)[\s*_(]*\bSkills?(?:\s+\d+)?[*_]*:[\s*_]*(\S.*?)[\s*_)]*$")
_SECTION = re.compile(r"^[^\w\n]*PRUNED (THINKING|ANSWER)[^\w\n]*$", re.MULTILINE)
_MAX_STEPS_RATE = 1.6
"""Tokens of a decomposition for each token of reasoning at most: "Step n:" and "Skill: ..." come every twenty words."""


class TextFormat(ReplyFormat):
    """Steps are copied out and then found again in the source."""

    name = "text"
    # As measured on real traces, with a step for each sentence.
    steps_rates = (1.25, 1.65)
    edits_rates = (1.23, 6)
    # If the list holds the new texts, they are written twice; a kept text once.
    max_edits_rates = (1.5, 12)

    def show_thinking(self, text: str) -> dict[str, str]:
        return {"thinking": text.strip()}

    def read_steps(self, reply: str, text: str, with_skills: bool) -> list[Step]:
        lines = strip_fence(reply).splitlines()
        labelled = _find_skilled_steps(lines) if with_skills else [(step, None) for step in _find_steps(lines)]
        if not labelled:
            form = "'Step 1: ...', each followed by a line 'Skill: ...'" if with_skills else "'Step 1: ...'"
            raise BadReply(f"no steps of the form {form}")
        spans = align(text, [copied for copied, _ in labelled])
        return [
            Step(text=text[start:end], skill=skill, start=start, end=end)
            for (start, end), (_, skill) in zip(spans, labelled, strict=True)
        ]

    def bound_steps(self, text: str) -> int:
        return int(_MAX_STEPS_RATE * bound_tokens(text)) + 1

    def show_steps(self, part: TracePart) -> str:
        return "\n".join(
            f"Step {number}: {step.text.strip()}" + (f"\nSkill: {step.skill}" if step.skill else "")
            for number, step in zip(part.numbers, part.steps, strict=True)
        )

    def read_revision(self, reply: str, part: TracePart) -> PartRevision:
        listed, sections = _split_sections(strip_fence(reply), part.is_last)
        actions, _ = find_actions(listed)
        summary = sections.get("ANSWER", "")
        if not sections["THINKING"] and any(line.action is not Action.DELETE for line in actions):
            raise BadReply("nothing stands under '=== PRUNED THINKING ==='")
        if part.is_last and not summary:
            raise BadReply(
                "nothing stands under '=== PRUNED ANSWER ==='; write UNCHANGED or the revised answer segment"
            )
        unchanged = not part.is_last or is_unchanged(summary)
        edits = _fill_in(make_edits(actions, part), part, sections["THINKING"])
        return PartRevision(edits, sections["THINKING"] + "\n\n", None if unchanged else summary)


def _fill_in(edits: list[Edit], part: TracePart, thinking: str) -> list[Edit]:
    """The edits, with the new texts that the list of actions leaves out taken from the pruned reasoning."""
    written = [edit for edit in edits if edit.action is not Action.DELETE]
    if all(edit.text for edit in written) or any(n + 1 not in part.numbers for edit in edits for n in edit.sources):
        return edits
    originals = ["".join(part.steps[n - part.first].text for n in edit.sources) for edit in written]
    texts = iter(attribute(originals, [sentence.text for sentence in split_sentences(thinking)]))
    found = [next(texts) if edit.action is not Action.DELETE else "" for edit in edits]
    return [
        edit if edit.text else edit.model_copy(update={"text": text}) for edit, text in zip(edits, found, strict=True)
    ]


def _find_skilled_steps(lines: list[str]) -> list[tuple[CopiedStep, str | None]]:
    """Steps with their skills. A heading counts only at the beginning and after a skill, as the reasoning may have step
    headings of its own."""
    found: list[tuple[CopiedStep, str | None]] = []
    label, words = "", [""]
    for line in lines:
        heading = None if label else _HEADING.match(line)
        if heading:
            label, words, line = _read_label(heading), [], heading[5]
        skill = _SKILL.match(line) if label and "Skill" in line else None
        words.append(skill[1] if skill else line)
        if skill:
            if len(skill[2]) > MAX_SKILL:
                name = f"'{skill[2][:MAX_SKILL]}…'"
                raise BadReply(f"the skill of step {len(found) + 1} is not a short name: {name}")
            found.append((CopiedStep(label, "\n".join(words)), skill[2]))
            label = ""
    if label:
        raise BadReply(f"step {len(found) + 1} has no line 'Skill: ...'")
    return found


def _find_steps(lines: list[str]) -> list[CopiedStep]:
    """Steps without skills. A heading counts if its number is the next one."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        heading = _HEADING.match(line)
        if heading and int(heading[2] or heading[4]) == len(found) + 1:
            found.append((_read_label(heading), [heading[5]]))
        elif found:
            found[-1][1].append(line)
    return [CopiedStep(label, "\n".join(words)) for label, words in found]


def _read_label(heading: re.Match[str]) -> str:
    return f"{heading[1] or heading[3]}:"


def _split_sections(reply: str, is_last: bool) -> tuple[str, dict[str, str]]:
    """The list of actions, and the text under each marker. Raises BadReply if the markers are not the wanted ones."""
    markers = list(_SECTION.finditer(reply))
    names = [marker[1] for marker in markers]
    wanted = ["THINKING", "ANSWER"] if is_last else ["THINKING"]
    if names != wanted and (is_last or names != ["THINKING", "ANSWER"]):
        lines = " and ".join(f"'=== PRUNED {name} ==='" for name in wanted)
        raise BadReply(f"the reply needs exactly once, after the list of actions, the line {lines}")
    ends = [*(marker.start() for marker in markers[1:]), len(reply)]
    texts = [reply[marker.end() : end].strip() for marker, end in zip(markers, ends, strict=True)]
    return reply[: markers[0].start()], dict(zip(names, texts, strict=True))
