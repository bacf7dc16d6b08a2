"""Examples as tensors: padding-free or padded batches, the loss, the order of an epoch, and padding-free attention.

A padding-free batch joins its examples into one row. transformers' own sdpa would build a (T, T) mask for such a row
and compute all of it. Here each example is one causal call (CPU), or all of them are one call of torch's
variable-length flash attention (GPU, half precision), through transformers' attention interface
(https://huggingface.co/docs/transformers/attention_interface).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.data import Sampler
from transformers import AttentionInterface, PreTrainedModel
from transformers.trainer_pt_utils import get_length_grouped_indices

from drp.training.examples import IGNORED, Example

# A plain dictionary, because the Trainer moves batches to the device by walking through it:
#   inputs    keyword arguments for the model
#   labels    (rows, T): token ids with loss, IGNORED elsewhere
#   columns   (n,): the positions whose next token carries loss in any row; logits are computed at these only
#   ids       the examples' ids, for messages
#   n_tokens  tokens of the examples, prompts included, padding not
TokenBatch = dict[str, Any]

FILLER = Example(id="", question="", response="", prompt_ids=[0], response_ids=[])
"""An example without loss, for the processes that have no example left in the last step of an epoch: all processes must
compute the same number of micro-batches. accelerate would repeat examples instead."""

ATTENTION = "drp_padding_free"
"""The name of `attend_padding_free` in transformers' registry of attention functions."""


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
    return {
        "inputs": inputs,
        "labels": labels,
        "columns": (labels[:, 1:] != IGNORED).any(dim=0).nonzero()[:, 0],
        "ids": [example.id for example in real],
        "n_tokens": sum(map(len, real)),
    }


def sum_loss(model: Any, batch: TokenBatch) -> Tensor:
    """Cross entropy in nats, summed over the tokens that carry loss; a scalar."""
    columns = batch["columns"]
    logits = model(**batch["inputs"], logits_to_keep=columns, use_cache=False).logits
    targets = batch["labels"][:, columns + 1]
    return cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")


def count_targets(batch: TokenBatch) -> int:
    """Tokens of the batch that carry loss."""
    return int((batch["labels"][:, 1:] != IGNORED).sum())


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


def install_padding_free_attention(model: PreTrainedModel) -> bool:
    """Let `model` compute batches of `join_examples`.

    Compares the logits of a joined row with those of its sequences one by one. Returns False, with the model unchanged,
    if they differ: for models with an attention of their own, soft caps, attention sinks or recurrent layers.
    """
    before = model.config._attn_implementation
    rows = [torch.arange(3, 3 + n, device=model.device) % model.config.vocab_size for n in (7, 12, 5)]
    with torch.no_grad():
        expected = torch.cat([model(input_ids=row[None], use_cache=False).logits[0] for row in rows])
        try:
            AttentionInterface.register(ATTENTION, attend_padding_free)
            model.set_attn_implementation(ATTENTION)
            joined = model(**join_rows(rows), use_cache=False).logits[0]
        except (RuntimeError, ValueError, TypeError, KeyError, ImportError):
            joined = torch.full_like(expected, torch.nan)
    tolerance = 1e-4 if expected.dtype == torch.float32 else 5e-2
    agree = (expected - joined).abs().max() <= tolerance * expected.abs().max().clamp(min=1.0)
    if model.config._attn_implementation == ATTENTION and agree:
        return True
    model.set_attn_implementation(before)
    return False


def attend_padding_free(
    _module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each of several examples in one row, in the form of transformers' attention functions.

    query: (1, heads, T, head_dim). key, value: (1, kv_heads, T, head_dim). Returns (1, T, heads, head_dim).
    cu_seq_lens_q: (examples + 1,), the start of each example, and T; None: the row is one example.
    """
    if torch.is_autocast_enabled(query.device.type):  # autocast knows sdpa, but not the variable-length kernel
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = (states.to(dtype) for states in (query, key, value))
    bounds = torch.tensor([0, query.shape[2]], device=query.device) if cu_seq_lens_q is None else cu_seq_lens_q
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and dropout == 0.0:
        longest = max_length_q or query.shape[2]
        return _attend_varlen(
            query, key, value, bounds=bounds.int(), longest=longest, scale=scaling, window=sliding_window
        ), None
    lengths = bounds.diff().tolist()
    examples = zip(*(torch.split(states, lengths, dim=2) for states in (query, key, value)), strict=True)
    out = [_attend_example(*states, scale=scaling, dropout=dropout, window=sliding_window) for states in examples]
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None


def _attend_varlen(
    query: Tensor, key: Tensor, value: Tensor, *, bounds: Tensor, longest: int, scale: float | None, window: int | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    out = varlen_attn(
        q,
        k,
        v,
        bounds,
        bounds,
        longest,
        longest,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out, Tensor)
    return out[None]


def _attend_example(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float | None, dropout: float, window: int | None
) -> Tensor:
    length = query.shape[2]
    mask = None
    if window is not None and length > window:
        position = torch.arange(length, device=query.device)
        distance = position[:, None] - position[None, :]
        mask = (distance >= 0) & (distance < window)
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, mask, dropout, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )
