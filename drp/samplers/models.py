"""A look at a model before an engine is started for it: a wrong name costs a second then, not a minute."""

import json
from pathlib import Path
from typing import Any

from drp.errors import InputError

HUB_TIMEOUT_S = 10.0


def read_model_config(model: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """transformers' configuration of a model: a local folder, one in the hub's cache, or one on the hub.

    Raises InputError naming `student.model` where there is no such model, the hub cannot be reached, or the folder
    holds no model.
    """
    from transformers import AutoConfig

    # `revision=None` is taken by hub functions for the default branch.
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    local = Path(model).is_dir()
    try:
        return AutoConfig.from_pretrained(model, local_files_only=True, **options)
    except ValueError as error:
        raise InputError(f"student.model: cannot read the model {model!r}: {_first_line(error)}") from None
    except OSError as error:
        if local or Path(model).is_absolute():
            raise InputError(f"student.model: {_explain_folder(model, error)}") from None
    # transformers would try five times with growing pauses; one question to the hub tells the same.
    _check_hub(model, revision)
    try:
        return AutoConfig.from_pretrained(model, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"student.model: cannot read the configuration of {model!r}: {_first_line(error)}") from None


def read_rank(adapter: str) -> int:
    """The rank of a LoRA adapter in a folder. Raises InputError where there is none."""
    path = Path(adapter) / "adapter_config.json"
    if not path.exists():
        raise InputError(f"eval.models: {adapter!r} holds no adapter_config.json, so no adapter; name `train/adapter`")
    rank = json.loads(path.read_text()).get("r")
    if not isinstance(rank, int):
        raise InputError(f"eval.models: {path} names no rank `r`, so {adapter!r} is no LoRA adapter; merge it first")
    return rank


def count_parameters(model: str) -> int | None:
    """About how many parameters a local model has, by its safetensors files; None for models that are not local."""
    sizes = [path.stat().st_size for path in Path(model).glob("*.safetensors")] if Path(model).is_dir() else []
    return sum(sizes) // 2 if sizes else None


def _explain_folder(model: str, error: Exception) -> str:
    path = Path(model)
    if not path.exists():
        return f"there is no folder {model!r}"
    if not (path / "config.json").exists():
        return f"{model!r} holds no config.json, so no model; name the folder that save_pretrained wrote"
    return f"cannot read the model in {model!r}: {_first_line(error)}"


def _check_hub(model: str, revision: str | None) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    missing = f"student.model: {model!r} is no folder here"
    try:
        HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT_S)
    except HFValidationError:
        raise InputError(f"{missing}, and no name that a model on the hub could have") from None
    except HfHubHTTPError as error:
        hint = "check the name and the revision; for a private or gated model, `hf auth login`"
        raise InputError(f"{missing}, and the hub refuses it ({_first_line(error)}): {hint}") from None
    except Exception as error:  # the hub's HTTP client, and so its errors, differ between versions
        hint = "download it where there is a network and name the folder"
        raise InputError(f"{missing}, and the hub cannot be reached ({_first_line(error)}): {hint}") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
