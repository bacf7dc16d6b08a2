"""Kept and changed steps put together again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp.records import Action, Edit
from drp.teachers.checks import check_edits
from drp.teachers.llm.spans import assemble
from tests.teachers.llm.cases import make_steps


def build(texts: list[str], actions: str) -> str:
    """K keeps, D deletes, R rewrites to 'New.'."""
    steps = make_steps(*texts)
    verbs = {"K": Action.KEEP, "D": Action.DELETE, "R": Action.REWRITE}
    contents = {"K": lambda step: step.text, "D": lambda step: "", "R": lambda step: "New."}
    edits = [
        Edit(action=verbs[letter], sources=[index], text=contents[letter](step))
        for index, (step, letter) in enumerate(zip(steps, actions, strict=True))
    ]
    assert check_edits(steps, edits) == []
    return assemble(steps, edits)


@pytest.mark.parametrize(
    ("texts", "actions", "result"),
    [
        (["A b. ", "C d.\n\n", "E f."], "KKK", "A b. C d.\n\nE f."),
        (["A b. ", "C d.\n\n", "E f."], "KDK", "A b.\n\nE f."),
        (["A b.\n", "C d. ", "E f."], "KDK", "A b.\nE f."),
        (["A b. ", "C d. ", "E f."], "KRK", "A b. New. E f."),
        (["3 +", "4 = 7"], "KK", "3 +4 = 7"),
        (["3 +", "4 = 7"], "RK", "New. 4 = 7"),
        (["She has 3, ", "let me see.\n", "and buys 4."], "KDK", "She has 3.\nAnd buys 4."),
        (["Well, ", "she has 3."], "DK", "She has 3."),
        (["Well, ", "x is 3."], "DK", "x is 3."),
        (["She has 3, ", "I think."], "KD", "She has 3. "),
        (["She has 3, ", "I think, ", "and 4."], "KDK", "She has 3, and 4."),
        (["A. ", "B."], "DD", ""),
    ],
)
def test_kept_and_changed_steps_join_as_sentences(texts: list[str], actions: str, result: str) -> None:
    assert build(texts, actions) == result


@given(st.lists(st.text(min_size=1), min_size=1, max_size=10))
@settings(max_examples=100, deadline=None)
def test_keeping_everything_changes_nothing(texts: list[str]) -> None:
    texts = [text for text in texts if text.strip() and text == text.lstrip()] or ["a"]
    assert build(texts, "K" * len(texts)) == "".join(texts)
