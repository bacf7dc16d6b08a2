"""The checks, each with what passes and what does not."""

import pytest

from drp.records import Action, Decomposition, Edit, Step, Usage
from drp.teachers.checks import (
    check_answer,
    check_conclusion,
    check_edits,
    check_form,
    check_numbers,
    check_revision,
    check_shorter,
    check_steps,
    check_symbols,
)
from drp.teachers.numbers import find_values

STEPS = [
    Step(text="First, 5 * 8 = 40. ", skill="Multiplication", start=0, end=19),
    Step(text="Hmm. ", skill=None, start=19, end=24),
    Step(text="Then 40 - 14 = 26.", skill="Subtraction", start=24, end=42),
]
THINKING = "".join(step.text for step in STEPS)


def edit(action: str, *sources: int, text: str = "") -> Edit:
    return Edit(action=Action(action), sources=list(sources), text=text)


def keep(index: int) -> Edit:
    return edit("keep", index, text=STEPS[index].text)


def decomposition(**changes: object) -> Decomposition:
    fields = {
        "id": "p#0", "problem_id": "p", "question": "5 pies of 8 slices, 14 eaten?", "answer": "26", "response": "",
        "thinking": THINKING, "summary": "The answer is 26.", "predicted": "26", "correct": True,
        "finish_reason": "stop", "n_tokens": 40, "model": "m", "steps": STEPS, "teacher": "t", "usage": Usage(),
    }  # fmt: skip
    return Decomposition.model_validate(fields | changes)


def test_steps_that_tile_pass() -> None:
    assert check_steps(THINKING, STEPS) == []


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (STEPS[:2], "the steps end at character 24 of 42; missing: 'Then 40 - 14 = 26.'"),
        (STEPS[1:], "step 1 starts at character 19, expected 0"),
        ([STEPS[0], STEPS[2]], "step 2 starts at character 24, expected 19"),
        ([STEPS[0].model_copy(update={"text": "First, 5 * 8 = 41. "}), *STEPS[1:]], "step 1 is not the source's text"),
        ([], "the steps end at character 0 of 42"),
    ],
)
def test_steps_with_gaps_changes_or_no_end_are_named(steps: list[Step], problem: str) -> None:
    assert any(problem in found for found in check_steps(THINKING, steps))


def test_blank_steps_are_named() -> None:
    steps = [Step(text="a", skill=None, start=0, end=1), Step(text="  ", skill=None, start=1, end=3)]
    assert check_steps("a  ", steps) == ["step 2 is blank"]


def test_all_four_actions_pass() -> None:
    steps = [*STEPS, Step(text=" So 26.", skill=None, start=42, end=49)]
    edits = [edit("rewrite", 0, text="5 * 8 = 40."), edit("delete", 1), edit("merge", 2, 3, text="40 - 14 = 26.")]
    assert check_edits(steps, edits) == []
    assert check_edits(STEPS, [keep(0), keep(1), keep(2)]) == []


@pytest.mark.parametrize(
    ("edits", "problem"),
    [
        ([keep(0), keep(2)], "steps that have no action: 2"),
        ([keep(0), keep(1), keep(1), keep(2)], "steps that have more than one action: 2"),
        ([keep(1), keep(0), keep(2)], "steps that are out of order: 1"),
        ([keep(0), keep(1), keep(2), edit("delete", 3)], "steps that do not exist: 4"),
        ([], "steps that have no action: 1, 2, 3"),
        ([keep(0), edit("delete", 1, text="Hmm."), keep(2)], "step 2: a deleted step has no text"),
        ([keep(0), edit("keep", 1, text="Hm."), keep(2)], "step 2: a kept step keeps its text"),
        ([keep(0), edit("rewrite", 1, text=" "), keep(2)], "step 2: the new text is missing"),
        ([edit("merge", 0, text="x"), keep(1), keep(2)], "step 1: a merge takes two or more neighbouring steps"),
        ([edit("delete", 0, 1), keep(2)], "steps 1-2: delete takes one step"),
    ],
)
def test_edits_that_do_not_cover_the_steps_are_named(edits: list[Edit], problem: str) -> None:
    assert any(problem in found for found in check_edits(STEPS, edits))


def test_edits_of_a_later_part_are_named_by_their_own_numbers() -> None:
    edits = [edit("keep", 10, text=STEPS[0].text), edit("keep", 12, text=STEPS[2].text)]
    assert check_edits(STEPS, edits, first=10) == ["steps that have no action: 12"]


def test_invented_numbers_are_named_and_refused() -> None:
    [violation] = check_numbers("They ate 41 slices, or twenty-five", "5 pies of 8 slices make 40", "7 left")
    assert "41 (in 'They ate 41 slices" in violation
    assert "twenty-five (in" in violation
    assert check_numbers("40 and 7", "5 pies of 8 slices make 40", find_values("7 left")) == []


