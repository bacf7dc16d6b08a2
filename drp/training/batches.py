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
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from drp.training.attention import lay_side_by_side
from drp.training.examples import IGNORED, Example

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
