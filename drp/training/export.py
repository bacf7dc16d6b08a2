"""What training leaves: `adapter/` and `merged/`, each filled under a temporary name and then put in its place.

Both hold the tokenizer that was trained with, chat template included, so that nobody serves the model with another.
`merged/` is a plain model folder for transformers and vLLM, in the type that the base's weights are stored in.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from drp.artifacts import explain_os_errors
from drp.errors import DrpError, InputError
from drp.traces import Tokenizer, load_tokenizer
from drp.training.examples import Example, encode


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn what torch and safetensors raise on a full or broken disk into an InputError."""
    try:
        with explain_os_errors(path):
            yield
    except (SafetensorError, RuntimeError) as error:
        text = str(error)
        if not any(sign in text for sign in ("I/O error", "No space", "PytorchStreamWriter", "inline_container")):
            raise
        free = shutil.disk_usage(path if path.exists() else path.parent).free
        raise InputError(
            f"{path}: cannot be written ({text.splitlines()[0]}); {free >> 20} MiB are free there; make room and run "
            "the same command again: training goes on from its last checkpoint"
        ) from error


def write_folder(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a folder beside `target`, then put it in its place; an older one is replaced."""
    draft = target.with_name(f".{target.name}.draft")
    with explain_write_errors(target):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            write(draft)
            if target.exists():
                shutil.rmtree(target)
            draft.replace(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def save_adapter(model: Any, tokenizer: Tokenizer, target: Path) -> None:
    """model: the PEFT model that was trained."""

    def write(folder: Path) -> None:
        model.save_pretrained(folder, save_embedding_layers=False)  # never trained, so the base's are right
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card, a form with nothing filled in
        tokenizer.save_pretrained(folder)

    write_folder(target, write)


def save_merged(model: Any, tokenizer: Tokenizer, dtype: torch.dtype, target: Path) -> None:
    """Merge the adapter into the base weights and save them as `dtype`. The PEFT model is used up."""
    merged = model.merge_and_unload(safe_merge=True).to(dtype)
    merged.config.use_cache = True
    merged.config.dtype = dtype

    def write(folder: Path) -> None:
        merged.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    write_folder(target, write)


def check_export(folder: Path, example: Example) -> None:
    """Raises DrpError where the saved tokenizer would not build the ids that were trained on."""
    again = encode(load_tokenizer(str(folder)), example.id, example.question, example.response)
    if again != example:
        raise DrpError(f"{folder}: its tokenizer does not build the ids that {example.id} was trained on")
