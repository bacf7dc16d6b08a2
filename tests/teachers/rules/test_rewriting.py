"""The shorter phrases of the offline teacher."""

import pytest

from drp.teachers.rules.reading import strip_interjections
from drp.teachers.rules.rewriting import shorten_phrases


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
