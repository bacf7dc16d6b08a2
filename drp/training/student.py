"""The student as a model to train, by `train.method`: the base weights frozen (in 4 bits for qlora) with an adapter on
the linear layers, or all of its weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, set_seed

from drp.config.sections import Config, LoraSettings, StudentSettings
from drp.errors import ConfigError, InputError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "stored": "auto"}


def choose_precision(precision: str) -> str:
    """`train.precision` with `auto` resolved for this machine. Raises ConfigError for fp16 without a GPU."""
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("train.precision: `fp16` needs a GPU; use `fp32` or `auto`")
    if precision != "auto":
        return precision
    # Older GPUs emulate bf16, slower than fp32.
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def load_base(config: Config, precision: str, device: torch.device) -> PreTrainedModel:
    """The base model as `train.method` needs it, on `device`."""
    method = config.train.method
    if method == "qlora":
        return _load_quantized(config.student, precision, device)
    # Updates of the size of 3e-5 would be lost in the 8 significant bits of bfloat16: full training keeps all weights
    # in float32, and autocast computes in `precision`.
    model = load_student(config.student, "fp32" if method == "full" else precision)
    model.to(device)  # type: ignore[arg-type]
    return model


def _load_quantized(student: StudentSettings, precision: str, device: torch.device) -> PreTrainedModel:
    """QLoRA's base (https://arxiv.org/abs/2305.14314): NF4, with the quantization constants quantized too."""
    from peft import prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=DTYPES[precision],
    )
    model = load_student(student, precision, quantization_config=quantization, device_map={"": device})
    layer: Any
    for layer in model.modules():
        # On a CPU, bitsandbytes would repack the weights at the first validation, for a kernel without a gradient.
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    # Casts layer norms, embeddings and head to float32. The Trainer itself turns gradient checkpointing on.
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)  # type: ignore[no-any-return]


def load_student(student: StudentSettings, precision: str, **options: Any) -> PreTrainedModel:
    """The base model with its weights in `precision`; `stored`: in the type in which they are stored.

    options: passed on to `from_pretrained`. Raises InputError if the model cannot be loaded.
    """
    source = _get_source(student)
    with _explain_loading(student):
        config = AutoConfig.from_pretrained(**source)
        model = AutoModelForCausalLM.from_pretrained(config=config, dtype=DTYPES[precision], **source, **options)
    model.config.use_cache = False
    return model


def build_meta_model(student: StudentSettings) -> PreTrainedModel:
    """The base model on torch's meta device: shapes, but no weights. Raises InputError if it cannot be loaded."""
    with _explain_loading(student), torch.device("meta"):
        config = AutoConfig.from_pretrained(**_get_source(student))
        build: Any = AutoModelForCausalLM.from_config
        model: PreTrainedModel = build(config, trust_remote_code=student.trust_remote_code)
        return model


def _get_source(student: StudentSettings) -> dict[str, Any]:
    # A folder's path is made absolute, because the adapter's config names its base by this path.
    name = str(Path(student.model).resolve()) if Path(student.model).is_dir() else student.model
    return {
        "pretrained_model_name_or_path": name,
        "revision": student.revision,
        "trust_remote_code": student.trust_remote_code,
    }


@contextmanager
def _explain_loading(student: StudentSettings) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"student.model: cannot load a model from {student.model!r}: {reason}") from None


def add_adapter(model: PreTrainedModel, lora: LoraSettings, seed: int) -> Any:
    """Returns a PEFT model: `model` with a LoRA adapter in float32, initialized with the seed. Raises ConfigError for
    unknown targets."""
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


def skip_input_casts(model: Any) -> None:
    """Keep PEFT from copying each adapted layer's input to float32, the type of the adapter's weights: under autocast
    the copy is rounded back at once, to the same values."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.cast_input_dtype_enabled = False
