"""Causal attention over examples laid side by side in one row, without padding: each attends to itself alone.

transformers' own sdpa would build a (T, T) mask for such a row and compute all of it; here each example is one causal
call (CPU), or all of them one call of torch's variable-length flash attention (GPU, half precision). The boundaries
come as `cu_seq_lens_q`, the keyword that transformers' flash attention reads too.

https://huggingface.co/docs/transformers/attention_interface
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

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
