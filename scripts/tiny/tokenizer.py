"""A byte-level BPE tokenizer with DeepSeek-R1-Distill's special tokens, chat template and habits.

Like theirs it adds BOS to every text it encodes (so rendering the template and encoding the result with special tokens
gives BOS twice), splits numbers into digits, and keeps `<think>` and `</think>` as added tokens that decoding does not
skip. Any text can be encoded (in its NFC form): the alphabet is the
256 bytes, and there is no unknown token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BOS = "<｜begin▁of▁sentence｜>"
EOS = "<｜end▁of▁sentence｜>"
PAD = "<｜▁pad▁｜>"
SPECIAL = [BOS, EOS, PAD]
ADDED = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"]
"""Added but not special, as in DeepSeek-R1-Distill: decoding with `skip_special_tokens=True` keeps them."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's: words with the space before them, single digits, punctuation, line breaks. transformers puts this and NFC
in place of whatever a Qwen2 model's tokenizer says, so what is trained here and what is loaded later are the same."""

CHAT_TEMPLATE = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{{ bos_token }}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{{ message['content'] }}{%- endif %}"
    "{%- endfor %}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{%- endif %}"
    "{%- if message['role'] == 'assistant' and message['content'] is not none %}"
    "{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + eos_token }}"
    "{%- endif %}"
    "{%- endfor -%}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
)


def train_bpe(texts: Iterable[str], size: int) -> Tokenizer:
    """A BPE of `size` entries in all, added tokens included, learnt from `texts`."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(ADDED),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens([AddedToken(token, special=False, normalized=False) for token in ADDED])
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bpe.token_to_id(BOS))]
    )
    return bpe


def build_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """The trained tokenizer as transformers wants it."""
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=train_bpe(texts, size),
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        add_bos_token=True,
        add_eos_token=False,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        chat_template=CHAT_TEMPLATE,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save so that loading gives the same: `AutoTokenizer` takes Qwen2's class, whose unknown token must be off."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"tokenizer_class": "Qwen2Tokenizer", "unk_token": None, "add_bos_token": True, "add_eos_token": False}
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def encode_documents(
    tokenizer: PreTrainedTokenizerFast, documents: list[tuple[str, str]]
) -> list[tuple[int, list[int]]]:
    """(question, response) pairs as (number of prompt tokens, ids): BOS once, `<think>` opened, EOS at the end."""
    prompts = [f"{BOS}<｜User｜>{question}<｜Assistant｜><think>\n" for question, _ in documents]
    asked = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    answered = tokenizer([response for _, response in documents], add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id]
    return [(len(prompt), prompt + response + end) for prompt, response in zip(asked, answered, strict=True)]
