"""Responses taken apart and put together, against tokenizers whose templates behave as R1-Distill's revisions do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from drp.errors import InputError
from drp.student.response import (
    count_thinking_tokens,
    count_tokens,
    join_response,
    load_tokenizer,
    prompt_ids,
    prompt_text,
    response_text,
    split_response,
)

NEWER = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<|User|>{{ m.content }}{% else %}"
    "<|Assistant|>{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
OLDER = NEWER.replace("<think>\n{% endif %}", "{% endif %}")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    byte_level = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    byte_level.add_special_tokens(["<s>", "</s>", "<|User|>", "<|Assistant|>"])
    byte_level.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    bos = byte_level.token_to_id("<s>")
    byte_level.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    fast = PreTrainedTokenizerFast(tokenizer_object=byte_level, bos_token="<s>", eos_token="</s>")
    fast.chat_template = NEWER
    return fast


@pytest.mark.parametrize(
    ("response", "parts"),
    [
        ("1 + 1 = 2\n</think>\n\nThe answer is 2.", ("1 + 1 = 2", "The answer is 2.", True)),
        ("<think>\n1 + 1 = 2\n</think>\n\n2", ("1 + 1 = 2", "2", True)),
        ("<think></think>2", ("", "2", True)),
        ("still thinking: \\boxed{2}", ("still thinking: \\boxed{2}", "", False)),
        ("a</think>b</think>c", ("a", "b</think>c", True)),
        ("", ("", "", False)),
    ],
)
def test_a_response_is_thinking_and_summary(response: str, parts: tuple[str, str, bool]) -> None:
    assert split_response(response) == parts


@given(st.text().map(str.strip), st.text().map(str.strip))
def test_what_was_joined_splits_again(thinking: str, summary: str) -> None:
    if "</think>" not in thinking and not thinking.startswith("<think>"):
        assert split_response(join_response(thinking, summary)) == (thinking, summary, True)


def test_the_prompt_has_bos_once_and_ends_where_the_response_begins(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = prompt_ids(tokenizer, "1+1?")
    assert tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id, "this tokenizer must be able to double BOS"
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids) == "<s><|User|>1+1?<|Assistant|><think>\n"


@pytest.mark.parametrize("response", ["so 2\n</think>\n\n2", "<think>\nso 2\n</think>\n\n2"])
@pytest.mark.parametrize("template", [NEWER, OLDER])
def test_prompt_and_response_hold_one_opening_tag(
    tokenizer: PreTrainedTokenizerFast, template: str, response: str
) -> None:
    tokenizer.chat_template = template
    whole = prompt_text(tokenizer, "1+1?") + response_text(tokenizer, "1+1?", response)
    tokenizer.chat_template = NEWER
    assert whole == "<s><|User|>1+1?<|Assistant|><think>\nso 2\n</think>\n\n2"


def test_thinking_tokens_end_at_the_closing_tag(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("abc</think>de", add_special_tokens=False)["input_ids"]
    assert count_thinking_tokens(tokenizer, ids) == 3
    assert count_thinking_tokens(tokenizer, ids[:2]) == 2
    assert count_tokens(tokenizer, "abc</think>de") == 6


def test_a_tokenizer_that_cuts_its_input_still_counts_all_of_it(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.backend_tokenizer.enable_truncation(max_length=2)
    assert count_tokens(tokenizer, "abcde") == 5


def test_an_unknown_student_is_one_clear_message() -> None:
    with pytest.raises(InputError, match=r"student\.model: cannot load a tokenizer from './no-such-model'"):
        load_tokenizer("./no-such-model")
