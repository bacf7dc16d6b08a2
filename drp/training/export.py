"""The results of a training, `adapter/` and `merged/`. Each is written under a temporary name and then renamed.

Both hold the tokenizer of the training, chat template included, so that the model is never served with another.
`merged/` is a plain model folder for transformers and vLLM, in the type in which the base's weights are stored.
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
from drp.student.response import Tokenizer, load_format
from drp.training.examples import Example, encode_example
from drp.training.student import load_student


def save_adapter(model: Any, weights: dict[str, Tensor], tokenizer: Tokenizer, target: Path) -> None:
    """Write `adapter/`.

    model: the PEFT model that was trained. weights: its adapter's; with FSDP, those of all processes.
    """

    def write(folder: Path) -> None:
        # The embeddings are not trained, so the adapter need not hold them.
        model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card, an empty form
        tokenizer.save_pretrained(folder)

    _write_folder(target, write)


def merge_adapter(student: StudentSettings, adapter: Path) -> Any:
    """Base and adapter as one model on the CPU, in the type in which the base's weights are stored.

    The base is loaded from disk again: the one in memory may be rounded for training. Each layer is added in float32
    and rounded once.
    """
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = PeftModel.from_pretrained(load_student(student, "stored"), str(adapter), torch_device="cpu")
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            base = layer.get_base_layer()
            dtype = base.weight.dtype
            base.float()
            layer.merge(safe_merge=True)  # raises for weights that are not finite
            base.to(dtype)
    return model.unload()


def replace_weights(student: StudentSettings, weights: dict[str, Tensor]) -> Any:
    """The student with all of its weights replaced by `weights`, on the CPU, in the type in which they were stored."""
    model = load_student(student, "stored")
    model.load_state_dict(weights)
    return model


def save_merged(model: Any, tokenizer: Tokenizer, target: Path) -> None:
    """Write `merged/`. model: a model of transformers, without an adapter."""
    model.config.use_cache = True

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    _write_folder(target, write)


def check_export(folder: Path, example: Example, student: StudentSettings) -> None:
    """Raises DrpError if the tokenizer saved in `folder` does not produce the ids of a training example."""
    saved = student.model_copy(update={"model": str(folder), "revision": None})
    again = encode_example(load_format(saved), example.id, example.question, example.response)
    if again != example:
        raise DrpError(f"{folder}: its tokenizer does not produce the ids that {example.id} was trained on")


def _write_folder(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new folder, then rename it to `target`, replacing an older one."""
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


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn what torch and safetensors raise on a full or broken disk into an InputError that says what to do."""
    try:
        with explain_os_errors(path):
            yield
    except (SafetensorError, RuntimeError) as error:
        text = str(error)
        if not any(sign in text for sign in ("I/O error", "No space", "PytorchStreamWriter", "inline_container")):
            raise
        free = shutil.disk_usage(path if path.exists() else path.parent).free
        raise InputError(
            f"{path}: cannot be written ({text.splitlines()[0]}); {free >> 20} MiB are free on its disk; make room and "
            "run the same command again: training resumes from its last checkpoint"
        ) from error
