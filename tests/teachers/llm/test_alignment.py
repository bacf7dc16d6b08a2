"""Copied steps found again in their source."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp.teachers.llm.alignment import CopiedStep, align, align_words, fold
from drp.teachers.llm.reply import BadReply

words = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: bool(fold(text)))


@given(st.lists(words, min_size=1, max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_steps_that_copy_the_source_always_tile_it(texts: list[str], data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.text(" \n\t\u00a0", min_size=1), min_size=len(texts) + 1, max_size=len(texts) + 1))
    source = gaps[0] + "".join(text + gap for text, gap in zip(texts, gaps[1:], strict=True))
    spans = align(source, [CopiedStep("Step 0:", " ".join(text.split())) for text in texts])
    assert [spans[0][0], spans[-1][1]] == [0, len(source)]
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert [fold(source[start:end]) for start, end in spans] == [fold(text) for text in texts]


@given(words, words)
@settings(max_examples=200, deadline=None)
def test_a_step_that_differs_never_aligns(source: str, other: str) -> None:
    if fold(source) == fold(other):
        assert align(source, [CopiedStep("", other)]) == [(0, len(source))]
    else:
        with pytest.raises(BadReply):
            align(source, [CopiedStep("", other)])


def test_what_a_teacher_leaves_out_belongs_to_a_neighbouring_step() -> None:
    source = "First, I need 8 / 2. So, it is 4."
    found = align_words(source, [CopiedStep("Step 1:", "8 / 2"), CopiedStep("Step 2:", "It is 4")])
    assert [source[start:end] for start, end in found.spans] == ["First, I need 8 / 2. ", "So, it is 4."]
    assert found.coverage == pytest.approx(5 / 9)


def test_steps_begin_at_the_best_break_of_what_was_left_out() -> None:
    source = "We add 3 and 4 by hand. Hmm, okay, now we double 7 to get 14, which we were asked for."
    steps = [
        CopiedStep("", "We add 3 and 4"),
        CopiedStep("", "we double 7 to get 14"),
        CopiedStep("", "we were asked for"),
    ]
    assert [source[start:end] for start, end in align_words(source, steps).spans] == [
        "We add 3 and 4 by hand. ",
        "Hmm, okay, now we double 7 to get 14, ",
        "which we were asked for.",
    ]


def test_too_little_of_the_source_is_refused_with_what_is_missing() -> None:
    source = "We add 3 and 4. Then the long middle part of the reasoning goes on and on. We get 7."
    steps = [CopiedStep("", "We add 3 and 4."), CopiedStep("", "We get 7.")]
    with pytest.raises(BadReply, match=r"only 40% of the reasoning's words, at least 60% .*'Then the long middle part"):
        align_words(source, steps, 0.6)


def test_a_missing_end_is_refused() -> None:
    source = "We add 3 and 4. " * 20 + "And this is the end: " + "the last words count as well. " * 5
    with pytest.raises(BadReply, match="the end of the reasoning is missing, from 'And this"):
        align_words(source, [CopiedStep("", "We add 3 and 4. " * 20)], 0.6)


@given(st.lists(st.text(), min_size=1, max_size=4), st.text())
@settings(max_examples=200, deadline=None)
def test_any_steps_tile_any_source_or_are_refused(texts: list[str], source: str) -> None:
    try:
        spans = align_words(source, [CopiedStep("Step 0:", text) for text in texts]).spans
    except BadReply:
        return
    assert [spans[0][0], spans[-1][1]] == [0, len(source)]
    assert all(start < end for start, end in spans)
    assert all(before[1] == after[0] for before, after in pairwise(spans))
