"""How much memory a training takes, estimated before it starts, for one process and its device.

    weights      frozen ones as they are loaded: 4, 2 or, with `train.method` qlora, about half a byte each
    trained      float32 weight, gradient and Adam's two moments: 16 bytes each
    activations  what autograd keeps of every layer for the backward pass, for the tokens of the largest micro-batch
    logits       12 bytes x response tokens x vocabulary: in the backward pass, log-probabilities and two gradients

The activations are counted operation by operation for a Llama-like layer whose attention keeps no matrix of scores, as
Korthikanti et al. count GPT's (https://arxiv.org/abs/2205.05198, section 4.1); other architectures come out roughly
right. What a process takes beside that (CUDA context, caches, the interpreter) is not counted.
"""

from typing import Any

import torch
from pydantic import BaseModel

from drp.settings import Config, TrainSettings
from drp.training.examples import Selection
from drp.training.launch import count_processes
from drp.training.student import add_adapter, build_skeleton, choose_precision

# What a layer keeps of a token, in bytes: so many for each hidden, query, key-value and intermediate unit. In float32:
#   both norms' inputs and outputs (4h), query, attention and what the output projection reads (3q), key and value
#   (2kv), gate, its SiLU, up and their product (4i); norms that are trained also keep what they normalized (2h).
# In half precision the norms still compute in float32, and each of the five projections that read a norm's output keeps
# a copy of its own.
PER_LAYER = {
    ("adapter", 4): (16, 12, 8, 16),
    ("adapter", 2): (18, 6, 4, 8),
    ("full", 4): (24, 12, 8, 16),
    ("full", 2): (26, 6, 4, 8),
}
TRAINED = 16
LOGITS = 12
QUANTIZED = 4.127 / 8
"""Bytes a weight of 4 bits with its quantized constants (https://arxiv.org/abs/2305.14314, section 3)."""


class Shape(BaseModel):
    """What the estimate needs to know of a student."""

    hidden: int
    query: int
    key_value: int
    intermediate: int
    layers: int
    vocabulary: int
    weights: int
    """Of the base."""
    linear: int
    """Those that `qlora` quantizes: all linear layers but the head."""
    trained: int


class Memory(BaseModel):
    """In bytes, for one process."""

    weights: int
    trained: int
    activations: int
    logits: int
    n_tokens: int
    """Of the largest micro-batch that can occur."""

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.activations + self.logits


class Forecast(BaseModel):
    """What a training takes, what is there, and what it would take otherwise."""

    memory: Memory
    free: int
    device: str
    others: dict[str, int]
    """Settings under which the same steps take less, and their total."""

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.free

    def render(self) -> str:
        need, others = self.memory, [f"{show(total)} with {name}" for name, total in self.others.items()]
        lines = [
            f"memory a process: {show(need.weights)} weights, {show(need.trained)} trained weights with gradients and "
            f"optimizer, {show(need.activations)} activations of at most {need.n_tokens:,} tokens, {show(need.logits)} "
            f"logits: {show(need.total)} of {show(self.free)} free on {self.device}"
        ]
        if others:
            lines.append(f"  the same steps would take {'; '.join(others)}")
        if not self.fits:
            fix = "one of the above" if others else "train.method=qlora, a smaller train.cutoff_tokens or more devices"
            lines.append(f"  WARNING: this does not fit by this estimate; try {fix}")
        return "\n".join(lines)


def forecast(config: Config, selection: Selection) -> Forecast:
    settings = config.train
    shape = measure_shape(config)
    memory = estimate(shape, settings, selection)
    others = {}
    for name, change in _find_savings(settings).items():
        other = estimate(shape, settings.model_copy(update=change), selection)
        if other.total < memory.total:
            others[name] = other.total
    free, device = find_free(count_processes(settings))
    return Forecast(memory=memory, free=free, device=device, others=others)


