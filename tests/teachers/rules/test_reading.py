"""What a clause does in the argument, and which numbers it states as results."""

import pytest

from drp.teachers.rules.reading import Kind, find_results, name_kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Okay, so I need to find the total cost.", Kind.GOAL),
        ("Hmm, let me think.", Kind.HEDGE),
        ("Wait, is that right?", Kind.HEDGE),
        ("Wait, no, that's not right.", Kind.RETRACTION),
        ("That seems right.", Kind.AFFIRMATION),
        ("Wait, let me double-check.", Kind.VERIFICATION),
        ("Alternatively, I could use a formula.", Kind.ALTERNATIVE),
        ("12 x 3 = 36", Kind.COMPUTATION),
        ("Therefore, the answer is 36.", Kind.CONCLUSION),
        ("Next, I'll calculate the cost of the pens.", Kind.PLAN),
        ("She has 20 chickens.", Kind.GIVEN),
        ("Let me figure out how many pens Ann has now.", Kind.GOAL),
        ("Hmm, I should take this one step at a time.", Kind.HEDGE),
        ("So far, so good.", Kind.HEDGE),
        ("So, here is what I know.", Kind.HEDGE),
        ("Wait, that doesn't make sense, because he buys more.", Kind.RETRACTION),
        ("Let me go over the calculations once more.", Kind.VERIFICATION),
    ],
)
def test_kinds_are_read_off_the_wording(text: str, kind: Kind) -> None:
    assert name_kind(text) is kind


def test_results_are_outcomes_and_not_operands() -> None:
    assert find_results("5 times 8 is 40") == {"40"}
    assert find_results("the number of pieces is 5 multiplied by 8") == set()
    assert find_results("4 (first ring) + 12 + 6 = 22 times.") == {"22"}
