"""Examples as tensors, in an order that a resumed run repeats.

A batch holds

    inputs    what the model is called with
    labels    (rows, T): token ids with loss, IGNORED elsewhere
    columns   (n,): the positions whose next token carries loss in any row; logits are computed there only
    ids       the examples' ids, for messages
    n_tokens  of the examples, prompts included, padding not
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

NAME = "drp_side_by_side"


def attend(
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
    """transformers' attention function: query (1, heads, T, width), key and value (1, kv_heads, T, width) ->
    (1, T, heads, width).

    cu_seq_lens_q: where each example starts, and T; (examples + 1,), int32. None: the row is one example.
    """
    if torch.is_autocast_enabled(query.device.type):  # it knows sdpa, but not the variable-length kernel
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = (states.to(dtype) for states in (query, key, value))
    bounds = torch.tensor([0, query.shape[2]], device=query.device) if cu_seq_lens_q is None else cu_seq_lens_q
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and dropout == 0.0:
        longest = max_length_q or query.shape[2]
        return _attend_at_once(query, key, value, bounds.int(), longest, scaling, sliding_window), None
    lengths = bounds.diff().tolist()
    grouped = query.shape[1] != key.shape[1]
    parts = zip(*(torch.split(states, lengths, dim=2) for states in (query, key, value)), strict=True)
    out = [_attend_one(q, k, v, grouped, scaling, dropout, sliding_window) for q, k, v in parts]
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None


def _attend_one(
    query: Tensor, key: Tensor, value: Tensor, grouped: bool, scale: float | None, dropout: float, window: int | None
) -> Tensor:
    length = query.shape[2]
    mask = None
    if window is not None and length > window:
        position = torch.arange(length, device=query.device)
        distance = position[:, None] - position[None, :]
        mask = (distance >= 0) & (distance < window)
    return scaled_dot_product_attention(
        query, key, value, mask, dropout, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )


def _attend_at_once(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scale: float | None, window: int | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    size = (-1 if window is None else window - 1, 0)
    grouped = query.shape[1] != key.shape[1]
    out = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scale, window_size=size, enable_gqa=grouped)
    assert isinstance(out, Tensor)
    return out[None]


def install(model: PreTrainedModel) -> bool:
    """Make `model` attend side by side. False, and the model as before, where that would change what it computes:
    attention of its own making, soft caps, sinks, recurrent layers that run across the borders."""
    before = model.config._attn_implementation
    rows = [torch.arange(3, 3 + n, device=model.device) % model.config.vocab_size for n in (7, 12, 5)]
    with torch.no_grad():
        apart = torch.cat([model(input_ids=row[None], use_cache=False).logits[0] for row in rows])
        try:
            AttentionInterface.register(NAME, attend)
            model.set_attn_implementation(NAME)
            together = model(**lay_side_by_side(rows), use_cache=False).logits[0]
        except (RuntimeError, ValueError, TypeError, KeyError, ImportError):
            together = torch.full_like(apart, torch.nan)
    if model.config._attn_implementation == NAME and _agree(apart, together):
        return True
    model.set_attn_implementation(before)
    return False


def _agree(apart: Tensor, together: Tensor) -> bool:
    tolerance = 1e-4 if apart.dtype == torch.float32 else 5e-2
    return bool((apart - together).abs().max() <= tolerance * apart.abs().max().clamp(min=1.0))


def lay_side_by_side(rows: list[Tensor]) -> dict[str, Any]:
    """The model's inputs for examples (length,) each: one row (1, T) whose positions start again at each border."""
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


# A plain dictionary, because the Trainer moves batches to the device by walking through it.
Batch = dict[str, Any]

FILLER = Example(id="", question="", response="", prompt_ids=[0], response_ids=[])
"""What a process computes, without loss, where the last step of an epoch has no example left for it: processes only
stay together when each does the same number of micro-batches. accelerate would repeat examples instead."""


