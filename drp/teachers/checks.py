"""What a teacher's answer has to satisfy before it becomes a record.

Each check is a pure function that returns a list of problems in words that a person, or a teacher asked again, can act
on; an empty list means passed. A problem is a text that also knows its reason, two or three words for a summary. The
LLM teacher's re-asks and the stages' last gate use the same ones.

    check_steps("a b", [Step(text="a ", skill=None, start=0, end=2)])
        ->  ["the steps end at character 2 of 3; missing: 'b'"]
"""

import re
from collections.abc import Callable, Sequence, Set
from itertools import pairwise

from drp.records import Action, Decomposition, Edit, Step
from drp.student.response import CLOSING, OPENING, join_response
from drp.teachers.numbers import Value, find_figures, find_unknown, find_values

SameAnswer = Callable[[str, str], bool]
"""Whether an answer segment (first) states the given final answer (second), by grading. May block for a moment."""

_EXCERPT = 60
_LONG = 20_000
"""Characters of thinking; they take some 20 ms."""
_REMAINS = re.compile(
    r"SINGLE-STEP COMPRESS|MULTI-STEP COMPRESS|PRUNED (?:THINKING|ANSWER)"
    r"|^[^\w\n]*(?:[Ss]teps? )?\d+[^\w\n]*(?:KEEP|DELETE|REWRITE|MERGE)\b",
    re.MULTILINE,
)


class Objection(str):
    """What is wrong, in a sentence. reason: the same in two or three words, for counting."""

    reason: str

    def __new__(cls, text: str, reason: str) -> "Objection":
        problem = super().__new__(cls, text)
        problem.reason = reason
        return problem


def check_steps(thinking: str, steps: Sequence[Step]) -> list[Objection]:
    """The steps tile the thinking: no gap, no overlap, nothing changed, none blank."""
    problems, position = [], 0
    for number, step in enumerate(steps, 1):
        if step.start != position:
            problems.append(f"step {number} starts at character {step.start}, expected {position}")
        if step.text != thinking[step.start : step.end]:
            problems.append(f"step {number} is not the source's text: {excerpt(step.text)}")
        if not step.text.strip():
            problems.append(f"step {number} is blank")
        position = step.end
    if position != len(thinking):
        rest = excerpt(thinking[position:])
        problems.append(f"the steps end at character {position} of {len(thinking)}; missing: {rest}")
    return [Objection(text, "steps not verbatim") for text in problems]


def check_edits(steps: Sequence[Step], edits: Sequence[Edit], first: int = 0) -> list[Objection]:
    """Every step is in exactly one edit, in order, and each action agrees with its sources and its text.

    first: index of `steps[0]` in the whole trace, from which the edits' sources count.
    """
    indexes = range(first, first + len(steps))
    problems = _check_coverage(indexes, [source for edit in edits for source in edit.sources])
    for edit in edits:
        if all(source in indexes for source in edit.sources):
            own = steps[edit.sources[0] - first]
            problems += [f"{_name(edit.sources)}: {problem}" for problem in _check_edit(own, edit)]
    return [Objection(text, "actions do not fit the steps") for text in problems]


def check_numbers(text: str, *sources: str | Set[Value]) -> list[Objection]:
    """No number that none of the sources (thinking, summary, question) has; see `drp.teachers.checks`.

    A source may be given as the values that `find_values` found in it, so that many texts can be held to it.
    """
    known = frozenset[Value]().union(*(find_values(each) if isinstance(each, str) else each for each in sources))
    unknown = find_unknown(text, known)
    if not unknown:
        return []
    message = (
        f"these numbers stand in neither the problem nor the original reasoning and answer: {'; '.join(unknown)}. "
        "Use only numbers that stand there, written as they are written there"
    )
    return [Objection(message, "invented number")]


def check_shorter(original: str, pruned: str, count: Callable[[str], int] = len) -> list[Objection]:
    """The response, thinking and summary together, became shorter, in tokens (`count`) or else in characters."""
    before, after = count(original), count(pruned)
    if after < before:
        return []
    unit = "characters" if count is len else "tokens"
    message = f"the result is not shorter than the original: {after} {unit} against {before}. Delete or compress more"
    return [Objection(message, "not shorter")]


def check_answer(summary: str, original: str, expected: str, same_answer: SameAnswer) -> list[Objection]:
    """The answer segment still states the final answer. One that was left as it is was not changed by the teacher."""
    if summary == original or same_answer(summary, expected):
        return []
    message = f"the answer segment no longer states the final answer {expected}: {excerpt(summary[-_EXCERPT:])}"
    return [Objection(message, "answer changed")]


def check_conclusion(thinking: str, pruned: str, expected: str) -> list[Objection]:
    """Where the original reasoning states the final answer, the pruned reasoning still does."""
    wanted = find_figures(expected)
    if wanted:
        lost = wanted <= find_values(thinking) and not wanted <= find_values(pruned)
    else:
        lost = _squeeze(expected) in _squeeze(thinking) and _squeeze(expected) not in _squeeze(pruned)
    message = f"the pruned reasoning no longer reaches the final answer {expected}"
    return [Objection(message, "answer not reached")] if lost else []


