"""Padding-free attention stays within each example, and is not installed in models where it would not."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from drp.training import batches
from tests.tiny import R1_NEWER, build_model, build_tokenizer

TOKENIZER = build_tokenizer(R1_NEWER)
ROWS = [torch.arange(3, 23), torch.arange(50, 59), torch.arange(7, 40)]


def test_joined_logits_equal_those_of_each_example_alone() -> None:
    model = build_model(TOKENIZER)
    with torch.no_grad():
        apart = torch.cat([model(input_ids=row[None]).logits[0] for row in ROWS])
        assert batches.install_padding_free_attention(model).name == batches.BY_EXAMPLE
        together = model(**batches.join_rows(ROWS), use_cache=False).logits[0]
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_a_sliding_window_is_respected() -> None:
    model = build_model(TOKENIZER)
    query, key, value = (torch.randn(1, heads, 20, 8) for heads in (4, 2, 2))
    out, _ = batches.attend_by_example(model, query, key, value, None, sliding_window=5)
    place = torch.arange(20)
    distance = place[:, None] - place[None, :]
    mask = (distance >= 0) & (distance < 5)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)
    torch.testing.assert_close(out, expected.transpose(1, 2))


def test_attention_across_examples_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def leak(_module: Any, query: Any, key: Any, value: Any, _mask: Any, **_: Any) -> Any:
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        return out.transpose(1, 2), None

    model = build_model(TOKENIZER)
    before = model.config._attn_implementation
    monkeypatch.setattr(batches, "attend_by_example", leak)
    choice = batches.install_padding_free_attention(model)
    assert choice.name is None
    assert "other logits" in choice.reason
    assert model.config._attn_implementation == before


def test_a_recurrent_model_is_refused() -> None:
    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4))
    choice = batches.install_padding_free_attention(model)  # type: ignore[arg-type]
    assert choice.name is None
    assert "Mamba" in choice.reason


def attend_in_groups(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    _bounds: torch.Tensor,
    _longest: int,
    _longest_k: int,
    *,
    scale: float | None,
    window: tuple[int, int],
) -> torch.Tensor:
    """torch's variable-length attention, which exists on GPUs only, for a CPU. (T, heads, head_dim)."""
    parts = []
    for start, end in zip(bounds.tolist(), bounds[1:].tolist(), strict=False):
        q, k, v = (states[start:end].transpose(0, 1)[None] for states in (query, key, value))
        place = torch.arange(end - start)
        distance = place[:, None] - place[None, :]
        mask = (distance >= 0) & (window[0] < 0 or distance <= window[0])
        attend = torch.nn.functional.scaled_dot_product_attention
        parts.append(attend(q, k, v, mask, scale=scale, enable_gqa=True)[0].transpose(0, 1))
    return torch.cat(parts)


def as_in_torch_2_11(q: Any, k: Any, v: Any, *bounds: Any, scale: Any = None, window_size: Any = (-1, -1)) -> Any:
    assert q.shape[1] == k.shape[1], "torch 2.11 takes as many key-value heads as query heads"
    return attend_in_groups(q, k, v, *bounds, scale=scale, window=window_size)


def as_in_torch_2_12(
    q: Any, k: Any, v: Any, *bounds: Any, scale: Any = None, window_size: Any = (-1, -1), enable_gqa: bool = False
) -> Any:
    assert enable_gqa or q.shape[1] == k.shape[1]
    return attend_in_groups(q, k, v, *bounds, scale=scale, window=window_size)


def as_in_torch_2_10(q: Any, k: Any, v: Any, *bounds: Any, is_causal: bool = False) -> Any:
    raise AssertionError("has no window")


@pytest.fixture
def varlen(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Puts a stand-in for torch's kernel in its place."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", request.param)
    batches._load_varlen.cache_clear()
    yield request.param
    batches._load_varlen.cache_clear()


SHAPES: dict[str, Any] = {
    "heads": 6,
    "key_value_heads": 2,
    "head_dim": 8,
    "lengths": (7, 1, 20),
    "device": torch.device("cpu"),
}


@pytest.mark.parametrize("varlen", [as_in_torch_2_11, as_in_torch_2_12], indirect=True)
def test_the_variable_length_kernel_is_used_alike_in_all_versions_of_torch(varlen: Any) -> None:
    assert batches.compare_varlen(**SHAPES, dtype=torch.float32) < 1e-5
    assert 1e-5 < batches.compare_varlen(**SHAPES, dtype=torch.bfloat16) < batches.VARLEN_TOLERANCE
    query, key, value = (torch.randn(1, heads, 20, 8) for heads in (4, 2, 2))
    windowed, _ = batches.attend_varlen(None, query, key, value, None, sliding_window=5)
    expected, _ = batches.attend_by_example(None, query, key, value, None, sliding_window=5)
    torch.testing.assert_close(windowed, expected)


@pytest.mark.parametrize("varlen", [as_in_torch_2_11, as_in_torch_2_12], indirect=True)
def test_a_model_under_autocast_uses_the_variable_length_kernel(varlen: Any) -> None:
    model = build_model(TOKENIZER)
    model.set_attn_implementation("sdpa")
    assert batches.install_padding_free_attention(model, "bf16").name == batches.BY_EXAMPLE
    with torch.no_grad(), batches.autocast("cpu", "bf16"):
        expected = model(**batches.join_rows(ROWS), use_cache=False).logits
        model.set_attn_implementation(batches.VARLEN)
        got = model(**batches.join_rows(ROWS), use_cache=False).logits
    torch.testing.assert_close(got.float(), expected.float(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("varlen", [as_in_torch_2_10], indirect=True)
def test_a_torch_without_the_kernel_computes_example_by_example_and_says_why(varlen: Any) -> None:
    model = build_model(TOKENIZER)
    reason = batches._try_varlen(model, torch.bfloat16, model.device)
    assert reason.startswith(f"torch {torch.__version__} cannot compute variable-length attention here")
    assert "torch 2.11 or newer" in reason


def test_an_inexact_kernel_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(TOKENIZER)

    def attend_everywhere(*states: Any, **_: Any) -> Any:
        return batches.attend_by_example(*states)

    monkeypatch.setattr(batches, "attend_varlen", attend_everywhere)
    assert "with an error of" in batches._try_varlen(model, torch.bfloat16, model.device)
