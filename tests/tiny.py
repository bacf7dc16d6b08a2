"""A student small enough for a test: a random Qwen2 of two layers and a byte-level tokenizer with a real template."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from drp.config.sections import Config

# DeepSeek-R1-Distill's chat template, shortened: BOS from the template, thinking dropped from assistant turns. `{tail}`
# is what its newer revision appends to the generation prompt.
R1 = (
    "{{{{ bos_token }}}}{{% for m in messages %}}{{% if m.role == 'user' %}}<｜User｜>{{{{ m.content }}}}{{% else %}}"
    "<｜Assistant｜>{{{{ m.content.split('</think>')[-1] }}}}{{{{ eos_token }}}}{{% endif %}}{{% endfor %}}"
    "{{% if add_generation_prompt %}}<｜Assistant｜>{tail}{{% endif %}}"
)
R1_OLDER = R1.format(tail="")
R1_NEWER = R1.format(tail="{{ '<think>\\n' }}")
# Qwen3's, shortened: no BOS, thinking dropped from past turns, and an empty thinking block if it is switched off.
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content.split('</think>')[-1].lstrip('\\n') if m.role == 'assistant' else m.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)

R1_TOKENS = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>")
QWEN3_TOKENS = ("<|endoftext|>", "<|im_end|>", "<|im_start|>")
TAGS = ("<think>", "</think>")


def build_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """Bytes are the ids 0-255, in the order of their byte-level characters; then special tokens, then the tags."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(BPE(vocab={character: number for number, character in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    qwen3 = template == QWEN3
    special = QWEN3_TOKENS if qwen3 else R1_TOKENS
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    core.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    if not qwen3:  # as in R1-Distill: tokenizing with special tokens adds a second BOS
        bos = R1_TOKENS[0]
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
        )
    names = {"eos_token": special[1], "pad_token": special[0]} | ({} if qwen3 else {"bos_token": special[0]})
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template, **names)


def build_model(
    tokenizer: Any,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    hidden_size: int = 32,
    n_heads: int = 4,
    max_model_len: int = 512,
) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=n_heads,
        num_key_value_heads=n_heads // 2,
        max_position_embeddings=max_model_len,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config).to(dtype)
    for weight in model.parameters():  # Qwen2's small default spread would hide a wrong mask
        weight.data += 0.1 * torch.randn_like(weight)
    return model


def save_student(folder: Path, template: str = R1_NEWER, dtype: torch.dtype = torch.float32, **model: int) -> Path:
    """Write config, weights and tokenizer into `folder`. model: as for `build_model`."""
    tokenizer = build_tokenizer(template)
    build_model(tokenizer, dtype, **model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_record(number: int, **changes: Any) -> dict[str, Any]:
    """A line of pruned.jsonl, with the fields that training reads."""
    record: dict[str, Any] = {
        "id": f"p-{number}#0",
        "problem_id": f"p-{number}",
        "question": f"What is {number} + {number % 7}?",
        "answer": str(number + number % 7),
        "response": f"Let me see. {number} + {number % 7}. Wait, again.\n</think>\n\nIt is {number + number % 7}.",
        "pruned_response": f"{number} + {number % 7}.\n</think>\n\nThe answer is {number + number % 7}.",
        "correct": True,
        "finish_reason": "stop",
    }
    return record | changes


def make_config(student: Path, run_dir: Path, **train: Any) -> Config:
    settings = {
        "epochs": 2,
        "batch_size": 4,
        "gradient_accumulation": 2,
        "learning_rate": 5e-3,
        "validation_split": 0.1,
        "eval_steps": 4,
        "checkpoint_steps": 2,
        "lora": {"rank": 4, "alpha": 8},
    }
    return Config.model_validate({"run_dir": run_dir, "student": {"model": str(student)}, "train": settings | train})
