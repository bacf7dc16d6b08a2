"""Token ids into completions, and the limit of a response."""

import pytest

from drp.student.base import GeneratedTokens, Rejection, SamplingRequest, derive_seed, limit_response, read_completion
from drp.student.response import ChatFormat, load_tokenizer


@pytest.fixture
def own_tokenizer(student):
    """One that a test may change."""
    return load_tokenizer(str(student))


def test_counts_the_end_token_but_does_not_show_it(tokenizer):
    ids = tokenizer("So 12.\n</think>\n\n12", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    completion = read_completion(GeneratedTokens("a", ids, "stop"), ChatFormat(tokenizer))
    assert completion.text == "So 12.\n</think>\n\n12"
    assert completion.n_tokens == len(ids)
    assert completion.n_thinking_tokens == ids.index(tokenizer.convert_tokens_to_ids("</think>"))


def test_all_tokens_are_thinking_where_the_tag_never_came(tokenizer):
    ids = tokenizer("So 12", add_special_tokens=False)["input_ids"]
    drawn = GeneratedTokens("a", ids, "length")
    assert read_completion(drawn, ChatFormat(tokenizer)).n_thinking_tokens == len(ids)


def test_closing_tag_stays_in_a_tokenizer_that_calls_it_special(own_tokenizer):
    own_tokenizer.add_special_tokens({"extra_special_tokens": ["</think>"]})
    ids = own_tokenizer("a</think>b", add_special_tokens=False)["input_ids"] + [own_tokenizer.eos_token_id]
    assert "</think>" in own_tokenizer.all_special_tokens
    assert ChatFormat(own_tokenizer).decode_response(ids) == "a</think>b"


@pytest.mark.parametrize(("n_prompt", "expected"), [(10, 50), (60, 40), (99, 1)])
def test_response_gets_its_limit_or_what_the_prompt_leaves(n_prompt, expected):
    assert limit_response(SamplingRequest("a", [1] * n_prompt), 50, 100) == expected


@pytest.mark.parametrize(
    ("n_prompt", "reason"), [(0, "empty prompt"), (100, "prompt too long"), (101, "prompt too long")]
)
def test_prompt_that_leaves_no_token_is_rejected(n_prompt, reason):
    rejection = limit_response(SamplingRequest("a", [1] * n_prompt), 50, 100)
    assert isinstance(rejection, Rejection)
    assert (rejection.id, rejection.reason) == ("a", reason)


def test_resumed_stream_has_other_random_numbers():
    assert derive_seed(0, "q0#0") != derive_seed(0, "q0#1")
    assert derive_seed(0, "q0#0") == derive_seed(0, "q0#0")
