"""The cheap reply format: numbered clauses in, ranges and skills out; and for pruning, new text only.

Decomposition:                        Pruning:

    1-3 | Interpreting a quantity         1 KEEP
    4 | Division                          2 DELETE
    5-6 | Simplifying                     3-4 MERGE: So 8 / 20 = 0.4 a minute.
                                          ANSWER UNCHANGED

Steps are ranges of the source's own clauses, so that they are verbatim by construction. The pruned reasoning is put
together from the kept steps and the new texts.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from drp.records import Action, Edit, Step
from drp.teachers.checks import check_edits, excerpt
from drp.teachers.clauses import Clause, split_clauses
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

_RANGE_LINE = re.compile(
    r"^[\s>*_|`-]*(?:(?:steps?\s*)?\d+[.:：)]\s+(?=[^|｜]*\d[^|｜]*[|｜]))?(?:(?:steps?|clauses?)\s+)?"
    r"\[?(\d{1,6})\]?(?:\s*(?:-|–|—|~|～|to)\s*\[?(\d{1,6})\]?)?"
    r"[\s*_`]*(?:(?:[|:：｜(–—-]|(?<=\])(?=\s))[\s*_`]*(.*?)[\s|｜)*_`]*)?$",
    re.IGNORECASE,
)
_ANSWERS = [
    re.compile(rf"^[ \t>#*_`-]*{form}[ \t]*(.*)\Z", re.MULTILINE | re.DOTALL)
    for form in (
        r"ANSWER\b[*_`]*[ \t]*(?:[:：=-](?:[*_`]+(?=\s|$))?)?",
        r"(?:(?:Final|Revised|Pruned) )?(?:Answer|ANSWER)(?: segment)?[*_`]*[ \t]*"
        r"(?:[:：=](?:[*_`]+(?=\s|$))?|$|(?=UNCHANGED))",
    )
]
"""The last line, as it was asked for, and as other teachers write it."""
_MAX_LINE = 14
"""Tokens of a line of the reply at most, apart from new text."""
_SENTENCE_END = re.compile(r"[.!?:…][\"'”’)\]*]*$")
_LOWER_WORD = re.compile(r"[a-z]{2,}\b")


class SpansFormat(ReplyFormat):
    """Steps are named by the numbers of their clauses, and only new text is written out."""

    name = "spans"
    # With a line for every 25 tokens of reasoning. A strong language model's replies for 10 real traces had a line for
    # every 52, 0.14 tokens for each token of reasoning; their revisions had 0.23, and 5 for each step.
    steps_rates = (0.1, 0.265)
    edits_rates = (0.24, 5)
    max_edits_rates = (1, _MAX_LINE)

    def show_thinking(self, text: str) -> dict[str, str]:
        clauses = enumerate(_split_clauses(text), 1)
        return {"clauses": "\n".join(f"[{number}] {_flatten(clause.text)}" for number, clause in clauses)}

    def read_steps(self, reply: str, text: str, with_skills: bool) -> PartSegmentation:
        clauses = _split_clauses(text)
        found = _find_ranges(clean_reply(reply), with_skills)
        problems = _check_ranges([numbers for numbers, _ in found], len(clauses))
        if problems:
            raise BadReply(*problems, reason="clauses left out or repeated")
        steps = []
        for numbers, skill in found:
            start, end = clauses[numbers[0] - 1].start, clauses[numbers[-1] - 1].end
            steps.append(Step(text=text[start:end], skill=skill, start=start, end=end))
        return PartSegmentation(steps)

    def bound_steps(self, text: str) -> int:
        """As if every clause became a step of its own."""
        return _MAX_LINE * len(_split_clauses(text))

    def show_steps(self, part: TracePart) -> str:
        return "\n".join(
            f"[{number}] " + (f"({step.skill}) " if step.skill else "") + _flatten(step.text)
            for number, step in zip(part.numbers, part.steps, strict=True)
        )

    def read_revision(self, reply: str, part: TracePart) -> PartRevision:
        reply = clean_reply(reply)
        first = part.numbers[0]
        actions, end = find_actions(reply, first)
        answer = next(filter(None, (pattern.search(reply, end) for pattern in _ANSWERS)), None)
        if part.is_last and not answer:
            raise BadReply("the last line is missing: 'ANSWER UNCHANGED', or 'ANSWER: ' and the revised answer segment")
        if answer:
            # The last entry's text ends where the answer begins.
            actions, _ = find_actions(reply[: answer.start()], first)
        edits = make_edits(actions, part)
        problems = check_edits(part.steps, edits, part.first)
        if problems:
            raise BadReply(*problems)
        summary = _read_answer(answer) if answer and part.is_last else None
        return PartRevision(edits, assemble(part.steps, edits, part.first), summary)


@lru_cache(maxsize=128)
def _split_clauses(text: str) -> Sequence[Clause]:
    """Remembered, as the length of a request and its prompt need the same clauses."""
    return split_clauses(text)


def _flatten(text: str) -> str:
    return " ".join(text.split())


def _find_ranges(reply: str, with_skills: bool) -> list[tuple[range, str | None]]:
    """The clauses of every line, with its skill. Lines of another form are skipped: if they named clauses, the check of
    the ranges finds these missing."""
    found: list[tuple[range, str | None]] = []
    for match in filter(None, map(_RANGE_LINE.match, reply.splitlines())):
        numbers = range(int(match[1]), int(match[2] or match[1]) + 1)
        if not numbers:
            raise BadReply(f"'{match[0].strip()}' runs backwards")
        found.append((numbers, _read_skill(match) if with_skills else None))
    if not found:
        form = "'1-3 | Interpreting a quantity'" if with_skills else "'1-3'"
        raise BadReply(f"no line of the form {form}; {describe_reply(reply)}")
    return found


def _read_skill(match: re.Match[str]) -> str:
    name = (match[3] or "").strip()
    if not name or len(name) > MAX_SKILL:
        raise BadReply(f"the line {excerpt(match[0])} does not name a skill in a few words")
    return name


def _check_ranges(ranges: list[range], n_clauses: int) -> list[str]:
    problems, following = [], 1
    for numbers in ranges:
        if numbers[0] > following:
            problems.append(f"no step has {_name_clauses(range(following, numbers[0]))}")
        elif numbers[0] < following:
            problems.append(f"{_name_clauses(numbers)} repeats or goes back; clause {following} is the next one")
        following = max(following, numbers[-1] + 1)
    if following <= n_clauses:
        problems.append(f"no step has {_name_clauses(range(following, n_clauses + 1))}")
    elif following > n_clauses + 1:
        problems.append(f"clause {following - 1} does not exist; the last one is {n_clauses}")
    return problems


def _name_clauses(numbers: range) -> str:
    return f"clause {numbers[0]}" if len(numbers) == 1 else f"clauses {numbers[0]}-{numbers[-1]}"


def _read_answer(match: re.Match[str]) -> str | None:
    text = match[1].strip()
    if not text:
        raise BadReply("nothing stands after ANSWER; write UNCHANGED or the revised answer segment")
    return None if is_unchanged(text) else text


def assemble(steps: Sequence[Step], edits: Sequence[Edit], first: int = 0) -> str:
    """The text that the edits make of the steps, with the white space after it.

    Kept steps keep the white space between them. At a deletion the larger gap stays (a paragraph's end rather than a
    space), and a sentence that it cut gets a full stop or a capital letter:

        "She has 3, " KEEP, "let me see. \\n" DELETE, "and buys 4." KEEP   ->   "She has 3.\\nAnd buys 4."

    first: index of `steps[0]` in the whole trace, from which the edits' sources count.
    """
    text, gap, before = "", "", Action.KEEP
    for edit in edits:
        source = steps[edit.sources[-1] - first].text
        tail = source[len(source.rstrip()) :]
        if edit.action is Action.DELETE:
            gap, before = max(gap, tail, key=_weigh_gap), edit.action
            continue
        addition = edit.text.strip()
        if before is Action.DELETE:
            text, addition = _mend(text, gap, addition)
        both_kept = before is Action.KEEP and edit.action is Action.KEEP
        if text and not gap and not both_kept:
            gap = " "
        text, gap, before = text + gap + addition if text else addition, tail, edit.action
    text = _close(text) if before is Action.DELETE else text
    return text + gap if text else ""


def _weigh_gap(gap: str) -> tuple[int, int]:
    return gap.count("\n"), len(gap)


def _mend(text: str, gap: str, addition: str) -> tuple[str, str]:
    """The text before and after a deletion, closed and opened as sentences if they are two."""
    new_line = "\n" in gap
    left = _close(text) if new_line or addition[:1].isupper() else text
    opens_sentence = not text or new_line or _SENTENCE_END.search(text[-5:])
    return left, _capitalise(addition) if opens_sentence else addition


def _close(text: str) -> str:
    return text[:-1].rstrip() + "." if text.endswith((",", ";")) else text


def _capitalise(text: str) -> str:
    """Words only, as a single letter may be a variable."""
    return text[0].upper() + text[1:] if _LOWER_WORD.match(text) else text
