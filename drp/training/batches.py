"""Examples as tensors: padding-free or padded batches, the loss, the order of an epoch, and padding-free attention.

A padding-free batch joins its examples into one row. transformers' own sdpa would build a (T, T) mask for such a row
and compute all of it. Here all examples are one call of torch's variable-length flash attention (GPU, half precision),
or each example is a causal call of its own, through transformers' attention interface
(https://huggingface.co/docs/transformers/attention_interface).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import nll_loss, scaled_dot_product_attention
from torch.utils.data import Sampler
from transformers import AttentionInterface, PreTrainedModel
from transformers.trainer_pt_utils import get_length_grouped_indices

from drp.errors import first_line
from drp.training.examples import IGNORED, Example

# A plain dictionary, because the Trainer moves batches to the device by walking through it:
#   inputs    keyword arguments for the model
#   labels    (rows, T): token ids with loss, IGNORED elsewhere
#   columns   (n,): the positions whose next token carries loss in any row; logits are computed at these only
#   ids       the examples' ids, for messages
#   n_tokens  tokens of the examples, prompts included, padding not
#   n_targets tokens that carry loss
TokenBatch = dict[str, Any]

FILLER = Example(id="", question="", response="", prompt_ids=[0], response_ids=[])
"""An example without loss, for the processes that have no example left in the last step of an epoch: all processes must
compute the same number of micro-batches. accelerate would repeat examples instead."""

VARLEN = "drp_varlen"
"""The name of `attend_varlen` in transformers' registry of attention functions."""
BY_EXAMPLE = "drp_by_example"
"""The name of `attend_by_example` in that registry."""

CHUNK_TOKENS = 512
"""Tokens whose probabilities the loss computes at once, in float32."""

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
VARLEN_TOLERANCE = 0.03
"""Largest error of `attend_varlen` and its gradients, relative to the largest value."""


def join_examples(examples: Sequence[Example]) -> TokenBatch:
    """A batch of one row without padding, for a model with `install_padding_free_attention`."""
    examples = _drop_fillers(examples)
    inputs = join_rows([torch.tensor(example.input_ids) for example in examples])
    labels = torch.cat([torch.tensor(example.labels) for example in examples])[None]
    return _build_batch(examples, inputs, labels)


def pad_examples(examples: Sequence[Example]) -> TokenBatch:
    """A batch of one row per example, padded on the right. It has no attention mask: with causal attention no token
    depends on the padding after it."""
    examples = _drop_fillers(examples)
    longest = max(map(len, examples))
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    labels = torch.full((len(examples), longest), IGNORED)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = torch.tensor(example.input_ids)
        labels[row, : len(example)] = torch.tensor(example.labels)
    return _build_batch(examples, {"input_ids": ids}, labels)


def _drop_fillers(examples: Sequence[Example]) -> Sequence[Example]:
    return [example for example in examples if example is not FILLER] or [FILLER]


