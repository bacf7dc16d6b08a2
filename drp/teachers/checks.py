"""The checks that a teacher's answer has to pass before it becomes a record.

Each check returns a list of violations; an empty list means that it passed. The LLM teacher sends the violations back
to the model in a re-ask, and the stages run the same checks before they write a record. The messages are part of
re-asks, and replies are stored by the whole conversation: a change of wording makes stored replies to re-asks useless.

    check_steps("a b", [Step(text="a ", skill=None, start=0, end=2)])
        ->  ["the steps end at character 2 of 3; missing: 'b'"], with the reason "steps not verbatim"
"""

import re
from collections.abc import Callable, Sequence, Set
from itertools import pairwise

from drp.records import Action, Decomposition, Edit, Step
from drp.student.response import CLOSING, OPENING, join_response
from drp.teachers.numbers import Value, find_figures, find_unknown, find_values

SameAnswer = Callable[[str, str], bool]
"""Whether an answer segment (first) states the given final answer (second), by grading. May take a second or more."""

_EXCERPT = 60
"""Characters of a text that a message quotes."""
_SLOW = 20_000
"""Characters of thinking from which on reading its numbers takes some 20 ms or more."""
_FORM_WORD = re.compile(r"COMPRESS|PRUNED|KEEP|DELETE|REWRITE|MERGE")
_FORM = re.compile(
    r"SINGLE-STEP COMPRESS|MULTI-STEP COMPRESS|PRUNED (?:THINKING|ANSWER)"
    r"|^[^\w\n]*(?:[Ss]teps? )?\d+[^\w\n]*(?:KEEP|DELETE|REWRITE|MERGE)\b",
    re.MULTILINE,
)
"""What belongs to the form of a prune reply, see `drp.teachers.llm.reply`."""


_LETTER = r"[b-zB-HJ-Z]"
"""A letter that may be a variable: neither an article nor "I"."""
_DEFINITION = re.compile(
    rf"\b[Ll]et(?:['’]s (?:say|call|denote)| me call| us (?:call|denote))?\s+(?:\\\(|\$)?\s*({_LETTER})\b"
    rf"|(?<![\w\\])({_LETTER})\s*(?:\\\)|\$)?\s+(?:be the|denotes?|represents?|stands? for)\b"
)
_INTRODUCES_BEFORE = re.compile(
    r"(?:\b(?:let|call|suppose|say|where|with|denote[sd]?|represent(?:s|ed)?|define[sd]?|as|is|be|assume|for|by|variables?"
    r"|the|of|some|unknown|number|both)\b[^.!?\n]*|[a-z]{4,}[\s,]*(?:\(|\\\(|\$)*\s*|=\s*)$",
    re.IGNORECASE,
)
"""What may come before the first use of a symbol that introduces it."""
_INTRODUCES_AFTER = re.compile(
    r"\s*(?:\\\)|\$)?\s*(?:=|is\b|are\b|be\b|,|and\b|denote|represent|stand|for\b|\([a-z]|:)", re.IGNORECASE
)
_OPERATORS = (*"0123456789+-*/^=×·÷)}",)
"""Endings of the text before a symbol that is part of an expression, as in "2x = 10"."""
_NEAR = 60
"""Characters before the first use that are looked at."""


class Violation(str):
    """What is wrong, in a sentence. reason: the same in two or three words, by which failures are counted."""

    reason: str

    def __new__(cls, message: str, reason: str) -> "Violation":
        violation = super().__new__(cls, message)
        violation.reason = reason
        return violation


def check_steps(thinking: str, steps: Sequence[Step]) -> list[Violation]:
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
    return [Violation(problem, "steps not verbatim") for problem in problems]


