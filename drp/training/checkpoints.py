"""The Trainer's checkpoints: `train/checkpoints/checkpoint-STEP`, there only while training is not finished."""

import json
import shutil
from pathlib import Path

from drp.errors import InputError
from drp.runs.jsonl import explain_os_errors

# What the Trainer writes last; a checkpoint without it was torn by a kill.
STATE = "trainer_state.json"


def find_checkpoint(folder: Path) -> tuple[Path, int] | None:
    """The last whole checkpoint and its optimizer step; torn ones are removed."""
    with explain_os_errors(folder):
        found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
        for path in found:
            step = _read_step(path / STATE)
            if step is not None:
                return path, step
            shutil.rmtree(path)
    return None


def is_sharded(checkpoint: Path) -> bool:
    """Whether its weights are in parts, as FSDP writes them; they go back into a model that is in parts only."""
    return any(checkpoint.glob("pytorch_model_fsdp*"))


def get_checkpoint(folder: Path, step: int) -> Path:
    """The checkpoint of an optimizer step. Raises InputError where it is gone."""
    path = folder / f"checkpoint-{step}"
    if not path.exists():
        raise InputError(f"{path}: is gone, and train.keep=best needs it; train again with --overwrite")
    return path


def _read_step(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text())["global_step"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def remove_checkpoints(folder: Path) -> None:
    with explain_os_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)