def join_examples(examples: Sequence[Example]) -> Batch:
    """One row without padding; needs `attention.install`."""
    examples = _leave_fillers(examples)
    inputs = lay_side_by_side([torch.tensor(example.input_ids) for example in examples])
    labels = torch.cat([torch.tensor(example.labels) for example in examples])[None]
    return _build_batch(examples, inputs, labels)


def pad_examples(examples: Sequence[Example]) -> Batch:
    """One row an example, padded on the right. No attention mask: under causal attention no token sees what comes
    after it, so what stands in the padding never matters, and the attention needs no mask to compute."""
    examples = _leave_fillers(examples)
    longest = max(map(len, examples))
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    labels = torch.full((len(examples), longest), IGNORED)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = torch.tensor(example.input_ids)
        labels[row, : len(example)] = torch.tensor(example.labels)
    return _build_batch(examples, {"input_ids": ids}, labels)


def _leave_fillers(examples: Sequence[Example]) -> Sequence[Example]:
    return [example for example in examples if example is not FILLER] or [FILLER]


def _build_batch(examples: Sequence[Example], inputs: dict[str, Any], labels: Tensor) -> Batch:
    real = [example for example in examples if example is not FILLER]
    return {
        "inputs": inputs,
        "labels": labels,
        "columns": (labels[:, 1:] != IGNORED).any(dim=0).nonzero()[:, 0],
        "ids": [example.id for example in real],
        "n_tokens": sum(map(len, real)),
    }


def sum_loss(model: Any, batch: Batch) -> Tensor:
    """Cross entropy in nats, summed over the tokens that carry loss; a scalar."""
    columns = batch["columns"]
    logits = model(**batch["inputs"], logits_to_keep=columns, use_cache=False).logits
    targets = batch["labels"][:, columns + 1]
    return cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")


def count_targets(batch: Batch) -> int:
    return int((batch["labels"][:, 1:] != IGNORED).sum())


class EpochSampler(Sampler[int]):
    """A new order each epoch that depends on seed and epoch alone, so that a resumed epoch repeats it, with any number
    of processes. Yields positions of examples, then `len(lengths)`, the filler's, up to a multiple of `round_to`.

    group: examples for one optimizer step whose lengths should be alike, or None to shuffle freely.
    round_to: examples that all processes take at once.
    """

    def __init__(self, lengths: Sequence[int], seed: int, group: int | None, round_to: int = 1) -> None:
        self.lengths, self.seed, self.group = list(lengths), seed, group
        self.fillers = -len(self.lengths) % round_to
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + self.fillers

    def __iter__(self) -> Iterator[int]:
        yield from self._shuffle()
        yield from [len(self.lengths)] * self.fillers

    def _shuffle(self) -> list[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self.group is None:
            return torch.randperm(len(self.lengths), generator=generator).tolist()
        order: list[int] = get_length_grouped_indices(self.lengths, self.group, generator=generator)  # type: ignore[no-untyped-call]
        return order


class FixedSampler(Sampler[int]):
    """The same order always, with fillers as EpochSampler has them."""

    def __init__(self, n_examples: int, round_to: int) -> None:
        self.n_examples, self.fillers = n_examples, -n_examples % round_to

    def __len__(self) -> int:
        return self.n_examples + self.fillers

    def __iter__(self) -> Iterator[int]:
        yield from range(self.n_examples)
        yield from [self.n_examples] * self.fillers


# FOLDED DOC of training.attention:
# Causal attention over examples laid side by side in one row, without padding: each attends to itself alone.
#
# transformers' own sdpa would build a (T, T) mask for such a row and compute all of it; here each example is one causal
# call (CPU), or all of them one call of torch's variable-length flash attention (GPU, half precision). The boundaries
# come as `cu_seq_lens_q`, the keyword that transformers' flash attention reads too.
#
# https://huggingface.co/docs/transformers/attention_interface
#