def check_revision(
    source: Decomposition,
    edits: Sequence[Edit],
    thinking: str,
    summary: str,
    *,
    count: Callable[[str], int] = len,
    same_answer: SameAnswer | None = None,
) -> list[Violation]:
    """All checks of a finished pruning. The expected answer is the trace's own, or the gold one if it has none.

    thinking, summary: the pruned ones.
    count: tokens of a text, for the check that the response became shorter.
    same_answer: None leaves out the check that the answer segment still states the answer.
    """
    if not thinking.strip():
        return [Violation("nothing is left of the reasoning", "nothing left")]
    pruned = f"{thinking}\n{summary}"
    violations = check_edits(source.steps, edits)
    violations += check_form(pruned, f"{source.thinking}\n{source.summary}")
    violations += check_numbers(
        "\n".join([pruned, *new_texts(edits)]), source.thinking, source.summary, source.question
    )
    violations += check_symbols(source.thinking, thinking, source.question)
    # `count` remembers what it has counted: the stage counts the same response for the record.
    before, after = join_response(source.thinking, source.summary), join_response(thinking, summary)
    violations += check_shorter(before, after, count)
    if source.predicted is not None:
        violations += check_conclusion(source.thinking, thinking, source.predicted)
    if same_answer is not None:
        violations += check_answer(summary, source.summary, source.predicted or source.answer, same_answer)
    return violations


def is_slow(source: Decomposition, summary: str | None) -> bool:
    """Whether checking a revision of this source may take long enough to hold up other calls, because a new answer
    segment is graded or the trace is long. summary: the revised answer segment; None if it is unchanged."""
    return summary not in (None, source.summary) or len(source.thinking) > _SLOW


def check_edits(steps: Sequence[Step], edits: Sequence[Edit], first: int = 0) -> list[Violation]:
    """Every step is in exactly one edit, in order, and each action agrees with its sources and its text.

    first: index of `steps[0]` in the whole trace, from which the edits' sources count.
    """
    indexes = range(first, first + len(steps))
    sources = [source for edit in edits for source in edit.sources]
    complete = sources == list(indexes)
    problems = [] if complete else _describe_coverage(indexes, sources)
    for edit in edits:
        if complete or all(source in indexes for source in edit.sources):
            problem = _find_misfit(steps[edit.sources[0] - first], edit)
            if problem:
                problems.append(f"{_name_steps(edit.sources)}: {problem}")
    return [Violation(problem, "actions do not fit the steps") for problem in problems]


def check_form(pruned: str, original: str) -> list[Violation]:
    """No tag that would end the thinking early, and nothing left over from the form of the reply."""
    problems = [f"the text holds the tag {tag}; leave it out" for tag in (OPENING, CLOSING) if tag in pruned]
    leftovers = _find_form(pruned)
    if leftovers:
        leftovers -= _find_form(original)
    problems += [f"the text holds {each!r}, which belongs to the list of actions" for each in sorted(leftovers)]
    return [Violation(problem, "remains of the form") for problem in problems]


def check_numbers(text: str, *sources: str | Set[Value]) -> list[Violation]:
    """No number that none of the sources (thinking, summary, question) has, by value: see `drp.teachers.numbers`.

    A source may be given as the values that `find_values` found in it.
    """
    known = frozenset[Value]().union(*(find_values(each) if isinstance(each, str) else each for each in sources))
    unknown = find_unknown(text, known)
    if not unknown:
        return []
    message = (
        f"these numbers stand in neither the problem nor the original reasoning and answer: {'; '.join(unknown)}. "
        "Use only numbers that stand there, written as they are written there"
    )
    return [Violation(message, "invented number")]


def check_symbols(thinking: str, pruned: str, question: str) -> list[Violation]:
    """No letter is used whose meaning the original reasoning gives ("Let x be the price") and the pruned one does not.

    Any words around the first use that may introduce it are taken to do so.
    """
    problems = []
    for symbol, definition in _find_definitions(thinking).items():
        use = re.compile(rf"(?<![A-Za-z\\'’]){symbol}(?![A-Za-z'’])")
        first = None if use.search(question) else use.search(pruned)
        if first and not _is_introduced(pruned, first):
            problems.append(
                f"the pruned reasoning uses {symbol} without saying what it is; the original says {excerpt(definition)}"
            )
    return [Violation(problem, "symbol not introduced") for problem in problems]


def check_shorter(original: str, pruned: str, count: Callable[[str], int] = len) -> list[Violation]:
    """The response, thinking and summary together, became shorter, in tokens (`count`) or else in characters."""
    before, after = count(original), count(pruned)
    if after < before:
        return []
    unit = "characters" if count is len else "tokens"
    message = f"the result is not shorter than the original: {after} {unit} against {before}. Delete or compress more"
    return [Violation(message, "not shorter")]


def check_conclusion(thinking: str, pruned: str, expected: str) -> list[Violation]:
    """The pruned reasoning still states the final answer if the original reasoning does."""
    figures = find_figures(expected)
    if figures:
        # Most prunings state the answer in digits, which are found faster than all values.
        kept = figures <= find_figures(pruned) or figures <= find_values(pruned)
        lost = not kept and figures <= find_values(thinking)
    else:
        name = _keep_letters(expected)
        lost = name in _keep_letters(thinking) and name not in _keep_letters(pruned)
    message = f"the pruned reasoning no longer reaches the final answer {expected}"
    return [Violation(message, "answer not reached")] if lost else []


def check_answer(summary: str, original: str, expected: str, same_answer: SameAnswer) -> list[Violation]:
    """The answer segment still states the final answer. An unchanged segment is not graded."""
    if summary == original or same_answer(summary, expected):
        return []
    message = f"the answer segment no longer states the final answer {expected}: {excerpt(summary[-_EXCERPT:])}"
    return [Violation(message, "answer changed")]


def new_texts(edits: Sequence[Edit]) -> list[str]:
    """The texts that the teacher wrote itself: those of rewritten and merged steps."""
    return [edit.text for edit in edits if edit.action in (Action.REWRITE, Action.MERGE)]


def excerpt(text: str) -> str:
    """The beginning of a text on one line, in quotes."""
    line = " ".join(text[: 4 * _EXCERPT].split())
    return f"'{line}'" if len(line) <= _EXCERPT else f"'{line[:_EXCERPT]}…'"


def _is_introduced(text: str, first: re.Match[str]) -> bool:
    before = text[max(0, first.start() - _NEAR) : first.start()]
    if _INTRODUCES_BEFORE.search(before):
        return True
    is_operand = before.rstrip().endswith(_OPERATORS)
    return not is_operand and _INTRODUCES_AFTER.match(text, first.end()) is not None


def _find_definitions(thinking: str) -> dict[str, str]:
    """Letters that a text introduces in words, each with the place where it first does so."""
    found: dict[str, str] = {}
    for match in _DEFINITION.finditer(thinking):
        found.setdefault(match[1] or match[2], thinking[match.start() : match.end() + _EXCERPT])
    return found


def _describe_coverage(indexes: range, sources: list[int]) -> list[str]:
    seen = set(sources)
    found = {
        "have no action": [index for index in indexes if index not in seen],
        "have more than one action": sorted({a for a, b in pairwise(sorted(sources)) if a == b}),
        "do not exist": sorted(source for source in seen if source not in indexes),
        "are out of order": sorted({b for a, b in pairwise(sources) if b < a}),
    }
    return [f"steps that {what}: {_list_numbers(steps)}" for what, steps in found.items() if steps]


def _list_numbers(indexes: list[int], most: int = 12) -> str:
    """The steps' numbers, which count from 1."""
    shown = ", ".join(str(index + 1) for index in indexes[:most])
    return shown if len(indexes) <= most else f"{shown} and {len(indexes) - most} more"


def _find_misfit(step: Step, edit: Edit) -> str | None:
    """What of the edit's sources or text does not agree with its action. step: the first of its sources."""
    action, sources, text = edit.action, edit.sources, edit.text
    if action is Action.MERGE:
        if len(sources) < 2 or sources != list(range(sources[0], sources[-1] + 1)):
            return "a merge takes two or more neighbouring steps"
    elif len(sources) > 1:
        return f"{action} takes one step"
    if action is Action.DELETE:
        return "a deleted step has no text" if text else None
    if action is Action.KEEP:
        return None if text == step.text or text.strip() == step.text.strip() else "a kept step keeps its text"
    return None if text.strip() else "the new text is missing; delete the step if it is not needed"


def _name_steps(sources: list[int]) -> str:
    return f"step {sources[0] + 1}" if len(sources) == 1 else f"steps {sources[0] + 1}-{sources[-1] + 1}"


def _find_form(text: str) -> set[str]:
    return {match[0].strip() for match in _FORM.finditer(text)} if _FORM_WORD.search(text) else set()


def _keep_letters(text: str) -> str:
    """Letters and digits alone, so that \\text{Evelyn} equals Evelyn."""
    return re.sub(r"\\(?:text|mathrm|mathbf)|[\W_]", "", text).lower()
