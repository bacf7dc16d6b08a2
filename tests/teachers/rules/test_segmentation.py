"""Which skill a clause shows, and how fine the steps are."""

import pytest

from drp.teachers.rules.reading import name_kind
from drp.teachers.rules.segmentation import SKILLS, name_skill, segment


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


def test_skill_segmentation_is_finer_than_the_default_one() -> None:
    thinking = (
        "First, I need to find the total. She has 20 hens and feeds each 3 cups. So, 20 x 3 = 60 cups. "
        "She gave 15 + 25 = 40 cups. So, 60 - 40 = 20 cups are left.\n\nTherefore, she needs 20 cups."
    )
    skill, default = segment(thinking, "skill"), segment(thinking, "default")
    assert len(skill) > len(default)
    assert all(step.skill in SKILLS for step in skill)
    assert all(step.skill is None for step in default)
