"""The loss of padded and padding-free batches equals a plain reference implementation; the order of epochs."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from drp.student.response import ChatFormat
from drp.training.batches import (
    CHUNK_TOKENS,
    EpochSampler,
    _CrossEntropy,
    install_padding_free_attention,
    join_examples,
    pad_examples,
    sum_loss,
)
from drp.training.examples import IGNORED, Example, encode_example
from tests.tiny import R1_NEWER, build_model, build_tokenizer, make_record

TOKENIZER = build_tokenizer(R1_NEWER)
FORMAT = ChatFormat(TOKENIZER)


def make_examples() -> list[Example]:
    records = [make_record(number, question="How much? " * (1 + number % 3)) for number in (3, 10, 200, 7)]
    return [encode_example(FORMAT, item["id"], item["question"], item["pruned_response"]) for item in records]


def compute_reference_loss(model: torch.nn.Module, example: Example) -> Tensor:
    """The summed -log p of every response token given all tokens before it, from the logits of this example alone."""
    logits = model(input_ids=torch.tensor([example.input_ids])).logits[0].double()
    log_p = logits - logits.exp().sum(dim=-1, keepdim=True).log()
    first = len(example.prompt_ids)
    return -sum((log_p[place - 1, example.input_ids[place]] for place in range(first, len(example))), torch.zeros(()))


@pytest.mark.parametrize("layout", ["padding-free", "padded"])
def test_loss_and_gradient_equal_the_reference(layout: str) -> None:
    examples = make_examples()
    model = build_model(TOKENIZER)
    expected = sum((compute_reference_loss(model, example) for example in examples), torch.zeros(()))
    expected.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    if layout == "padding-free":
        assert install_padding_free_attention(model).name
    batch = join_examples(examples) if layout == "padding-free" else pad_examples(examples)
    loss = sum_loss(model, batch)
    loss.backward()
    n_targets = sum(len(example.response_ids) for example in examples)
    assert batch["n_targets"] == n_targets
    assert loss.item() / n_targets == pytest.approx(expected.item() / n_targets, abs=1e-5)
    for name, weight in model.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_over_many_tokens_and_its_gradient_equal_torchs(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(2 * CHUNK_TOKENS + 7, 50)).to(dtype)
    targets = torch.randint(0, 50, (len(logits),))
    targets[::5] = IGNORED
    plain, ours = (torch.zeros_like(logits, requires_grad=True) for _ in range(2))
    expected = cross_entropy((logits + plain).float(), targets, ignore_index=IGNORED, reduction="sum")
    got = _CrossEntropy.apply(logits + ours, targets)
    torch.testing.assert_close(got, expected)
    for loss in (expected, got):
        (loss / 100).backward()
    assert ours.grad is not None
    assert not ours.grad[::5].any()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=0.01 if dtype == torch.bfloat16 else 1e-5, atol=1e-6)


def test_a_joined_batch_has_no_padding_and_its_positions_restart_at_each_example() -> None:
    examples = make_examples()
    batch = join_examples(examples)
    lengths = [len(example) for example in examples]
    assert batch["inputs"]["input_ids"].shape == (1, sum(lengths))
    assert batch["inputs"]["position_ids"][0].tolist() == [place for n in lengths for place in range(n)]
    assert batch["n_tokens"] == sum(lengths) == pad_examples(examples)["n_tokens"]


def test_every_epoch_has_its_own_order_and_repeats_it() -> None:
    sampler = EpochSampler(list(range(1, 51)), seed=3, group=None)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    again = EpochSampler(list(range(1, 51)), seed=3, group=None)
    again.set_epoch(1)
    assert list(again) == second


def test_padded_batches_hold_examples_of_similar_length() -> None:
    lengths = [1 + (37 * number) % 101 for number in range(400)]
    order = list(EpochSampler(lengths, seed=0, group=8))
    spread = [max(group) - min(group) for group in (
        [lengths[index] for index in order[start : start + 8]] for start in range(0, 400, 8)
    )]  # fmt: skip
    assert sorted(order) == list(range(400))
    assert sorted(spread)[len(spread) // 2] <= 15
