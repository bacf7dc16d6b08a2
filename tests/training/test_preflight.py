"""Examples that would train the student on something wrong are refused before training."""

from dataclasses import replace

import pytest
from tokenizers import AddedToken, decoders, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast, __version__

from drp.config.sections import TrainSettings
from drp.errors import DrpError, InputError
from drp.student.response import ChatFormat
from drp.training.examples import Example, ExampleSelection, encode_example
from drp.training.preflight import check_example, check_round_trip, inspect_examples
from tests.tiny import R1_NEWER, R1_TOKENS, build_tokenizer

TOKENIZER = build_tokenizer(R1_NEWER)
FORMAT = ChatFormat(TOKENIZER)
BOS, EOS = (TOKENIZER.convert_tokens_to_ids(token) for token in R1_TOKENS[:2])
GOOD = encode_example(FORMAT, "p-0#0", "1+1?", "Hi.\n</think>\n\n2")


def test_a_good_example_passes_and_is_shown_with_its_loss_marked() -> None:
    shown = inspect_examples(ExampleSelection(train=[GOOD]), FORMAT, TrainSettings())
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
def test_a_bad_example_is_refused_with_its_id(example: Example, message: str) -> None:
    with pytest.raises(DrpError, match=rf"p-0#0: .*{message}"):
        check_example(example, TOKENIZER, 4096)


def test_a_prompt_that_evaluation_would_not_build_is_refused() -> None:
    other = replace(GOOD, prompt_ids=GOOD.prompt_ids[:-1])
    with pytest.raises(DrpError, match="evaluation"):
        inspect_examples(ExampleSelection(train=[other]), FORMAT, TrainSettings())


def test_an_opening_tag_written_twice_is_refused() -> None:
    twice = replace(GOOD, response_ids=[TOKENIZER.convert_tokens_to_ids("<think>"), *GOOD.response_ids])
    with pytest.raises(DrpError, match="2 times"):
        inspect_examples(ExampleSelection(train=[twice]), FORMAT, TrainSettings())


def check(tokenizer: PreTrainedTokenizerFast, response: str, question: str = "What is 12 * 5?") -> None:
    format = ChatFormat(tokenizer)
    check_round_trip(encode_example(format, "p-1#0", question, response), format)


def build_lossy_tokenizer() -> PreTrainedTokenizerFast:
    """Loaded as transformers 5.6.0 and 5.7.0 load R1-Distill's: a byte-level vocabulary, in which "▁" is unknown."""
    tokenizer = build_tokenizer(R1_NEWER)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.backend_tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def test_a_tokenizer_that_loses_spaces_is_refused_with_the_version_and_the_text() -> None:
    with pytest.raises(InputError, match=r"^p-1#0: .*'So 12 \* 5 is.*'So12\*5is") as caught:
        check(build_lossy_tokenizer(), "So 12 * 5 is 60.\n</think>\n\n60", question="12*5?")
    assert f"with transformers {__version__}" in str(caught.value)


def test_text_lost_from_the_question_is_found_too() -> None:
    with pytest.raises(InputError, match=r"What is 12.*Whatis12"):
        check(build_lossy_tokenizer(), "60")


def test_every_example_is_checked_for_lost_text() -> None:
    format = ChatFormat(build_lossy_tokenizer())
    good, bad = (encode_example(format, id, "1+1?", text) for id, text in (("a", "2"), ("b", "It is 2.")))
    with pytest.raises(InputError, match=r"^b: .*'It is 2\.'"):
        inspect_examples(ExampleSelection(train=[good], validation=[bad]), format, TrainSettings())


@pytest.mark.parametrize(
    "response", ["  So  12 *\t5\r\n= 60 é ½ 🙂 \u200b.\n</think>\n\n60 ", "no tag", "x\n</think>\n\n"]
)
def test_a_byte_level_tokenizer_loses_no_text(response: str) -> None:
    check(TOKENIZER, response, question=f"Is it {response}?")


def test_unicode_normalization_counts_as_no_loss() -> None:
    tokenizer = build_tokenizer(R1_NEWER)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    format = ChatFormat(tokenizer)
    example = encode_example(format, "p-1#0", "Cafe\u0301?", "a cafe\u0301\n</think>\n\n60")
    assert tokenizer.decode(example.response_ids[:-1]) != example.response
    check_round_trip(example, format)


def test_white_space_dropped_beside_an_added_token_counts_as_no_loss() -> None:
    tokenizer = build_tokenizer(R1_NEWER)
    tokenizer.add_tokens([AddedToken("<step>", lstrip=True, rstrip=True, normalized=False)])
    format = ChatFormat(tokenizer)
    example = encode_example(format, "p-1#0", "1 + 1?", "one \n<step> two\n</think>\n\n2")
    assert "one<step>two" in tokenizer.decode(example.response_ids)
    check_round_trip(example, format)
