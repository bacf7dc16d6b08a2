"""The files of a training: their paths, the log and the summary.

    log.jsonl      {"id": "12", "step": 12, "epoch": 0.08, "loss": 0.71, "lr": 0.0007, "n_tokens": 2871, ...}
                   {"id": "12-validation", "step": 12, "epoch": 0.08, "validation_loss": 0.69, ...}
    summary.json   {"base_model": "data/tiny/model", "counts": {...}, "train": 720, "steps": 135, ...}

The log has one line per optimizer step and one per validation. It is continuous over kills: a resumed training cuts off
what it will do again.

This module does not import torch, so that a run with nothing to train (`drp run` when the training is finished) does
not wait seconds for it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from drp.config.sections import Config
from drp.records import Record
from drp.runs.jsonl import Appender, read_records
from drp.runs.manifest import Counts, find_package_versions
from drp.training.examples import ExampleSelection


@dataclass(frozen=True)
class TrainDir:
    """The paths of one training's files."""

    root: Path

    @property
    def sft(self) -> Path:
        return self.root / "sft.jsonl"

    @property
    def log(self) -> Path:
        return self.root / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    @property
    def merged(self) -> Path:
        return self.root / "merged"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"


class TrainLogLine(Record):
    """A line of log.jsonl: of an optimizer step (with `loss`) or of a validation (with `validation_loss`). Fields that
    belong to the other kind are None."""

    step: int
    epoch: float
    loss: float | None = None
    """Mean over the step's response tokens, in nats."""
    validation_loss: float | None = None
    """Mean over the validation examples' response tokens, in nats."""
    lr: float | None = None
    grad_norm: float | None = None
    """Before clipping."""
    n_tokens: int | None = None
    """Tokens of the step, prompts included, padding not."""
    n_response_tokens: int | None = None
    """Those that carried loss."""
    tokens_per_s: float | None = None
    """Of the step, prompts included."""
    seconds: float
    """Working time since the start of training, over all runs that it took."""


def read_log(path: Path) -> list[TrainLogLine]:
    return list(read_records(path, TrainLogLine, "raise"))


def rewind_log(path: Path, step: int) -> float:
    """Remove the lines after `step`, which a resumed training writes again. Returns the working time up to there, in
    seconds."""
    kept = [line for line in read_log(path) if line.step <= step]
    draft = path.with_name(f".{path.name}")
    with Appender(draft, truncate=True) as file:
        for line in kept:
            file.append(line)
    draft.replace(path)
    return kept[-1].seconds if kept else 0.0


class TrainSetup(BaseModel):
    """How this machine trained."""

    device: str
    """`cpu`, or the GPU's name."""
    processes: int = 1
    precision: str
    """`bf16`, `fp16` or `fp32`."""
    padding_free: bool
    """Whether the examples of a batch were joined in one row without padding."""
    trained_weights: int
    total_weights: int
    """Base and adapter."""


@dataclass(frozen=True)
class TrainResult:
    """What a finished training returns in addition to its log. Peaks are those of the process that returns it."""

    setup: TrainSetup
    peak_rss_mib: int
    peak_gpu_mib: int | None


class TrainSummary(BaseModel):
    """What was trained, on what, and how it went."""

    base_model: str
    counts: Counts
    """written: used, for training or validation."""
    train: int
    """Examples trained on."""
    validation: int
    """Examples set aside for the validation loss."""
    steps: int
    """Optimizer steps."""
    epochs: float
    first_loss: float
    """Of the first optimizer step, in nats per response token."""
    last_loss: float
    """Mean over the last tenth of the steps."""
    validation_loss_before: float | None
    """Of the untrained student; None without validation examples."""
    validation_loss: float | None
    """After the last step; None without validation examples."""
    kept_step: int
    """The optimizer step whose weights `adapter/` and `merged/` hold (`train.keep`)."""
    kept_validation_loss: float | None
    """Of those weights; None without validation examples."""
    tokens: int
    """Tokens trained on, over all epochs, prompts included, padding not."""
    response_tokens: int
    """Those that carried loss."""
    seconds: float
    """Working time of optimizer steps, validations and checkpoints, over all runs that it took."""
    tokens_per_s: float
    response_tokens_per_s: float
    peak_rss_mib: int
    """Peak memory of the process that finished the training; of several, of the main process."""
    peak_gpu_mib: int | None
    """None without a GPU."""
    setup: TrainSetup
    fingerprint: dict[str, Any]
    versions: dict[str, str]

    def describe(self) -> str:
        validation = ""
        if self.kept_validation_loss is not None:
            validation = f", validation {self.kept_validation_loss:.4f} at step {self.kept_step}"
        return (
            f"{self.steps} steps over {self.train} examples, loss {self.first_loss:.4f} -> {self.last_loss:.4f}"
            f"{validation}; {self.seconds:.0f} s, {self.tokens_per_s:,.0f} tokens/s, "
            f"{self.response_tokens_per_s:,.0f} of them response"
        )


def summarize(
    lines: list[TrainLogLine],
    *,
    config: Config,
    selection: ExampleSelection,
    result: TrainResult,
    fingerprint: dict[str, Any],
) -> TrainSummary:
    """The summary of a finished training, from the lines of its log."""
    steps = [line for line in lines if line.loss is not None]
    losses = [line.loss for line in steps if line.loss is not None]
    validations = [line.validation_loss for line in lines if line.validation_loss is not None]
    kept = _find_kept(lines, config.train.keep)
    tail = losses[-max(1, len(losses) // 10) :]
    tokens = sum(line.n_tokens or 0 for line in steps)
    response_tokens = sum(line.n_response_tokens or 0 for line in steps)
    seconds = lines[-1].seconds
    return TrainSummary(
        base_model=config.student.model,
        counts=selection.counts(),
        train=len(selection.train),
        validation=len(selection.validation),
        steps=steps[-1].step,
        epochs=steps[-1].epoch,
        first_loss=losses[0],
        last_loss=sum(tail) / len(tail),
        validation_loss_before=validations[0] if validations else None,
        validation_loss=validations[-1] if validations else None,
        kept_step=kept.step,
        kept_validation_loss=kept.validation_loss,
        tokens=tokens,
        response_tokens=response_tokens,
        seconds=seconds,
        tokens_per_s=round(tokens / seconds, 1),
        response_tokens_per_s=round(response_tokens / seconds, 1),
        peak_rss_mib=result.peak_rss_mib,
        peak_gpu_mib=result.peak_gpu_mib,
        setup=result.setup,
        fingerprint=fingerprint,
        versions=find_package_versions(),
    )


def _find_kept(lines: list[TrainLogLine], keep: Literal["best", "last"]) -> TrainLogLine:
    """The line of the step whose weights were exported. Of equal validation losses the first one counts, as in the
    Trainer."""
    validations = [line for line in lines if line.validation_loss is not None and line.step > 0]
    if keep == "last" or not validations:
        return lines[-1]
    return min(validations, key=lambda line: line.validation_loss or 0.0)
