"""Where clauses end, what they do, which skill they show, and which numbers they state."""

import pytest

from drp.teachers.clauses import split_clauses, split_sentences
from drp.teachers.numbers import find_quantities
from drp.teachers.rules.reading import Kind, find_results, name_kind, strip_interjections
from drp.teachers.rules.rewriting import shorten_phrases
from drp.teachers.rules.segmentation import SKILLS, name_skill, segment


@pytest.mark.parametrize(
    "whole",
    [
        "The price is 1,200 dollars for 3.5 kg, e.g. in bulk.",
        "We have \\( x = 1. Then y \\) here.",
        "So \\[ a = 1. \n\n B = 2. \\]",
        "So $a. B = 2. C$ holds.",
        "\\begin{align} a = 1. \n B = 2. \\end{align}",
        "**First. Second part** of it.",
        "Mr. Smith paid.",
    ],
)
def test_nothing_is_cut_inside_numbers_formulas_bold_and_abbreviations(whole: str) -> None:
    assert [clause.text for clause in split_clauses(whole)] == [whole]


def test_amounts_of_money_are_no_formula() -> None:
    sentences = [clause.text for clause in split_sentences("It costs $5. He pays $6. Done.")]
    assert sentences == ["It costs $5. ", "He pays $6. ", "Done."]


def test_a_deduction_with_maths_on_both_sides_is_cut_at_its_connective() -> None:
    assert [c.text for c in split_clauses("5 x 8 = 40, so 40 - 14 = 26 are gone.")] == [
        "5 x 8 = 40, ",
        "so 40 - 14 = 26 are gone.",
    ]
    assert len(split_clauses("He was tired, so he went home.")) == 1


def test_a_line_that_introduces_a_displayed_formula_stays_with_it() -> None:
    assert len(split_clauses("That gives:\n\n\\[ x = 4 \\]")) == 1


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


@pytest.mark.parametrize(
    ("text", "skill"),
    [
        ("5 + 8 = 13", "Addition"),
        ("That leaves 40 - 14 = 26.", "Subtraction"),
        ("12 x 3, that is 12 multiplied by 3, is 36", "Multiplication"),
        ("300 / 60 = 5", "Division"),
        ("So 25% of 16 equals 4.", "Percentages"),
        ("To solve for x, add 4 to both sides: x = 9", "Solving an equation"),
        ("Let x be the number of pens, so x + 5 = 12.", "Setting up an equation"),
        ("The remainder of 17 modulo 5 is 17 - 15 = 2", "Modular arithmetic"),
        ("By the Pythagorean theorem, c = 5", "Applying a formula or theorem"),
        ("Wait, let me double-check.", "Verification"),
        ("Wait, no, that's not right.", "Backtracking"),
        ("She has 20 chickens.", "Reading a given quantity"),
    ],
)
def test_skills_are_those_that_a_mathematician_would_name(text: str, skill: str) -> None:
    assert name_skill(text, name_kind(text)) == skill
    assert skill in SKILLS


def test_numbers_have_one_spelling() -> None:
    assert find_quantities("1,200 and 20.00 and half of 40%") == {"1200", "20", "0.5", "40", "0.4"}
    assert "0.25" in find_quantities("\\frac{1}{4}")


def test_results_are_outcomes_and_not_operands() -> None:
    assert find_results("5 times 8 is 40") == {"40"}
    assert find_results("the number of pieces is 5 multiplied by 8") == set()
    assert find_results("4 (first ring) + 12 + 6 = 22 times.") == {"22"}


def test_skill_segmentation_is_finer_than_the_default_one() -> None:
    thinking = (
        "First, I need to find the total. She has 20 hens and feeds each 3 cups. So, 20 x 3 = 60 cups. "
        "She gave 15 + 25 = 40 cups. So, 60 - 40 = 20 cups are left.\n\nTherefore, she needs 20 cups."
    )
    skill, default = segment(thinking, "skill"), segment(thinking, "default")
    assert len(skill) > len(default)
    assert all(step.skill in SKILLS for step in skill)
    assert all(step.skill is None for step in default)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("So, 3 multiplied by $68 equals $204.", "So, 3 × $68 = $204."),
        ("60 cups minus 40 cups, resulting in 20 cups.", "60 cups - 40 cups = 20 cups."),
        ("Next, I'll multiply 23 by 4.", "Next, multiply 23 by 4."),
        ("First, I need to determine the cost of each glass.", "First, determine the cost of each glass."),
        ("Okay, so I need to find how many are left.", "I need to find how many are left."),
        ("The cost multiplied by the rate equals the tax.", "The cost multiplied by the rate equals the tax."),
    ],
)
def test_phrases_become_shorter_and_signs_stand_only_between_numbers(text: str, short: str) -> None:
    assert shorten_phrases(strip_interjections(text) if text.startswith("Okay") else text) == short
