"""The student as it is trained: its base weights frozen, an adapter on its linear layers."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, set_seed

from drp.errors import ConfigError, InputError
from drp.settings import LoraSettings, StudentSettings

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def choose_precision(precision: str) -> str:
    """`auto` resolved for this machine. Raises ConfigError for fp16 without a GPU."""
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("train.precision: `fp16` needs a GPU; use `fp32` or `auto`")
    if precision != "auto":
        return precision
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"


def load_student(student: StudentSettings, precision: str) -> tuple[PreTrainedModel, torch.dtype]:
    """The base model in the precision of training, and the type its own weights are stored in.

    Raises InputError where there is none.
    """
    # Absolute, because the adapter's config names its base by this path.
    name = str(Path(student.model).resolve()) if Path(student.model).is_dir() else student.model
    where = {"revision": student.revision, "trust_remote_code": student.trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(name, **where)
        model = AutoModelForCausalLM.from_pretrained(name, config=config, dtype=DTYPES[precision], **where)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"student.model: cannot load a model from {student.model!r}: {reason}") from None
    model.config.use_cache = False
    return model, config.dtype or torch.float32


def add_adapter(model: PreTrainedModel, lora: LoraSettings, seed: int) -> Any:
    """Wrap the model in a LoRA adapter, in float32, drawn with the seed. Raises ConfigError for unknown targets."""
    from peft import LoraConfig, get_peft_model

    set_seed(seed)
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, settings)
    except ValueError as error:
        raise ConfigError(f"train.lora.targets: {str(error).splitlines()[0]}") from None