def test_shorter_counts_characters_or_tokens() -> None:
    assert check_shorter("one two", "one") == []
    assert check_shorter("ab", "abc") == [
        "the result is not shorter than the original: 3 characters against 2. Delete or compress more"
    ]
    assert "2 tokens against 2" in check_shorter("aaaa bbbb", "a b", count=lambda text: len(text.split()))[0]


def test_the_answer_is_graded_not_compared() -> None:
    def same(summary: str, expected: str) -> bool:
        return expected in summary.replace(",", "")

    assert check_answer("It is 1,200.", "So it is 1200.", "1200", same) == []
    assert "no longer states the final answer 1200" in check_answer("It is 12.", "It is 1200.", "1200", same)[0]
    assert check_answer("unchanged", "unchanged", "1200", same) == []


def test_the_reasoning_still_reaches_an_answer_that_it_had() -> None:
    assert check_conclusion("so 1,200 in all", "1200", "1200") == []
    assert "no longer reaches the final answer 26" in check_conclusion("40 - 14 = 26", "40 - 14", "26")[0]
    assert check_conclusion("so 1200 in all", "so all", "1,200") != []
    assert check_conclusion("so 1/2, or 0.5", r"so \frac12", "0.5") == []
    assert check_conclusion("never said", "nor here", "26") == []
    assert check_conclusion("it is Evelyn", "Evelyn", r"\text{Evelyn}") == []
    assert check_conclusion("it is Evelyn", "it is her", r"\text{Evelyn}") != []


def test_tags_and_leftovers_of_the_reply_are_named() -> None:
    violations = check_form("a </think> b\nStep 3: KEEP\nMULTI-STEP COMPRESS: c", "source")
    assert len(violations) == 3
    assert check_form("Keep 3 and merge 4. Step 3: keep", "source") == []


def test_a_whole_revision_passes_or_names_all_that_is_wrong() -> None:
    source = decomposition()
    edits = [edit("rewrite", 0, text="5 * 8 = 40."), edit("delete", 1), keep(2)]
    thinking = "5 * 8 = 40. Then 40 - 14 = 26."

    def same(summary: str, expected: str) -> bool:
        return expected in summary

    assert check_revision(source, edits, thinking, "So 26.", same_answer=same) == []
    problems = " | ".join(check_revision(source, edits[:2], "5 * 8 = 41." * 9, "So 27.", same_answer=same))
    expected = ["no action: 3", "41 (in", "27 (in", "not shorter", "no longer reaches", "no longer states"]
    assert [part for part in expected if part not in problems] == []
    assert check_revision(source, edits, "  ", "So 26.") == ["nothing is left of the reasoning"]


def test_a_trace_without_an_answer_of_its_own_is_held_to_the_gold_one() -> None:
    source = decomposition(predicted=None, summary="")
    edits = [keep(0), edit("delete", 1), keep(2)]
    thinking = "5 * 8 = 40. 40 - 14 = 26."
    found = check_revision(source, edits, thinking, "So 14.", same_answer=lambda summary, answer: answer in summary)
    assert found == ["the answer segment no longer states the final answer 26: 'So 14.'"]


def test_every_violation_has_a_reason_in_a_few_words() -> None:
    edits, source = [keep(0), edit("delete", 1), keep(2)], decomposition()
    good = "First, 5 * 8 = 40. Then 40 - 14 = 26."
    broken = {
        "steps not verbatim": check_steps(THINKING, STEPS[:2]),
        "actions do not fit the steps": check_edits(STEPS, edits[:2]),
        "invented number": check_numbers("So 77.", "So 7."),
        "not shorter": check_shorter("a", "ab"),
        "answer changed": check_answer("It is 27.", "It is 26.", "26", lambda summary, expected: expected in summary),
        "answer not reached": check_conclusion(good, "First, 5 * 8 = 40.", "26"),
        "remains of the form": check_form("</think>", good),
        "nothing left": check_revision(source, edits, " ", "The answer is 26."),
    }
    for reason, violations in broken.items():
        assert [violation.reason for violation in violations] == [reason]


@pytest.mark.parametrize(
    "pruned",
    [
        "Let x be the price. Then 2x = 10, so x = 5.",
        "With the price x, 2x = 10, so x = 5.",
        "x = 5 since 2 * 5 = 10.",
        "The price is 5.",
    ],
)
def test_a_symbol_that_is_introduced_or_not_used_passes(pruned: str) -> None:
    assert check_symbols("Let x be the price in dollars. Then 2x = 10, so x = 5.", pruned, "What is the price?") == []


def test_a_symbol_whose_definition_was_deleted_is_named_with_the_definition() -> None:
    thinking = "Let x be the price in dollars. Then 2x = 10, so x = 5."
    [problem] = check_symbols(thinking, "2x = 10, so x = 5.", "What is the price?")
    assert problem.reason == "symbol not introduced"
    assert "uses x without saying what it is" in problem
    assert "'Let x be the price in dollars." in problem
    assert check_symbols(thinking, "2x = 10, so x = 5.", "What is x if 2x is 10?") == []