def _find_savings(settings: TrainSettings) -> dict[str, dict[str, Any]]:
    n = settings.batch_size * settings.gradient_accumulation
    alone: dict[str, Any] = {"batch_size": 1, "gradient_accumulation": n}
    checkpointed: dict[str, Any] = {"gradient_checkpointing": True}
    savings = {
        f"train.batch_size=1 and train.gradient_accumulation={n}": alone,
        "train.gradient_checkpointing=true": checkpointed,
        "both": alone | checkpointed,
    }
    if settings.gradient_checkpointing or settings.batch_size == 1:
        del savings["both"]
    return savings


def estimate(shape: Shape, settings: TrainSettings, selection: Selection) -> Memory:
    size = 4 if choose_precision(settings.precision) == "fp32" else 2
    n_tokens, n_targets = _find_largest(settings, selection)
    weights, trained = _weigh(shape, settings, size)
    n = count_processes(settings)
    if n > 1 and settings.strategy == "fsdp":
        # Two layers are whole at a time: the one at work and the one that comes next.
        weights, trained = (weights / n + 2 * size * shape.weights / shape.layers), trained / n
    elif n > 1:
        trained += 4 * shape.trained  # the buckets that gradients are exchanged in
    return Memory(
        weights=round(weights),
        trained=round(trained),
        activations=n_tokens * _weigh_token(shape, settings, size),
        logits=n_targets * shape.vocabulary * LOGITS,
        n_tokens=n_tokens,
    )


def _weigh(shape: Shape, settings: TrainSettings, size: int) -> tuple[float, float]:
    """Frozen weights, and trained ones with all that belongs to them."""
    if settings.method == "full":
        return (2.0 * shape.weights if size == 2 else 0.0), TRAINED * shape.weights  # autocast keeps a copy of each
    if settings.method == "qlora":
        return QUANTIZED * shape.linear + 4 * (shape.weights - shape.linear), TRAINED * shape.trained
    return float(size * shape.weights), TRAINED * shape.trained


def _weigh_token(shape: Shape, settings: TrainSettings, size: int) -> int:
    """Bytes that all layers keep of one token."""
    costs = PER_LAYER["full" if settings.method == "full" else "adapter", size]
    units = (shape.hidden, shape.query, shape.key_value, shape.intermediate)
    layer = sum(cost * unit for cost, unit in zip(costs, units, strict=True))
    if not settings.gradient_checkpointing:
        return shape.layers * layer
    return shape.layers * shape.hidden * (2 if size == 2 and settings.method == "lora" else 4) + layer


def _find_largest(settings: TrainSettings, selection: Selection) -> tuple[int, int]:
    """Tokens and response tokens of the longest examples, in one micro-batch."""
    longest = sorted(selection.train, key=len, reverse=True)[: settings.batch_size]
    n_tokens = sum(map(len, longest)) if settings.padding_free else len(longest[0]) * settings.batch_size
    responses = sorted((len(example.response_ids) for example in selection.train), reverse=True)
    return n_tokens, sum(responses[: settings.batch_size])


def measure_shape(config: Config) -> Shape:
    """From the model's configuration alone; no weight is loaded."""
    base = build_skeleton(config.student)
    text = base.config.get_text_config()
    head = base.get_output_embeddings()  # type: ignore[no-untyped-call]
    linear = [part for part in base.modules() if isinstance(part, torch.nn.Linear) and part is not head]
    weights = base.num_parameters()
    n_linear = sum(part.weight.numel() for part in linear)
    trained = weights
    if config.train.method != "full":
        trained, _ = add_adapter(base, config.train.lora, config.seed).get_nb_trainable_parameters()
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        hidden=text.hidden_size,
        query=heads * width,
        key_value=(getattr(text, "num_key_value_heads", None) or heads) * width,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        weights=weights,
        linear=n_linear,
        trained=trained,
    )


def find_free(processes: int) -> tuple[int, str]:
    """Bytes that a process finds free, and where."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0], torch.cuda.get_device_name()
    import psutil

    return psutil.virtual_memory().available // processes, "the CPU"


def show(n_bytes: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes / 2**10:,.0f} KiB"
