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


def join_examples(examples: Sequence[Example]) -> Batch:
    """One row without padding; needs `attention.install`."""
    inputs = lay_side_by_side([torch.tensor(example.input_ids) for example in examples])
    labels = torch.cat([torch.tensor(example.labels) for example in examples])[None]
    return _build_batch(examples, inputs, labels)


def pad_examples(examples: Sequence[Example]) -> Batch:
    """One row an example, padded on the right. No attention mask: under causal attention no token sees what comes
    after it, so what stands in the padding never matters, and the attention needs no mask to compute."""
    longest = max(map(len, examples))
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    labels = torch.full((len(examples), longest), IGNORED)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = torch.tensor(example.input_ids)
        labels[row, : len(example)] = torch.tensor(example.labels)
    return _build_batch(examples, {"input_ids": ids}, labels)


def _build_batch(examples: Sequence[Example], inputs: dict[str, Any], labels: Tensor) -> Batch:
    return {
        "inputs": inputs,
        "labels": labels,
        "columns": (labels[:, 1:] != IGNORED).any(dim=0).nonzero()[:, 0],
        "ids": [example.id for example in examples],
        "n_tokens": sum(map(len, examples)),
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
    """A new order each epoch that depends on seed and epoch alone, so that a resumed epoch repeats it.

    group: examples for one optimizer step whose lengths should be alike, or None to shuffle freely.
    """

    def __init__(self, lengths: Sequence[int], seed: int, group: int | None) -> None:
        self.lengths, self.seed, self.group = list(lengths), seed, group
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self.group is None:
            return iter(torch.randperm(len(self.lengths), generator=generator).tolist())
        return iter(get_length_grouped_indices(self.lengths, self.group, generator=generator))  # type: ignore[no-untyped-call]
