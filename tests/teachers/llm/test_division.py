"""Long traces cut to fit the output limit."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp.teachers.llm.division import bound_tokens, divide, estimate_tokens, halve, pack


@given(st.text(max_size=400), st.integers(1, 60))
@settings(max_examples=150, deadline=None)
def test_division_tiles_the_text_with_parts_that_are_not_blank(text: str, limit: int) -> None:
    spans = divide(text, limit, bound_tokens)
    assert [spans[0][0], spans[-1][1]] == [0, len(text)]
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert len(spans) == 1 or all(text[start:end].strip() for start, end in spans)


def test_division_cuts_between_paragraphs_and_within_them_only_when_it_must() -> None:
    paragraph = "So 3 + 4 = 7. Then 7 * 2 = 14.\n\n"
    text = paragraph * 40
    parts = [text[start:end] for start, end in divide(text, 200, bound_tokens)]
    assert all(part.endswith("\n\n") and bound_tokens(part) <= 200 for part in parts)
    assert max(map(len, parts)) <= 2 * min(map(len, parts))
    long = "Then 7 * 2 = 14. " * 100
    assert all(bound_tokens(long[a:b]) <= 200 for a, b in divide(long, 200, bound_tokens))
    assert all(bound_tokens("x7" * 3000) > b - a for a, b in divide("x7" * 3000, 200, bound_tokens))


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 100))
@settings(deadline=None)
def test_packing_keeps_order_and_limit(sizes: list[int], limit: int) -> None:
    groups = pack(sizes, limit)
    assert [index for group in groups for index in group] == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in group) <= limit or len(group) == 1 for group in groups)


def test_a_text_is_halved_at_a_paragraph_if_it_has_any() -> None:
    text = "So 3 + 4 = 7.\n\n" * 9
    halves = [text[start:end] for start, end in halve(text, bound_tokens)]
    assert [half.count("7") for half in halves] == [5, 4]
    assert halve("one", bound_tokens) == [(0, 3)]


@pytest.mark.parametrize(
    ("text", "n_gpt4o"),
    [
        ("First, I need to determine the total number of eggs Janet's ducks lay each day, which is 16.", 23),
        ("Step 1: So \\(16 - 3 - 4 = 9\\) eggs are left, and 9 * $2 = $18.\nSkill: Multiplication\n", 37),
        ("1-3 | Interpreting a quantity\n4 | Division\n5-12 | Checking a condition\n13-14 | Simplifying", 28),
    ],
)
def test_tokens_are_estimated_about_as_gpt_4o_counts_them(text: str, n_gpt4o: int) -> None:
    assert estimate_tokens(text) == pytest.approx(n_gpt4o, rel=0.15)