def join_rows(rows: list[Tensor]) -> dict[str, Any]:
    """Model inputs for sequences of token ids (length,) each: one row (1, T), whose positions restart at each sequence.

    The boundaries are passed as `cu_seq_lens_q`, the keyword that transformers' flash attention reads too.
    """
    lengths = [len(row) for row in rows]
    bounds = torch.tensor([0, *lengths], dtype=torch.int32, device=rows[0].device).cumsum(0, dtype=torch.int32)
    positions = torch.cat([torch.arange(length, device=rows[0].device) for length in lengths])
    return {
        "input_ids": torch.cat(rows)[None],
        "position_ids": positions[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


def _build_batch(examples: Sequence[Example], inputs: dict[str, Any], labels: Tensor) -> TokenBatch:
    real = [example for example in examples if example is not FILLER]
    counts = labels[:, 1:] != IGNORED
    return {
        "inputs": inputs,
        "labels": labels,
        "columns": counts.any(dim=0).nonzero()[:, 0],
        "ids": [example.id for example in real],
        "n_tokens": sum(map(len, real)),
        "n_targets": int(counts.sum()),
    }


def sum_loss(model: Any, batch: TokenBatch) -> Tensor:
    """Cross entropy in nats, summed over the tokens that carry loss; a scalar."""
    columns = batch["columns"]
    logits = model(**batch["inputs"], logits_to_keep=columns, use_cache=False).logits
    targets = batch["labels"][:, columns + 1]
    return _CrossEntropy.apply(logits.flatten(0, 1), targets.flatten())  # type: ignore[no-any-return, no-untyped-call]


class _CrossEntropy(torch.autograd.Function):
    """Summed cross entropy of logits (tokens, vocabulary), in float32. The gradient takes the place of the logits, some
    tokens at a time: torch's own function keeps three times as much, which for a large vocabulary is most of the memory
    that a batch needs."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        ctx.gradient = logits if ctx.needs_input_grad[0] else None
        for rows, wanted in zip(torch.split(logits, CHUNK_TOKENS), torch.split(targets, CHUNK_TOKENS), strict=True):
            log_p = rows.float().log_softmax(dim=-1)
            total += nll_loss(log_p, wanted, ignore_index=IGNORED, reduction="sum")
            if ctx.gradient is not None:
                places, ones = wanted.clamp(min=0)[:, None], torch.ones_like(log_p[:, :1])
                gradient = log_p.exp_().scatter_add_(1, places, -ones)
                rows.copy_(gradient.mul_((wanted != IGNORED)[:, None]))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient, ctx.gradient = ctx.gradient, None
        return gradient.mul_(gradients[0]), None


class EpochSampler(Sampler[int]):
    """Shuffles the examples anew in each epoch. The order depends on seed and epoch only, so that a resumed epoch
    repeats it, with any number of processes.

    Yields indexes of examples, then that of the filler, `len(lengths)`, up to a multiple of `round_to`.

    lengths: tokens of each example.
    group: number of examples per optimizer step, to put examples of similar length into the same step; None: any.
    round_to: number of examples that all processes together take at a time.
    """

    def __init__(self, lengths: Sequence[int], *, seed: int, group: int | None, round_to: int = 1) -> None:
        self.lengths, self.seed, self.group, self.round_to = list(lengths), seed, group, round_to
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + -len(self.lengths) % self.round_to

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self.group is None:
            order: list[int] = torch.randperm(len(self.lengths), generator=generator).tolist()
        else:
            order = get_length_grouped_indices(self.lengths, self.group, generator=generator)  # type: ignore[no-untyped-call]
        return iter(add_fillers(order, self.round_to))


def add_fillers(order: Sequence[int], round_to: int) -> list[int]:
    """`order`, the indexes of all examples, followed by the filler's, `len(order)`, up to a multiple of `round_to`."""
    return [*order, *[len(order)] * (-len(order) % round_to)]


@dataclass(frozen=True)
class AttentionChoice:
    """What `install_padding_free_attention` installed."""

    name: str | None
    """`VARLEN`, `BY_EXAMPLE`, or None: the model is unchanged, and its batches have to be padded."""
    reason: str = ""
    """Why it is not the fastest one for the device; empty if it is."""


def autocast(device_type: str, precision: str) -> torch.autocast:
    """The autocast in which a training with this precision computes. With fp32 it does nothing."""
    return torch.autocast(device_type, HALF.get(precision), enabled=precision in HALF)


def install_padding_free_attention(
    model: PreTrainedModel, precision: str = "fp32", device: torch.device | None = None
) -> AttentionChoice:
    """Let `model` compute batches of `join_examples`, in the fastest way that its device supports.

    Under the autocast of the training, compares the logits of a joined row with those of its sequences one by one. They
    differ for models with an attention of their own, soft caps, attention sinks or recurrent layers.

    precision: of the training: bf16, fp16 or fp32.
    device: where the model will be trained; None: where it is. A model that is still on the CPU, because it is to be
        sharded, is compared there, and the variable-length kernel on `device`, with tensors of the model's shapes.
    """
    device = device or model.device
    before = model.config._attn_implementation
    AttentionInterface.register(VARLEN, attend_varlen)
    AttentionInterface.register(BY_EXAMPLE, attend_by_example)
    candidates, reason = [BY_EXAMPLE], ""
    if device.type == "cuda" and precision in HALF:
        reason = _try_varlen(model, HALF[precision], device)
        if not reason:
            candidates.insert(0, VARLEN)
    for name in candidates:
        problem = _compare_logits(model, name if model.device.type == device.type else BY_EXAMPLE, precision)
        if not problem:
            model.set_attn_implementation(name)
            return AttentionChoice(name, reason)
        reason = problem
    model.set_attn_implementation(before)
    return AttentionChoice(None, reason)


def _try_varlen(model: PreTrainedModel, dtype: torch.dtype, device: torch.device) -> str:
    """Why the variable-length kernel cannot be used for the model's shapes; empty if it can."""
    config: Any = model.config.get_text_config()
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    try:
        error = compare_varlen(
            heads=heads,
            key_value_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=head_dim,
            lengths=(7, 128, 1, 300),
            dtype=dtype,
            device=device,
        )
    except (ImportError, RuntimeError, TypeError, ValueError) as failure:
        return f"torch {torch.__version__} cannot compute variable-length attention here ({first_line(failure)})"
    if error > VARLEN_TOLERANCE:
        return f"torch {torch.__version__} computes variable-length attention with an error of {error:.3f} here"
    return ""


def compare_varlen(
    *, heads: int, key_value_heads: int, head_dim: int, lengths: Sequence[int], dtype: torch.dtype, device: torch.device
) -> float:
    """The largest error of `attend_varlen` for random examples of these lengths, and of its gradients, relative to the
    largest value. The reference is sdpa in float32.

    Raises ImportError, or what torch raises, where there is no such kernel.
    """
    total = sum(lengths)
    generator = torch.Generator().manual_seed(0)
    bounds = torch.tensor([0, *lengths], device=device).cumsum(0, dtype=torch.int32)
    shapes = [(1, n, total, head_dim) for n in (heads, key_value_heads, key_value_heads)]
    states = [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]
    weight = torch.randn(1, total, heads, head_dim, generator=generator).to(device, dtype)

    def compute(attend: Callable[..., tuple[Tensor, None]], dtype: torch.dtype) -> list[Tensor]:
        inputs = [part.to(dtype).requires_grad_() for part in states]
        out, _ = attend(None, *inputs, None, cu_seq_lens_q=bounds, max_length_q=max(lengths))
        return [out.detach(), *torch.autograd.grad((out * weight.to(dtype)).sum(), inputs)]

    pairs = zip(compute(attend_varlen, dtype), compute(attend_by_example, torch.float32), strict=True)
    return max(float((got.float() - expected).abs().max() / expected.abs().max()) for got, expected in pairs)


def _compare_logits(model: PreTrainedModel, name: str, precision: str) -> str:
    """Why the model cannot compute joined rows with the attention `name`; empty if it can. Leaves it installed."""
    rows = [torch.arange(3, 3 + n, device=model.device) % model.config.vocab_size for n in (7, 12, 5)]
    with torch.no_grad(), autocast(model.device.type, precision):
        expected = torch.cat([model(input_ids=row[None], use_cache=False).logits[0] for row in rows]).float()
        try:
            model.set_attn_implementation(name)
            joined = model(**join_rows(rows), use_cache=False).logits[0].float()
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, KeyError, ImportError) as failure:
            return f"{type(model).__name__} cannot compute joined examples ({first_line(failure)})"
    if model.config._attn_implementation != name:
        return f"{type(model).__name__} has an attention of its own"
    error = float((expected - joined).abs().max() / expected.abs().max().clamp(min=1.0))
    if not error <= (5e-2 if precision in HALF else 1e-4):  # NaN is refused too
        return f"{type(model).__name__} computes other logits for joined examples (relative difference {error:.2g})"
    return ""


def attend_varlen(
    module: torch.nn.Module | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """As `attend_by_example`, in one call of torch's variable-length flash attention, on a GPU in half precision.

    Raises ImportError for a torch without it.
    """
    if dropout:  # the kernel has none
        return attend_by_example(
            module,
            query,
            key,
            value,
            mask,
            cu_seq_lens_q=cu_seq_lens_q,
            scaling=scaling,
            dropout=dropout,
            sliding_window=sliding_window,
        )
    q, k, v = (states[0].transpose(0, 1) for states in _cast(query, key, value))
    bounds = _locate_examples(query, cu_seq_lens_q).int()
    longest = max_length_q or query.shape[2]
    window = (-1 if sliding_window is None else sliding_window - 1, 0)
    return _load_varlen()(q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=window)[None], None


@cache
def _load_varlen() -> Callable[..., Tensor]:
    """torch's variable-length attention, for key-value heads that query heads share. Raises ImportError before torch
    2.11, where it has no window or does not exist."""
    from torch.nn.attention import varlen

    varlen_attn: Callable[..., Any] = varlen.varlen_attn
    known = signature(varlen_attn).parameters
    if "window_size" not in known:
        raise ImportError("needs torch 2.11 or newer")
    share: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in known else {}

    def attend(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **given: Any) -> Any:
        groups = query.shape[1] // key.shape[1]
        if groups > 1 and not share:  # torch 2.11 expects as many key-value heads as query heads
            key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
        return varlen_attn(query, key, value, *rest, **given, **share)

    return attend


def attend_by_example(
    _module: torch.nn.Module | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each of several examples in one row, in the form of transformers' attention functions.

    query: (1, heads, T, head_dim). key, value: (1, kv_heads, T, head_dim). Returns (1, T, heads, head_dim).
    cu_seq_lens_q: (examples + 1,), the start of each example, and T; None: the row is one example.
    """
    query, key, value = _cast(query, key, value)
    lengths = _locate_examples(query, cu_seq_lens_q).diff().tolist()
    examples = zip(*(torch.split(states, lengths, dim=2) for states in (query, key, value)), strict=True)
    out = [_attend_example(*states, scale=scaling, dropout=dropout, window=sliding_window) for states in examples]
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None


def _cast(*states: Tensor) -> tuple[Tensor, ...]:
    """The states in the type of autocast, which knows sdpa, but not the variable-length kernel."""
    device_type = states[0].device.type
    if not torch.is_autocast_enabled(device_type):
        return states
    return tuple(part.to(torch.get_autocast_dtype(device_type)) for part in states)


def _locate_examples(query: Tensor, bounds: Tensor | None) -> Tensor:
    """`bounds`, or those of a row that is one example."""
    return torch.tensor([0, query.shape[2]], device=query.device) if bounds is None else bounds


def _attend_example(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float | None, dropout: float, window: int | None
) -> Tensor:
    length = query.shape[2]
    mask = None
    if window is not None and length > window:
        position = torch.arange(length, device=query.device)
        distance = position[:, None] - position[None, :]
        mask = (distance >= 0) & (distance < window)
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and query.is_cuda and not _can_use_flash(query, key, value, mask, dropout):
        # The only other kernel for shared key-value heads stores the whole matrix of scores.
        key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, mask, dropout, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )


def _can_use_flash(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> bool:
    """Whether sdpa has a flash kernel for these states on their GPU: not in float32, with a mask or on old GPUs."""
    from torch.backends.cuda import SDPAParams, can_use_flash_attention

    return can_use_flash_attention(SDPAParams(query, key, value, mask, dropout, mask is None, True))
