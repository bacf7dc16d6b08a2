"""How much memory a training takes, estimated before it starts, for one process and its device.

    weights      frozen weights as they are loaded: 4 or 2 bytes each, or about half a byte with `train.method` qlora
    trained      float32 weight, gradient and Adam's two moments: 16 bytes each
    activations  what autograd keeps of every layer for the backward pass, for the tokens of the largest micro-batch
    logits       4 bytes x response tokens x vocabulary; 6 in half precision, whose gradient is rounded

The activations are counted operation by operation for a Llama-like layer whose attention stores no matrix of scores, in
the way that Korthikanti et al. count GPT's (https://arxiv.org/abs/2205.05198, section 4.1); for other architectures the
result is approximate. The CUDA context, allocator caches and the interpreter are not counted.

    memory per process: 3.3 GiB weights, 281.8 MiB trained weights with gradients and optimizer state, ...
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from pydantic import BaseModel

from drp.config.sections import Config, TrainSettings
from drp.errors import DrpError, first_line
from drp.training.batches import CHUNK_TOKENS
from drp.training.examples import ExampleSelection
from drp.training.launch import count_processes
from drp.training.student import add_adapter, build_meta_model, choose_precision

# Bytes that one layer keeps of one token, per hidden (h), query (q), key-value (kv) and intermediate (i) unit, by
# training method and bytes per element. In float32:
#   both norms' inputs and outputs (4h), query, attention and the input of the output projection (3q), key and value
#   (2kv), gate, its SiLU, up and their product (4i); norms that are trained also keep what they normalized (2h).
# In half precision the norms still compute in float32. Where their outputs are in float32 too, because the weights are
# (qlora, full), each of the five projections that read one keeps a rounded copy of its own.
ACTIVATION_BYTES = {
    ("lora", 4): (16, 12, 8, 16),
    ("lora", 2): (12, 6, 4, 8),
    ("qlora", 4): (16, 12, 8, 16),
    ("qlora", 2): (18, 6, 4, 8),
    ("full", 4): (24, 12, 8, 16),
    ("full", 2): (26, 6, 4, 8),
}
TRAINED_BYTES = 16
LOGIT_BYTES = {4: 4, 2: 6}
"""Of one logit, by bytes per element: the gradient takes the logit's place (`batches.sum_loss`)."""
QUANTIZED_BYTES = 4.127 / 8
"""Of a 4-bit weight with its quantized constants (https://arxiv.org/abs/2305.14314, section 3)."""


class ModelShape(BaseModel):
    """Sizes of a student that the estimate depends on."""

    hidden: int
    query: int
    """Heads x head dimension."""
    key_value: int
    intermediate: int
    layers: int
    vocabulary: int
    weights: int
    """Of the base model."""
    linear: int
    """Weights that `qlora` quantizes: all linear layers but the head."""
    trained: int


class MemoryNeed(BaseModel):
    """What one process needs, in bytes, by purpose (see the module's docstring)."""

    weights: int
    trained: int
    activations: int
    logits: int
    n_tokens: int
    """Tokens of the largest possible micro-batch."""

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.activations + self.logits


class MemoryEstimate(BaseModel):
    """What one process needs, what is free, and what it would need with other settings. In bytes."""

    need: MemoryNeed
    free: int
    device: str
    alternatives: dict[str, int]
    """Settings with which the same optimizer steps need less memory, and the total with them."""

    @property
    def fits(self) -> bool:
        return self.need.total <= self.free

    def render(self) -> str:
        need = self.need
        lines = [
            f"memory per process: {format_bytes(need.weights)} weights, {format_bytes(need.trained)} trained weights "
            f"with gradients and optimizer state, {format_bytes(need.activations)} activations of at most "
            f"{need.n_tokens:,} tokens, {format_bytes(need.logits)} logits: {format_bytes(need.total)} of "
            f"{format_bytes(self.free)} free on {self.device}"
        ]
        if self.alternatives:
            totals = [f"{format_bytes(total)} with {name}" for name, total in self.alternatives.items()]
            lines.append(f"  the same steps would take {'; '.join(totals)}")
        if not self.fits:
            fix = "train.method=qlora, a smaller train.cutoff_tokens or more devices"
            if self.alternatives:
                fix = "one of the above"
            lines.append(f"  WARNING: by this estimate the training does not fit; try {fix}")
        return "\n".join(lines)


def estimate_memory(config: Config, selection: ExampleSelection) -> MemoryEstimate:
    """Estimate what a training on `selection` needs. Reads the model's configuration, but none of its weights."""
    settings = config.train
    shape = measure_shape(config)
    need = compute_need(shape, settings, selection)
    alternatives = {}
    for name, change in _list_savings(settings).items():
        total = compute_need(shape, settings.model_copy(update=change), selection).total
        if total < need.total:
            alternatives[name] = total
    free, device = measure_free(count_processes(settings))
    return MemoryEstimate(need=need, free=free, device=device, alternatives=alternatives)


def measure_shape(config: Config) -> ModelShape:
    base = build_meta_model(config.student)
    text = base.config.get_text_config()
    head = base.get_output_embeddings()  # type: ignore[no-untyped-call]
    layers = [part for part in base.modules() if isinstance(part, torch.nn.Linear) and part is not head]
    weights = trained = base.num_parameters()
    linear = sum(layer.weight.numel() for layer in layers)
    if config.train.method != "full":
        trained, _ = add_adapter(base, config.train.lora, config.seed).get_nb_trainable_parameters()
    heads = text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    return ModelShape(
        hidden=text.hidden_size,
        query=heads * head_dim,
        key_value=(getattr(text, "num_key_value_heads", None) or heads) * head_dim,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        weights=weights,
        linear=linear,
        trained=trained,
    )


