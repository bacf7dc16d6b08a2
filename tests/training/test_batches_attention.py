"""Padding-free attention stays within each example, and is not installed in models where it would not."""

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
        assert batches.install_padding_free_attention(model)
        together = model(**batches.join_rows(ROWS), use_cache=False).logits[0]
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_a_sliding_window_is_respected() -> None:
    model = build_model(TOKENIZER)
    query, key, value = (torch.randn(1, heads, 20, 8) for heads in (4, 2, 2))
    out, _ = batches.attend_padding_free(model, query, key, value, None, sliding_window=5)
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
    monkeypatch.setattr(batches, "attend_padding_free", leak)
    assert not batches.install_padding_free_attention(model)
    assert model.config._attn_implementation == before


def test_a_recurrent_model_is_refused() -> None:
    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4))
    assert not batches.install_padding_free_attention(model)  # type: ignore[arg-type]
