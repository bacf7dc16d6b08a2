"""Pretrain a small Qwen2 on (prompt, response) documents, loss on responses only, resumable and deterministic.

The order of batches, the number of steps and the learning rates follow from the options alone, so the same seed gives
the same weights on one device, killed and resumed or not. Writes `state.pt` (weights, optimisers, step), and a log line
every `log_every` steps:

    {"step": 100, "tokens": 583112, "loss": 0.91, "lr": 1.0, "tokens_per_s": 9600.0, "wall_s": 61.2}
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Qwen2Config, Qwen2ForCausalLM

Document = tuple[int, list[int]]
"""(number of prompt tokens, ids of prompt and response)."""


@dataclass(frozen=True)
class ModelSize:
    """The student's shape; 1.8 million parameters with 1,152 vocabulary entries."""

    hidden: int = 192
    mlp: int = 512
    layers: int = 4
    heads: int = 6
    kv_heads: int = 2


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    batch_tokens: int = 4096
    """Tokens of a batch, padding included."""
    warmup: int = 60
    constant: float = 0.5
    """The share of the steps at full speed, warm-up included; then the rates fall linearly to zero."""
    muon_lr: float = 0.02
    adam_lr: float = 4e-3
    again: int = 0
    """Steps after the first `steps`: the rates rise to half, then fall to zero once more."""
    save_every: int = 200
    log_every: int = 20
    compiled: bool = False

    @property
    def total(self) -> int:
        return self.steps + self.again

    def factor(self, step: int) -> float:
        """What the learning rates are multiplied with at `step`, counted from 0."""
        if step >= self.steps:
            since = step - self.steps
            return 0.5 * min((since + 1) / self.warmup, (self.again - since) / self.again)
        fall = (self.steps - step) / max(1.0, self.steps * (1 - self.constant))
        return min((step + 1) / self.warmup, 1.0, fall)


def build_model(size: ModelSize, vocabulary: int, bos: int, eos: int, pad: int, seed: int) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen2Config(  # type: ignore[call-arg]
        vocab_size=vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.mlp,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        attn_implementation="sdpa",
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    return Qwen2ForCausalLM(config)  # type: ignore[no-untyped-call]


def plan_batches(lengths: list[int], schedule: Schedule, seed: int) -> list[list[int]]:
    """Document indexes of every step: batches of like lengths, within the token budget, in random order."""
    rng = random.Random(f"{seed} batches")
    batches: list[list[int]] = []
    while len(batches) < schedule.total:
        order = list(range(len(lengths)))
        rng.shuffle(order)
        epoch: list[list[int]] = []
        for start in range(0, len(order), 4096):
            epoch += fill_batches(sorted(order[start : start + 4096], key=lengths.__getitem__), lengths, schedule)
        rng.shuffle(epoch)
        batches += epoch
    return batches[: schedule.total]


def fill_batches(ordered: list[int], lengths: list[int], schedule: Schedule) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    for index in ordered:
        if batches[-1] and lengths[index] * (len(batches[-1]) + 1) > schedule.batch_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


def pad_batch(documents: list[Document], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids (batch, seq) padded on the right; flat positions that predict a response token; the tokens predicted."""
    width = (max(len(ids) for _, ids in documents) + 31) // 32 * 32
    rows: list[list[int]] = []
    positions: list[int] = []
    targets: list[int] = []
    for row, (n_prompt, ids) in enumerate(documents):
        rows.append(ids + [pad] * (width - len(ids)))
        positions += range(row * width + n_prompt - 1, row * width + len(ids) - 1)
        targets += ids[n_prompt:]
    return torch.tensor(rows), torch.tensor(positions), torch.tensor(targets)


class Pretraining:
    """The model, its optimisers and where they have got to."""

    def __init__(self, model: Qwen2ForCausalLM, schedule: Schedule, device: str) -> None:
        self.model = model.to(device).train()  # type: ignore[arg-type]
        self.schedule = schedule
        self.device = device
        self.step = 0
        self.tokens = 0
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
        rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=schedule.muon_lr, weight_decay=0.01),
            torch.optim.AdamW(rest, lr=schedule.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.rates = [schedule.muon_lr, schedule.adam_lr]
        self.trunk: Callable[..., Any] = torch.compile(model.model, dynamic=True) if schedule.compiled else model.model

    def train_batch(self, documents: list[Document]) -> torch.Tensor:
        """One step; returns the mean loss of the response tokens."""
        ids, positions, targets = (t.to(self.device) for t in pad_batch(documents, self.model.config.pad_token_id))
        with torch.autocast(self.device, torch.bfloat16):
            hidden = self.trunk(input_ids=ids, use_cache=False).last_hidden_state
            logits = self.model.lm_head(hidden.flatten(0, 1).index_select(0, positions))
            loss = cross_entropy(logits.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.update()
        self.tokens += sum(len(ids) for _, ids in documents)
        return loss.detach()

    def update(self) -> None:
        factor = self.schedule.factor(self.step)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def save(self, path: Path) -> None:
        """Write the state so that a kill leaves either the old or the new file."""
        state = {
            "step": self.step,
            "tokens": self.tokens,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.step, self.tokens = state["step"], state["tokens"]
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def trim_log(path: Path, step: int) -> None:
    """Drop the lines after `step`, which a resumed run writes again."""
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    path.write_text("".join(line + "\n" for line in kept))


def pretrain(
    run: Pretraining, documents: list[Document], work_dir: Path, seed: int, on_save: Callable[[Pretraining], None]
) -> None:
    """Train to the schedule's last step from wherever `work_dir` has got to; call `on_save` after each checkpoint."""
    state, log = work_dir / "state.pt", work_dir / "build_log.jsonl"
    if state.exists():
        run.load(state)
    trim_log(log, run.step)
    schedule = run.schedule
    batches = plan_batches([len(ids) for _, ids in documents], schedule, seed)
    begun, tokens_then, losses = time.monotonic(), run.tokens, []
    for batch in batches[run.step :]:
        losses.append(run.train_batch([documents[index] for index in batch]))
        if run.step % schedule.log_every == 0 or run.step == schedule.total:
            wall = time.monotonic() - begun
            write_log(log, run, float(torch.stack(losses).mean()), (run.tokens - tokens_then) / wall)
            begun, tokens_then, losses = time.monotonic(), run.tokens, []
        if run.step % schedule.save_every == 0 or run.step == schedule.total:
            run.save(state)
            on_save(run)


def write_log(path: Path, run: Pretraining, loss: float, rate: float) -> None:
    line = {
        "step": run.step,
        "tokens": run.tokens,
        "loss": round(loss, 4),
        "lr": round(run.schedule.factor(run.step - 1) * run.schedule.muon_lr, 6),
        "tokens_per_s": round(rate),
    }
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(line, flush=True)
