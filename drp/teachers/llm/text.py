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

from drp.config.sections import MIN_COVERAGE, Copy
from drp.records import Action, Edit, Step
from drp.teachers.checks import excerpt
from drp.teachers.clauses import split_sentences
from drp.teachers.llm.alignment import Alignment, CopiedStep, align, align_words, attribute
from drp.teachers.llm.division import bound_tokens
from drp.teachers.llm.reply import (
    MAX_SKILL,
    BadReply,
    PartRevision,
    PartSegmentation,
    ReplyFormat,
    TracePart,
    clean_reply,
    describe_reply,
    find_actions,
    is_unchanged,
    make_edits,
)

_STEP = r"(?:(?:Step|STEP|步骤)\s*\d+|第\s*\d+\s*步)"
_HEADING = re.compile(
    rf"^[ \t>#-]*(?:\*\*(?P<bold>{_STEP})\s*(?P<bold_skill>[(\[][^)\]\n]*[)\]])?\s*[:：.–—-]?\s*\*\*[ \t]*[:：.–—-]?"
    rf"|\**(?P<plain>{_STEP})\s*(?:(?P<plain_skill>[(\[][^)\]\n]*[)\]])\s*)?(?:[:：.)–—-]|$))[ \t]*(?P<text>.*)$"
)
_NUMBERED = re.compile(r"^[ \t>]*(?P<bold>\*\*)?(?P<plain>\d{1,4})\s*[.):：、](?(bold)\*\*)[ \t]*(?P<text>.*)$")
"""Headings of replies that have no "Step 1:"."""
_SKILL = re.compile(
    r"^(.*?)[\s*_(|\[–—-]*(?:\bSkills?(?:\s+(?:\d+|[Uu]sed|[Nn]ame))?|技能)[*_]*[:：][\s*_]*(\S.*?)[\s*_)\]|]*$"
)
_SECTION = re.compile(r"^[^\w\n]*PRUNED (THINKING|ANSWER)[^\w\n]*$", re.MULTILINE)
_FINAL = re.compile(
    r"^[ \t>#*_=-]*(?P<name>final (?:answer|output|result|reasoning|explanation|solution|response|version)"
    r"|(?:synthesi[sz]ed|coherent|revised|pruned|combined|compressed|rewritten)(?: (?:and )?\w+){0,3}|最终答案)"
    r"(?:[ \t]*\([^)\n]*\))?[*_ \t]*(?:[:：][*_ \t]*(?P<text>.*)|[*_= \t]*)$"
    r"|^[ \t]*##+[ \t]*(?P<heading>\S.*)$",
    re.IGNORECASE | re.MULTILINE,
)
"""How a reply in the form of the paper's examples, and of the paper's code (`##`), begins the coherent reasoning."""
_ANSWER_NAME = re.compile(r"answer|答案", re.IGNORECASE)
_TITLE_WORDS = 6
"""Words of a `##` heading up to which it is a title, and not the reasoning itself."""
_MIN_WRITTEN = 0.4
"""Length of the coherent reasoning, in that of the kept and new texts, below which it is only an answer."""
_MAX_STEPS_RATE = 1.6
"""Tokens of a decomposition for each token of reasoning at most: "Step n:" and "Skill: ..." come every twenty words."""


class TextFormat(ReplyFormat):
    """Steps are copied out and then found again in the source."""

    name = "text"
    # With skills, a strong language model's replies for 10 real traces had 1.33 tokens for each token of reasoning; a
    # step for each sentence would take 1.65. The shorter reasoning had 0.35, the list of actions 5.5 for each step.
    steps_rates = (1.2, 1.5)
    edits_rates = (0.4, 6)
    # Every text is kept.
    max_edits_rates = (1, 10)

    def __init__(self, copy: Copy = "aligned", min_coverage: float = MIN_COVERAGE) -> None:
        self._copy = copy
        self._min_coverage = min_coverage

    def show_thinking(self, text: str) -> dict[str, str]:
        return {"thinking": text.strip()}

    def read_steps(self, reply: str, text: str, with_skills: bool) -> PartSegmentation:
        reply = clean_reply(reply)
        lines = reply.splitlines()
        heading = _HEADING if any(map(_HEADING.match, lines)) else _NUMBERED
        labelled = _find_skilled_steps(lines, heading, text) if with_skills else _find_steps(lines, heading)
        if not labelled:
            form = "'Step 1: ...', each followed by a line 'Skill: ...'" if with_skills else "'Step 1: ...'"
            raise BadReply(f"no steps of the form {form}; {describe_reply(reply)}")
        found = self._align(text, [copied for copied, _ in labelled])
        steps = [
            Step(text=text[start:end], skill=skill, start=start, end=end)
            for (start, end), (_, skill) in zip(found.spans, labelled, strict=False)
        ]
        return PartSegmentation(steps, found.coverage)

    def _align(self, text: str, copied: list[CopiedStep]) -> Alignment:
        """Most replies are exact copies, which are found faster than others."""
        try:
            return Alignment(align(text, copied), 1.0)
        except BadReply:
            if self._copy == "exact":
                raise
        return align_words(text, copied, self._min_coverage)

    def bound_steps(self, text: str) -> int:
        return int(_MAX_STEPS_RATE * bound_tokens(text)) + 1

    def show_steps(self, part: TracePart) -> str:
        return "\n".join(
            f"Step {number}: {step.text.strip()}" + (f"\nSkill: {step.skill}" if step.skill else "")
            for number, step in zip(part.numbers, part.steps, strict=True)
        )

    def read_revision(self, reply: str, part: TracePart) -> PartRevision:
        reply = clean_reply(reply)
        first = part.numbers[0]
        sections = _split_sections(reply, part.is_last)
        if sections is None:
            return _read_final_answer(reply, part)
        listed, thinking, summary = sections
        actions, _ = find_actions(listed, first)
        if not thinking and any(line.action is not Action.DELETE for line in actions):
            raise BadReply("nothing stands under '=== PRUNED THINKING ==='")
        if part.is_last and not summary:
            raise BadReply(
                "nothing stands under '=== PRUNED ANSWER ==='; write UNCHANGED or the revised answer segment"
            )
        return _build_revision(make_edits(actions, part), part, thinking, summary)


