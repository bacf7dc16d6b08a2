"""Where sentences and clauses end."""

import pytest

from drp.teachers.clauses import split_clauses, split_sentences


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
