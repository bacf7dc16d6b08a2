"""Responses split and joined, with tokenizers whose templates behave as those of R1-Distill's revisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import PreTrainedTokenizerFast

from drp.config.sections import EvalModel, StudentSettings
from drp.errors import InputError
from drp.student.response import (
    ChatFormat,
    count_tokens,
    join_response,
    load_tokenizer,
    split_response,
    unify_tags,
)
from tests.tiny import R1_NEWER, R1_OLDER, R1_TOKENS, build_tokenizer

BOS, EOS, USER, ASSISTANT = R1_TOKENS


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(R1_NEWER)


@pytest.mark.parametrize(
    ("response", "parts"),
    [
        ("1 + 1 = 2\n</think>\n\nThe answer is 2.", ("1 + 1 = 2", "The answer is 2.")),
        ("<think>\n1 + 1 = 2\n</think>\n\n2", ("1 + 1 = 2", "2")),
        ("<think></think>2", ("", "2")),
        ("still thinking: \\boxed{2}", ("still thinking: \\boxed{2}", "")),
        ("a</think>b</think>c", ("a", "b</think>c")),
        ("", ("", "")),
    ],
)
def test_a_response_is_thinking_and_summary(response: str, parts: tuple[str, str]) -> None:
    assert split_response(response) == parts


@given(st.text().map(str.strip), st.text().map(str.strip))
def test_what_was_joined_splits_again(thinking: str, summary: str) -> None:
    if "</think>" not in thinking and not thinking.startswith("<think>"):
        assert split_response(join_response(thinking, summary)) == (thinking, summary)


def test_the_prompt_has_bos_once_and_ends_where_the_response_begins(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = ChatFormat(tokenizer).prompt_ids("1+1?")
    assert tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id, "this tokenizer must be able to double BOS"
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids) == f"{BOS}{USER}1+1?{ASSISTANT}<think>\n"


@pytest.mark.parametrize("response", ["so 2\n</think>\n\n2", "<think>\nso 2\n</think>\n\n2"])
@pytest.mark.parametrize("template", [R1_NEWER, R1_OLDER])
def test_prompt_and_response_hold_one_opening_tag(template: str, response: str) -> None:
    format = ChatFormat(build_tokenizer(template))
    whole = format.prompt_text("1+1?") + format.response_text(response)
    assert whole == f"{BOS}{USER}1+1?{ASSISTANT}<think>\nso 2\n</think>\n\n2"


def test_thinking_tokens_end_at_the_closing_tag(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("abc</think>de", add_special_tokens=False)["input_ids"]
    assert ChatFormat(tokenizer).count_thinking_tokens(ids) == 3
    assert ChatFormat(tokenizer).count_thinking_tokens(ids[:2]) == 2
    assert count_tokens(tokenizer, "abc</think>de") == 6


@pytest.mark.parametrize(
    ("response", "unified"),
    [
        ("[THINK]a[/THINK]b", "<think>a</think>b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "<think>a</think>b"),
        ("<think>\na\n</think>\n\nb", "<think>\na\n</think>\n\nb"),
        ("a</think>[/THINK] is a tag", "a</think>[/THINK] is a tag"),
        ("[THINK]never closed", "<think>never closed"),
    ],
)
def test_known_tags_of_foreign_traces_are_recognized(response: str, unified: str) -> None:
    assert unify_tags(response) == unified


def test_prompt_settings_enter_the_fingerprint_only_where_they_are_set() -> None:
    earlier = {"model": "m", "revision": None, "trust_remote_code": False}
    assert StudentSettings(model="m").identity() == earlier
    assert StudentSettings(model="m", thinking_tags=("<think>", "</think>")).identity() == earlier
    changed = StudentSettings(model="m", system="Think.", template_kwargs={"enable_thinking": True})
    assert changed.identity() == {**earlier, "system": "Think.", "template_kwargs": {"enable_thinking": True}}
    assert EvalModel(model="m").identity() == {"model": "m", "revision": None, "adapter": None}
    own = EvalModel(model="n", prompt="{question}!")
    assert own.identity() == {"model": "n", "revision": None, "adapter": None, "prompt": "{question}!"}
    assert own.as_student(changed).changed_prompt() == {**changed.changed_prompt(), "prompt": "{question}!"}
    raw = EvalModel(model="n", chat=False, prompt="Q: {question}\nA:")
    assert raw.as_student(changed).changed_prompt() == {"chat": False, "prompt": "Q: {question}\nA:"}


@pytest.mark.parametrize("prompt", ["What?", "{question} {question}"])
def test_a_prompt_without_a_place_for_the_question_is_refused(prompt: str) -> None:
    with pytest.raises(ValidationError, match=r"expected \{question\} once"):
        StudentSettings(model="m", prompt=prompt)


def test_a_tokenizer_that_cuts_its_input_still_counts_all_of_it(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.backend_tokenizer.enable_truncation(max_length=2)
    assert count_tokens(tokenizer, "abcde") == 5


def test_an_unknown_student_is_one_clear_message() -> None:
    with pytest.raises(InputError, match=r"student\.model: cannot load a tokenizer from './no-such-model'"):
        load_tokenizer("./no-such-model")