def compute_need(shape: ModelShape, settings: TrainSettings, selection: ExampleSelection) -> MemoryNeed:
    size = 4 if choose_precision(settings.precision) == "fp32" else 2
    weights, trained = _count_weight_bytes(shape, settings, size)
    n_tokens, n_targets = _measure_largest_batch(settings, selection)
    n = count_processes(settings)
    if n > 1 and settings.strategy == "fsdp":
        # Two layers are whole at a time: the one that computes and the one that is fetched next.
        weights, trained = (weights / n + 2 * size * shape.weights / shape.layers), trained / n
    elif n > 1:
        trained += 4 * shape.trained  # DDP's buckets, in which gradients are exchanged
    return MemoryNeed(
        weights=round(weights),
        trained=round(trained),
        activations=n_tokens * _count_token_bytes(shape, settings, size),
        logits=(n_targets * LOGIT_BYTES[size] + 4 * min(n_targets, CHUNK_TOKENS)) * shape.vocabulary,
        n_tokens=n_tokens,
    )


def _count_weight_bytes(shape: ModelShape, settings: TrainSettings, size: int) -> tuple[float, float]:
    """Bytes of frozen weights, and of trained ones with gradients and optimizer state.

    size: bytes per element of the precision that computes.
    """
    if settings.method == "full":
        copies = 2.0 * shape.weights if size == 2 else 0.0  # autocast keeps a copy of each weight
        return copies, TRAINED_BYTES * shape.weights
    if settings.method == "qlora":
        return QUANTIZED_BYTES * shape.linear + 4 * (shape.weights - shape.linear), TRAINED_BYTES * shape.trained
    return float(size * shape.weights), TRAINED_BYTES * shape.trained


def _measure_largest_batch(settings: TrainSettings, selection: ExampleSelection) -> tuple[int, int]:
    """Tokens and response tokens of a micro-batch of the longest examples."""
    longest = sorted(map(len, selection.train), reverse=True)[: settings.batch_size]
    n_tokens = sum(longest) if settings.padding_free else longest[0] * settings.batch_size
    responses = sorted((len(example.response_ids) for example in selection.train), reverse=True)
    return n_tokens, sum(responses[: settings.batch_size])


def _count_token_bytes(shape: ModelShape, settings: TrainSettings, size: int) -> int:
    """Bytes that all layers together keep of one token."""
    costs = ACTIVATION_BYTES[settings.method, size]
    units = (shape.hidden, shape.query, shape.key_value, shape.intermediate)
    layer = sum(cost * unit for cost, unit in zip(costs, units, strict=True))
    if not settings.gradient_checkpointing:
        return shape.layers * layer
    # Only each layer's input is kept; one layer at a time is recomputed.
    return shape.layers * shape.hidden * (2 if size == 2 and settings.method == "lora" else 4) + layer


def _list_savings(settings: TrainSettings) -> dict[str, dict[str, Any]]:
    """Changes of settings that make the same optimizer steps with less memory."""
    n = settings.batch_size * settings.gradient_accumulation
    small: dict[str, Any] = {"batch_size": 1, "gradient_accumulation": n}
    checkpointed: dict[str, Any] = {"gradient_checkpointing": True}
    savings = {
        f"train.batch_size=1 and train.gradient_accumulation={n}": small,
        "train.gradient_checkpointing=true": checkpointed,
    }
    if settings.batch_size > 1 and not settings.gradient_checkpointing:
        savings["both"] = small | checkpointed
    return savings


def measure_free(processes: int) -> tuple[int, str]:
    """Bytes that are free for each of `processes`, and the device's name."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0], torch.cuda.get_device_name()
    return psutil.virtual_memory().available // processes, "the CPU"


def format_bytes(n_bytes: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes / 2**10:,.0f} KiB"


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch's messages say when an allocation fails, on a GPU or a CPU."""


@contextmanager
def explain_memory_errors(settings: TrainSettings) -> Iterator[None]:
    """Turn what torch raises when memory runs out into a DrpError with the settings that need less."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        reason = f" ({first_line(error)})" if str(error) else ""
        raise DrpError(f"train: memory ran out on {_describe_device()}{reason}; {_advise(settings)}") from error


def _describe_device() -> str:
    if not torch.cuda.is_available():
        return "the CPU"
    free, total = torch.cuda.mem_get_info()
    own = torch.cuda.memory_reserved()
    others = total - free - own
    return (
        f"{torch.cuda.get_device_name()}, of whose {format_bytes(total)} this process holds {format_bytes(own)} and "
        f"others, with what CUDA itself needs, {format_bytes(others)}"
    )


def _advise(settings: TrainSettings) -> str:
    advice = []
    if not settings.gradient_checkpointing:
        advice.append("train.gradient_checkpointing=true, with which the same command resumes from the last checkpoint")
    if settings.batch_size > 1:
        n = settings.batch_size * settings.gradient_accumulation
        advice.append(f"train.batch_size=1 with train.gradient_accumulation={n}, from the start (--overwrite)")
    if not advice:
        advice.append("train.method=qlora, a smaller train.cutoff_tokens, or train.strategy=fsdp on several GPUs")
    return f"set {'; or '.join(advice)}. `drp train --preview` estimates what a setting needs"
