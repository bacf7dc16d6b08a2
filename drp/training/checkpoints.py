"""The Trainer's checkpoints, `train/checkpoints/checkpoint-STEP`. They are removed once the training is finished."""

import json
import shutil
from pathlib import Path

from drp.errors import InputError
from drp.runs.jsonl import explain_os_errors

# The last file that the Trainer writes; without it, a kill has left the checkpoint incomplete.
STATE = "trainer_state.json"


def find_last_checkpoint(folder: Path) -> tuple[Path, int] | None:
    """The last complete checkpoint and its optimizer step; None if there is none. Incomplete ones are removed."""
    with explain_os_errors(folder):
        found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
        for path in found:
            try:
                return path, int(json.loads((path / STATE).read_text())["global_step"])
            except (FileNotFoundError, ValueError, KeyError):
                shutil.rmtree(path)
    return None


def get_checkpoint(folder: Path, step: int) -> Path:
    """The checkpoint of an optimizer step. Raises InputError if it is missing."""
    path = folder / f"checkpoint-{step}"
    if not path.exists():
        raise InputError(f"{path}: missing, but train.keep=best needs it; train again with --overwrite")
    return path


def is_sharded(checkpoint: Path) -> bool:
    """Whether FSDP wrote the checkpoint, in shards, which only a training with FSDP can load."""
    return any(checkpoint.glob("pytorch_model_fsdp*"))


def remove_checkpoints(folder: Path) -> None:
    with explain_os_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)
