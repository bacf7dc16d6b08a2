"""What would teach the student something wrong is found before training."""

from dataclasses import replace

import pytest

from drp.config.sections import TrainSettings
from drp.errors import DrpError
from drp.training.examples import Example, ExampleSelection, encode_example
from drp.training.preflight import check_example, inspect_examples
from tests.training.tiny import R1_NEWER, R1_TOKENS, build_tokenizer

TOKENIZER = build_tokenizer(R1_NEWER)
BOS, EOS = (TOKENIZER.convert_tokens_to_ids(token) for token in R1_TOKENS[:2])
GOOD = encode_example(TOKENIZER, "p-0#0", "1+1?", "Hi.\n</think>\n\n2")


def test_a_good_example_passes_and_is_shown_with_its_loss_marked() -> None:
    shown = inspect_examples(ExampleSelection(train=[GOOD]), TOKENIZER, TrainSettings())
    assert shown.prompt == "<｜begin▁of▁sentence｜><｜User｜>1+1?<｜Assistant｜><think>\n"
    assert shown.target == "Hi.\n</think>\n\n2<｜end▁of▁sentence｜>"
    assert (shown.n_prompt_tokens, shown.n_response_tokens) == (len(GOOD.prompt_ids), len(GOOD.response_ids))
    assert "[[Hi." in shown.render()


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (replace(GOOD, response_ids=[]), "no token carries loss"),
        (replace(GOOD, response_ids=GOOD.response_ids[:-1]), "end-of-sequence"),
        (replace(GOOD, response_ids=[EOS, *GOOD.response_ids]), "end-of-sequence"),
        (replace(GOOD, prompt_ids=[BOS, *GOOD.prompt_ids]), "found 2"),
        (replace(GOOD, prompt_ids=[]), "prompt is empty"),
        (replace(GOOD, response_ids=[1] * 5000 + [EOS]), "more than train.cutoff_tokens 4096"),
    ],
)
def test_a_bad_example_is_refused_by_its_id(example: Example, message: str) -> None:
    with pytest.raises(DrpError, match=rf"p-0#0: .*{message}"):
        check_example(example, TOKENIZER, 4096)


def test_a_prompt_that_evaluation_would_not_build_is_refused() -> None:
    other = replace(GOOD, prompt_ids=GOOD.prompt_ids[:-1])
    with pytest.raises(DrpError, match="evaluation"):
        inspect_examples(ExampleSelection(train=[other]), TOKENIZER, TrainSettings())


def test_an_opening_tag_written_twice_is_refused() -> None:
    twice = replace(GOOD, response_ids=[TOKENIZER.convert_tokens_to_ids("<think>"), *GOOD.response_ids])
    with pytest.raises(DrpError, match="2 times"):
        inspect_examples(ExampleSelection(train=[twice]), TOKENIZER, TrainSettings())