def _build_revision(edits: list[Edit], part: TracePart, thinking: str, summary: str) -> PartRevision:
    unchanged = not part.is_last or not summary or is_unchanged(summary)
    return PartRevision(_fill_in(edits, part, thinking), thinking + "\n\n", None if unchanged else summary)


def _read_final_answer(reply: str, part: TracePart) -> PartRevision:
    """A reply in the form of the paper's examples: the list of actions, then the coherent reasoning.

        1. SINGLE-STEP COMPRESS: Joy reads 8 pages in 20 minutes, so she reads 0.4 pages per minute.
        2. DELETE: This step is now included in the previous step.
        Final Answer: Okay, let's calculate the time. Joy reads 8 pages in 20 minutes, which means ...

    The text under the first heading after the list is the reasoning. The answer segment is the text under a later
    heading that speaks of an answer; without one, the student's own stays. Raises BadReply if there is no such
    heading, or if what follows it is not the reasoning but only an answer.
    """
    wanted = ["THINKING", "ANSWER"] if part.is_last else ["THINKING"]
    lines = " and ".join(f"'=== PRUNED {name} ==='" for name in wanted)
    problem = f"the reply needs exactly once, after the list of actions, the line {lines}"
    try:
        _, end = find_actions(reply, part.numbers[0])
    except BadReply as error:
        raise BadReply(problem, *error.problems) from None
    headings = list(_FINAL.finditer(reply, end))
    if not headings or _SECTION.search(reply):
        raise BadReply(problem)
    actions, _ = find_actions(reply[: headings[0].start()], part.numbers[0])
    answer = next((each for each in headings[1:] if _ANSWER_NAME.search(each[0])), None)
    thinking = _read_below(headings[0], reply[headings[0].end() : answer.start() if answer else len(reply)])
    edits = make_edits(actions, part)
    written = sum(len(edit.text) for edit in edits if edit.action is not Action.DELETE)
    if len(thinking) < _MIN_WRITTEN * written:
        raise BadReply(
            f"{excerpt(headings[0][0])} is followed by an answer alone; write all kept and revised steps out as one "
            "coherent piece of reasoning there"
        )
    return _build_revision(edits, part, thinking, _read_below(answer, reply[answer.end() :]) if answer else "")


def _read_below(heading: re.Match[str], below: str) -> str:
    """The text of a section, which may begin on the line of its heading."""
    line = heading["text"] or ""
    if heading["heading"] and len(heading["heading"].split()) > _TITLE_WORDS:
        line = heading["heading"]
    return clean_reply(re.sub(r"\n\s*-{3,}\s*\Z", "", line + below).strip())


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


def _find_skilled_steps(lines: list[str], form: re.Pattern[str], source: str) -> list[tuple[CopiedStep, str | None]]:
    """Steps with their skills. A heading counts only at the beginning and after a skill, as the reasoning may have step
    headings of its own."""
    found: list[tuple[CopiedStep, str | None]] = []
    label, words, number = "", [""], 0
    for line in lines:
        heading = form.match(line)
        if heading and label:
            if _read_number(heading) == number + 1 and _read_label(heading) not in source:
                break
            heading = None
        if heading:
            label, words, line = _read_label(heading), [], heading["text"]
            number = _read_number(heading)
            named = heading.groupdict().get("bold_skill") or heading.groupdict().get("plain_skill")
            if named and "Skill" not in named:
                line = f"{line} Skill: {named[1:-1]}"
        skill = _SKILL.match(line) if label and ("Skill" in line or "技能" in line) else None
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


def _find_steps(lines: list[str], form: re.Pattern[str]) -> list[tuple[CopiedStep, str | None]]:
    """Steps without skills. A heading counts if its number is the next one."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        heading = form.match(line)
        if heading and _read_number(heading) == len(found) + 1:
            found.append((_read_label(heading), [heading["text"]]))
        elif found:
            found[-1][1].append(line)
    return [(CopiedStep(label, "\n".join(words)), None) for label, words in found]


def _read_label(heading: re.Match[str]) -> str:
    return f"{heading['plain'] or heading['bold']}:"


def _read_number(heading: re.Match[str]) -> int:
    return int(re.sub(r"\D", "", _read_label(heading)))


def _split_sections(reply: str, is_last: bool) -> tuple[str, str, str] | None:
    """The list of actions, the pruned thinking and the answer segment ("" if there is none). None if the markers are
    not the wanted ones."""
    markers = list(_SECTION.finditer(reply))
    names = [marker[1] for marker in markers]
    if names != ["THINKING", "ANSWER"] and (is_last or names != ["THINKING"]):
        return None
    ends = [*(marker.start() for marker in markers[1:]), len(reply)]
    texts = [reply[marker.end() : end].strip() for marker, end in zip(markers, ends, strict=True)]
    return reply[: markers[0].start()], texts[0], texts[1] if len(texts) > 1 else ""
