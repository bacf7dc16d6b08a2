"""Write the student as a folder that transformers and vLLM load, in one rename so that readers never see half of it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2ForCausalLM

from scripts.tiny.tokenizer import save_tokenizer


def export(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Weights in bfloat16, tokenizer with its chat template, and a generation config that stops at EOS."""
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    student = copy.deepcopy(model).to(device="cpu", dtype=torch.bfloat16).eval()  # type: ignore[call-arg]
    student.config.use_cache = True
    student.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
    )
    student.save_pretrained(new)
    save_tokenizer(tokenizer, new)
    (new / "model.safetensors").chmod(0o644)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
