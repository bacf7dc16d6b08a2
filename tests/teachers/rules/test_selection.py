"""Where a trace ends, and what each pass drops."""

import pytest

from drp.records import Step
from drp.teachers.rules import selection
from drp.teachers.rules.reading import read_clause, read_steps
from drp.teachers.rules.selection import condense_summary, find_closing, read_answer, select

QUESTION = "Ann has 9 packs with 7 pens in each. Then she gives away 11 pens. How many pens does Ann have now?"


def keep(thinking: str, predicted: str, question: str = QUESTION) -> str:
    """The clauses that stay, as one text."""
    readings = read_steps([Step(text=thinking, skill=None, start=0, end=len(thinking))])
    kept = select(readings, read_clause(question), read_answer(predicted)).kept
    return "".join(readings[index].text for index in sorted(kept))


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("find_retracted", "So 9 * 7 = 62. Wait, no, that's not right. "),
        ("find_idle", "Hmm, let me think. "),
        ("find_repeated", "So there are 63 pens in the packs. "),
        ("find_explained", "That means there are 63 pens in the packs. "),
        ("find_restated", "Then she gives away 11 pens. "),
        ("find_orphaned", "These are the same for both of them. "),
    ],
)
def test_each_pass_drops_what_the_others_leave(name: str, dropped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = "I need to find how many pens Ann has now. "
    steps = {
        "find_repeated": f"9 * 7 = 63. So there are 63 pens in the packs. She has fewer at the end. {dropped}",
        "find_explained": f"Ann has 9 packs with 7 pens in each, so 9 * 7 = 63. {dropped}",
        "find_orphaned": f"Then she gives away 11 pens. {dropped}9 * 7 = 63. ",
    }
    thinking = f"{opening}{steps.get(name, f'{dropped}9 * 7 = 63. ')}63 - 11 = 52.\n\nSo, Ann has 52 pens now."
    assert keep(thinking, "52").count(dropped) == thinking.count(dropped) - 1
    rest = tuple(each for each in selection.PASSES if each.__name__ != name)
    assert len(rest) == len(selection.PASSES) - 1
    monkeypatch.setattr(selection, "PASSES", rest)
    assert keep(thinking, "52").count(dropped) == thinking.count(dropped)


def test_a_trace_does_not_end_before_a_candidate_is_ruled_out() -> None:
    thinking = (
        "I need to solve for r. The equation factors to (2r - 7)(r - 4) = 0, so r = 7/2 or r = 4.\n\n"
        "The denominator 2r - 7 is zero for r = 7/2, so r = 7/2 is extraneous.\n\nTherefore, r = 4.\n\n"
        "Wait, let me double-check: 4 - 4 = 0."
    )
    readings = read_steps([Step(text=thinking, skill=None, start=0, end=len(thinking))])
    closing = find_closing(readings, read_clause("Solve (2r - 7)(r - 4) = 0 for r."), read_answer("4"))
    assert closing is not None
    assert readings[closing].text.strip() == "Therefore, r = 4."


@pytest.mark.parametrize(
    ("predicted", "numbers"),
    [
        ("18", {"18"}),
        ("\\$1,200", {"1200"}),
        ("\\frac{1}{2}", {"0.5"}),
        ("30^\\circ", {"30"}),
        ("120 \\text{ pounds}", {"120"}),
        ("(2, 3)", set()),
        ("2\\sqrt{3}", set()),
    ],
)
def test_an_answer_is_a_number_only_if_it_is_no_more_than_one(predicted: str, numbers: set[str]) -> None:
    assert read_answer(predicted).numbers == numbers


def test_a_formula_that_closes_a_summary_keeps_the_line_that_introduces_it() -> None:
    summary = "**Step 1:** 200 - 80 = 120\n\n**Final Answer:**\n\\[\n\\boxed{120 \\text{ pounds}}\n\\]"
    assert condense_summary(summary, read_answer("120 \\text{ pounds}")) == (
        "**Final Answer:**\n\\[\n\\boxed{120 \\text{ pounds}}\n\\]"
    )