def check_form(pruned: str, original: str) -> list[Objection]:
    """No tag that would end the thinking early, and nothing left over from the reply's own form."""
    problems = [f"the text holds the tag {tag}; leave it out" for tag in (OPENING, CLOSING) if tag in pruned]
    remains = {match[0].strip() for match in _REMAINS.finditer(pruned)} - set(_REMAINS.findall(original))
    problems += [f"the text holds {remain!r}, which belongs to the list of actions" for remain in sorted(remains)]
    return [Objection(text, "remains of the form") for text in problems]


def check_revision(
    source: Decomposition,
    edits: Sequence[Edit],
    thinking: str,
    summary: str,
    *,
    count: Callable[[str], int] = len,
    same_answer: SameAnswer | None = None,
) -> list[Objection]:
    """All checks of a finished pruning. The expected answer is the trace's own, or the gold one where it has none.

    same_answer: None leaves the grading of the answer segment out.
    """
    if not thinking.strip():
        return [Objection("nothing is left of the reasoning", "nothing left")]
    expected = source.predicted or source.answer
    original = f"{source.thinking}\n{source.summary}"
    pruned = f"{thinking}\n{summary}"
    problems = check_edits(source.steps, edits)
    problems += check_form(pruned, original)
    known = (source.thinking, source.summary, source.question)
    problems += check_numbers("\n".join([pruned, *texts_written(edits)]), *known)
    # As responses, so that whoever counts the record's tokens afterwards has counted them already.
    before, after = join_response(source.thinking, source.summary), join_response(thinking, summary)
    problems += check_shorter(before, after, count)
    if source.predicted is not None:
        problems += check_conclusion(source.thinking, thinking, source.predicted)
    if same_answer is not None:
        problems += check_answer(summary, source.summary, expected, same_answer)
    return problems


def is_slow(source: Decomposition, summary: str | None) -> bool:
    """Whether checking a revision may take more than a moment: a new answer segment (None: it was left as it was) is
    graded, a long trace is read."""
    return summary not in (None, source.summary) or len(source.thinking) > _LONG


def texts_written(edits: Sequence[Edit]) -> list[str]:
    """What the teacher itself wrote: the texts of rewritten and merged steps."""
    return [edit.text for edit in edits if edit.action in (Action.REWRITE, Action.MERGE)]


def excerpt(text: str) -> str:
    """The beginning of a text on one line, in quotes."""
    line = " ".join(text[: 4 * _EXCERPT].split())
    return f"'{line}'" if len(line) <= _EXCERPT else f"'{line[:_EXCERPT]}…'"


def _check_coverage(indexes: range, sources: list[int]) -> list[str]:
    if sources == list(indexes):
        return []
    seen = set(sources)
    beyond = sorted(source + 1 for source in seen if source not in indexes)
    missing = [index + 1 for index in indexes if index not in seen]
    repeated = sorted({a + 1 for a, b in pairwise(sorted(sources)) if a == b})
    unordered = sorted({b + 1 for a, b in pairwise(sources) if b < a})
    found = {
        "have no action": missing,
        "have more than one action": repeated,
        "do not exist": beyond,
        "are out of order": unordered,
    }
    return [f"steps that {what}: {_list(numbers)}" for what, numbers in found.items() if numbers]


def _check_edit(step: Step, edit: Edit) -> list[str]:
    merged = edit.action is Action.MERGE
    if merged and (len(edit.sources) < 2 or edit.sources != list(range(edit.sources[0], edit.sources[-1] + 1))):
        return ["a merge takes two or more neighbouring steps"]
    if not merged and len(edit.sources) > 1:
        return [f"{edit.action} takes one step"]
    if edit.action is Action.DELETE and edit.text:
        return ["a deleted step has no text"]
    if edit.action is Action.KEEP and edit.text.strip() != step.text.strip():
        return ["a kept step keeps its text"]
    if edit.action in (Action.REWRITE, Action.MERGE) and not edit.text.strip():
        return ["the new text is missing; delete the step if it is not needed"]
    return []


def _name(sources: list[int]) -> str:
    return f"step {sources[0] + 1}" if len(sources) == 1 else f"steps {sources[0] + 1}-{sources[-1] + 1}"


def _list(numbers: list[int], most: int = 12) -> str:
    shown = ", ".join(str(number) for number in numbers[:most])
    return shown if len(numbers) <= most else f"{shown} and {len(numbers) - most} more"


def _squeeze(text: str) -> str:
    """Letters and digits alone, so that \\text{Evelyn} equals Evelyn."""
    return re.sub(r"\\(?:text|mathrm|mathbf)|[\W_]", "", text).lower()
