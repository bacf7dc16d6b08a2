"""The cheap reply format: numbered clauses in, ranges and skills out; and for pruning, new text only.

Decomposition:                        Pruning:

    1-3 | Interpreting a quantity         1 KEEP
    4 | Division                          2 DELETE
    5-6 | Simplifying                     3-4 MERGE: So 8 / 20 = 0.4 a minute.
                                          ANSWER UNCHANGED

Steps are ranges of the source's own clauses, so they are verbatim by construction.
"""

import re

from drp.records import Step
from drp.teachers.checks import check_edits, excerpt
from drp.teachers.clauses import Clause, split_clauses
from drp.teachers.llm.alignment import assemble
from drp.teachers.llm.division import estimate_tokens, foresee_tokens
from drp.teachers.llm.reply import BadReply, Draft, Part, find_entries, make_edits, strip_fence

_LINE = re.compile(
    r"^[\s>*_|`-]*(?:(?:steps?|clauses?)\s+)?\[?(\d{1,6})\]?(?:\s*(?:-|–|—|to)\s*\[?(\d{1,6})\]?)?"
    r"[\s*_`]*(?:[|:][\s*_`]*(.*?)[\s|*_`]*)?$",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"^[ \t>#*_`-]*ANSWER\b[*_`]*[ \t]*[:=-]?[*_`]*[ \t]*(.*)\Z", re.MULTILINE | re.DOTALL)
_UNCHANGED = re.compile(r"\W*(?:UNCHANGED|KEEP)\b")
_MAX_SKILL = 80
_COST_OF_LINE = 14
_RANGES_WITH_SKILLS, _RANGES = 0.265, 0.1
"""Mean output tokens a token of reasoning; this and the next two as measured on real traces, a line 25 tokens."""
_MEAN_REVISION, _MEAN_LINE = 0.24, 5
"""Mean output tokens of a revision: a token of the steps, and a step."""


class SpansFormat:
    """See the module."""

    name = "spans"

    def measure_thinking(self, text: str) -> int:
        """As if every clause became a step of its own."""
        return _COST_OF_LINE * len(_cut_clauses(text))

    def foresee_steps(self, text: str, with_skills: bool) -> int:
        return round((_RANGES_WITH_SKILLS if with_skills else _RANGES) * foresee_tokens(text))

    def show_thinking(self, text: str) -> dict[str, str]:
        clauses = enumerate(_cut_clauses(text), 1)
        return {"clauses": "\n".join(f"[{number}] {_flatten(clause.text)}" for number, clause in clauses)}

    def read_steps(self, reply: str, text: str, with_skills: bool) -> list[Step]:
        clauses = _cut_clauses(text)
        found = _find_ranges(strip_fence(reply), with_skills)
        problems = _check_ranges([numbers for numbers, _ in found], len(clauses))
        if problems:
            raise BadReply(*problems, reason="clauses left out or repeated")
        return [_make_step(text, clauses, numbers, skill) for numbers, skill in found]

    def measure_step(self, step: Step) -> int:
        return estimate_tokens(step.text) + _COST_OF_LINE

    def foresee_revision(self, part: Part) -> int:
        kept = sum(foresee_tokens(step.text) for step in part.steps)
        return round(_MEAN_REVISION * kept + _MEAN_LINE * len(part.steps))

    def show_steps(self, part: Part) -> str:
        return "\n".join(
            f"[{number}] " + (f"({step.skill}) " if step.skill else "") + _flatten(step.text)
            for number, step in zip(part.numbers, part.steps, strict=True)
        )

    def read_revision(self, reply: str, part: Part) -> Draft:
        reply = strip_fence(reply)
        _, end = find_entries(reply)
        answer = _ANSWER.search(reply, end)
        if part.is_last and not answer:
            raise BadReply("the last line is missing: 'ANSWER UNCHANGED', or 'ANSWER: ' and the revised answer segment")
        entries, _ = find_entries(reply[: answer.start()] if answer else reply)
        edits = make_edits(entries, part)
        problems = check_edits(part.steps, edits, part.first)
        if problems:
            raise BadReply(*problems)
        return Draft(edits, assemble(part.steps, edits, part.first), _read_answer(answer) if part.is_last else None)


def _cut_clauses(text: str) -> list[Clause]:
    return split_clauses(text)


def _find_ranges(reply: str, with_skills: bool) -> list[tuple[range, str | None]]:
    """First and last clause of every line, with its skill. Lines of another form are the teacher's chatter: what they
    may have stood for is missed by the check of the ranges."""
    found: list[tuple[range, str | None]] = []
    for match in filter(None, map(_LINE.match, reply.splitlines())):
        numbers = range(int(match[1]), int(match[2] or match[1]) + 1)
        if not numbers:
            raise BadReply(f"'{match[0].strip()}' runs backwards")
        found.append((numbers, _read_skill(match) if with_skills else None))
    if not found:
        form = "'1-3 | Interpreting a quantity'" if with_skills else "'1-3'"
        raise BadReply(f"no line of the form {form}; the reply begins {excerpt(reply)}")
    return found


def _read_skill(match: re.Match[str]) -> str:
    name = (match[3] or "").strip()
    if not name or len(name) > _MAX_SKILL:
        raise BadReply(f"the line {excerpt(match[0])} does not name a skill in a few words")
    return name


def _check_ranges(ranges: list[range], n_clauses: int) -> list[str]:
    problems, following = [], 1
    for numbers in ranges:
        if numbers[0] > following:
            problems.append(f"no step has {_name(range(following, numbers[0]))}")
        elif numbers[0] < following:
            problems.append(f"{_name(numbers)} repeats or goes back; clause {following} is the next one")
        following = max(following, numbers[-1] + 1)
    if following <= n_clauses:
        problems.append(f"no step has {_name(range(following, n_clauses + 1))}")
    elif following > n_clauses + 1:
        problems.append(f"clause {following - 1} does not exist; the last one is {n_clauses}")
    return problems


def _make_step(text: str, clauses: list[Clause], numbers: range, skill: str | None) -> Step:
    start, end = clauses[numbers[0] - 1].start, clauses[numbers[-1] - 1].end
    return Step(text=text[start:end], skill=skill, start=start, end=end)


def _read_answer(match: re.Match[str] | None) -> str | None:
    text = match[1].strip() if match else ""
    if not text:
        raise BadReply("nothing stands after ANSWER; write UNCHANGED or the revised answer segment")
    return None if _UNCHANGED.match(text) else text


def _flatten(text: str) -> str:
    return " ".join(text.split())


def _name(numbers: range) -> str:
    return f"clause {numbers[0]}" if len(numbers) == 1 else f"clauses {numbers[0]}-{numbers[-1]}"
