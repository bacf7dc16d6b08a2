"""What is about to be trained on, shown and checked before anything is.

example gsm8k-0#0: 62 prompt tokens (no loss), 118 response tokens (loss)
  <s><|User|>Natalia sold ...<|Assistant|><think>\\n[[First, ...</think>\\n\\nThe answer is 72.</s>]]
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import BaseModel

from drp.config.sections import Config, TrainSettings
from drp.errors import DrpError
from drp.student.response import OPENING, Tokenizer, prompt_ids
from drp.training.examples import IGNORED, Example, Selection
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


class Lengths(BaseModel):
    """Tokens an example."""

    mean: float
    median: int
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Lengths":
        ordered = sorted(lengths)
        mean = round(sum(ordered) / len(ordered), 1)
        return cls(mean=mean, median=ordered[len(ordered) // 2], longest=ordered[-1])


class Preflight(BaseModel):
    """The first example as it is trained on, and an account of all of them."""

    id: str
    n_prompt_tokens: int
    n_response_tokens: int
    prompt: str
    """Without loss: exactly what is sampled and evaluated from."""
    target: str
    """With loss, the end-of-sequence token included."""
    tokens: list[tuple[int, str, bool]]
    """Id, text and whether it carries loss, for every token of the example."""
    train: int
    validation: int
    filtered: dict[str, int]
    failed: int
    prompt_tokens: Lengths
    response_tokens: Lengths
    memory: Forecast | None = None
    """What the training takes; None where nobody asked for it."""

    def render(self) -> str:
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.filtered.items())) or "none"
        return "\n".join(
            [
                f"example {self.id}: {self.n_prompt_tokens} prompt tokens (no loss), "
                f"{self.n_response_tokens} response tokens (loss, between [[ and ]])",
                *(f"  {line}" for line in f"{self.prompt}[[{self.target}]]".splitlines()),
                f"examples: {self.train} to train on, {self.validation} for validation; "
                f"left out: {reasons}; failed: {self.failed}",
                f"prompt tokens: mean {self.prompt_tokens.mean}, longest {self.prompt_tokens.longest}; "
                f"response tokens: mean {self.response_tokens.mean}, longest {self.response_tokens.longest}",
                f"checked: prompt as in evaluation, {OPENING} once, at most one BOS, EOS at the end of the labels and "
                "nowhere else, no loss on the prompt",
                *([self.memory.render()] if self.memory else []),
            ]
        )


def inspect_examples(selection: Selection, tokenizer: Tokenizer, settings: TrainSettings) -> Preflight:
    """Check every example and show the first. Raises DrpError, with the record's id, where one would teach something
    wrong."""
    examples = selection.train + selection.validation
    for example in examples:
        check_example(example, tokenizer, settings.cutoff_tokens)
    shown = selection.train[0]
    prompt, target = tokenizer.decode(shown.prompt_ids), tokenizer.decode(shown.response_ids)
    if shown.prompt_ids != prompt_ids(tokenizer, shown.question):
        raise DrpError(f"{shown.id}: the prompt is not the one that evaluation uses")
    written = prompt.rpartition(shown.question.strip())[2].count(OPENING) + target.lstrip().startswith(OPENING)
    if written != 1:
        raise DrpError(f"{shown.id}: `{OPENING}` is written {written} times, by the chat template and the response")
    return Preflight(
        id=shown.id,
        n_prompt_tokens=len(shown.prompt_ids),
        n_response_tokens=len(shown.response_ids),
        prompt=prompt,
        target=target,
        tokens=mark_tokens(shown, tokenizer),
        train=len(selection.train),
        validation=len(selection.validation),
        filtered=dict(selection.filtered),
        failed=len(selection.failures),
        prompt_tokens=Lengths.of([len(example.prompt_ids) for example in examples]),
        response_tokens=Lengths.of([len(example.response_ids) for example in examples]),
    )


def check_example(example: Example, tokenizer: Tokenizer, cutoff_tokens: int) -> None:
    """Raises DrpError with the first thing that is wrong."""
    problem = _find_problem(example, tokenizer, cutoff_tokens)
    if problem:
        raise DrpError(f"{example.id}: {problem}")


def _find_problem(example: Example, tokenizer: Tokenizer, cutoff_tokens: int) -> str | None:
    labels = example.labels
    eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
    if all(label == IGNORED for label in labels):
        return "no token carries loss: the response is empty"
    if not example.prompt_ids or labels[0] != IGNORED:
        return "the prompt is empty"
    if labels[-1] != eos or labels.count(eos) != 1:
        return f"expected the end-of-sequence token {tokenizer.eos_token!r} once in the labels, at the end"
    if bos is not None and bos != eos and example.input_ids.count(bos) > 1:
        return f"the beginning-of-sequence token {tokenizer.bos_token!r} stands {example.input_ids.count(bos)} times"
    if len(example) > cutoff_tokens:
        return f"{len(example)} tokens, over train.cutoff_tokens {cutoff_tokens}"
    return None


def mark_tokens(example: Example, tokenizer: Tokenizer) -> list[tuple[int, str, bool]]:
    pairs = zip(example.input_ids, example.labels, strict=True)
    return [(token, tokenizer.decode([token]), label != IGNORED) for token, label in pairs]


# FOLDED DOC of training.memory:
# How much memory a training takes, estimated before it starts, for one process and its device.
#
#     weights      frozen ones as they are loaded: 4, 2 or, with `train.method` qlora, about half a byte each
#     trained      float32 weight, gradient and Adam's two moments: 16 bytes each
#     activations  what autograd keeps of every layer for the backward pass, for the tokens of the largest micro-batch
#     logits       12 bytes x response tokens x vocabulary: in the backward pass, log-probabilities and two gradients
#
# The activations are counted operation by operation for a Llama-like layer whose attention keeps no matrix of scores, as
# Korthikanti et al. count GPT's (https://arxiv.org/abs/2205.05198, section 4.1); other architectures come out roughly
# right. What a process takes beside that (CUDA context, caches, the interpreter) is not counted.
#
