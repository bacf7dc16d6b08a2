"""What training leaves: `adapter/` and `merged/`, each filled under a temporary name and then put in its place.

Both hold the tokenizer that was trained with, chat template included, so that nobody serves the model with another.
`merged/` is a plain model folder for transformers and vLLM, in the type that the base's weights are stored in.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from drp.config.sections import StudentSettings
from drp.errors import DrpError, InputError
from drp.runs.jsonl import explain_os_errors
from drp.student.response import Tokenizer, load_tokenizer
from drp.training.examples import Example, encode
from drp.training.student import load_student


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


def save_adapter(model: Any, weights: dict[str, Tensor], tokenizer: Tokenizer, target: Path) -> None:
    """model: the PEFT model that was trained. weights: its adapter's, whole."""

    def write(folder: Path) -> None:
        # The embeddings were never trained, so the base's are right.
        model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card, a form with nothing filled in
        tokenizer.save_pretrained(folder)

    write_folder(target, write)


def merge_adapter(student: StudentSettings, adapter: Path) -> Any:
    """Base and adapter as one model on the CPU, in the type that the base's weights are stored in.

    The base comes from disk again: the one in memory may be rounded for training. Each layer is added up in float32 and
    rounded once.
    """
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = PeftModel.from_pretrained(load_student(student, "stored"), str(adapter), torch_device="cpu")
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            base = layer.get_base_layer()
            dtype = base.weight.dtype
            base.float()
            layer.merge(safe_merge=True)  # refuses weights that are not numbers
            base.to(dtype)
    return model.unload()


def put_back(student: StudentSettings, weights: dict[str, Tensor]) -> Any:
    """The student with all of its weights replaced, on the CPU, in the type that they were stored in."""
    model = load_student(student, "stored")
    model.load_state_dict(weights)
    return model


def save_merged(model: Any, tokenizer: Tokenizer, target: Path) -> None:
    """model: a plain model of transformers."""
    model.config.use_cache = True

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    write_folder(target, write)


def check_export(folder: Path, example: Example) -> None:
    """Raises DrpError where the saved tokenizer would not build the ids that were trained on."""
    again = encode(load_tokenizer(str(folder)), example.id, example.question, example.response)
    if again != example:
        raise DrpError(f"{folder}: its tokenizer does not build the ids that {example.id} was trained on")
