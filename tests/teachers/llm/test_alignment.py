"""Copied steps found again in their source."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drp.teachers.llm.alignment import CopiedStep, align, fold
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
