"""The files of one training, and its `summary.json`."""

import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from drp.records import Record
from drp.runs.jsonl import Appender, explain_os_errors, repair_tail, scan
from drp.runs.manifest import Counts, package_versions


class LogLine(Record):
    """A training line has `loss`, a validation line `validation_loss`; what a line does not know is None."""

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


def read_log(path: Path) -> list[LogLine]:
    return [LogLine.model_validate(item) for item in scan(path)]


def rewind_log(path: Path, step: int) -> float:
    """Forget what came after `step`, which a resumed run will do again. Returns the working time up to there."""
    seconds, keep = 0.0, []
    with explain_os_errors(path):
        repair_tail(path)
    for line in read_log(path):
        if line.step <= step:
            keep.append(line)
            seconds = line.seconds
    draft = path.with_name(f".{path.name}")
    with Appender(draft, truncate=True) as file:
        for line in keep:
            file.append(line)
    draft.replace(path)
    return seconds


@dataclass(frozen=True)
class TrainDir:
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


class Setup(BaseModel):
    """How this machine trained."""

    device: str
    """`cpu`, or the GPU's name."""
    processes: int = 1
    precision: str
    """`bf16`, `fp16` or `fp32`."""
    padding_free: bool
    """Whether the examples of a batch lay side by side without padding."""
    trained_weights: int
    total_weights: int
    """Those of the adapter included."""


@dataclass(frozen=True)
class Trained:
    """What a finished training knows beyond its log."""

    setup: Setup
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
    """Of the first optimizer step, in nats a response token."""
    last_loss: float
    """Mean over the last tenth of the steps."""
    validation_loss_before: float | None
    """Of the untrained student; None where nothing was set aside."""
    validation_loss: float | None
    """After the last step."""
    kept_step: int
    """The optimizer step whose weights `adapter/` and `merged/` hold (`train.keep`)."""
    kept_validation_loss: float | None
    """Of those weights; None where nothing was set aside."""
    tokens: int
    """Trained on, over all epochs, prompts included and padding not."""
    response_tokens: int
    """Those that carried loss."""
    seconds: float
    """Working time of optimizer steps, validations and checkpoints, over all runs that it took."""
    tokens_per_s: float
    response_tokens_per_s: float
    peak_rss_mib: int
    """Highest memory of the process that finished the training; of several, of the leader."""
    peak_gpu_mib: int | None
    """None without a GPU."""
    setup: Setup
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
    lines: list[LogLine],
    *,
    base_model: str,
    counts: Counts,
    train: int,
    validation: int,
    keep: Literal["best", "last"],
    trained: Trained,
    fingerprint: dict[str, Any],
) -> TrainSummary:
    """Read a finished training off its log."""
    steps = [line for line in lines if line.loss is not None]
    losses = [line.loss for line in steps if line.loss is not None]
    validations = [line.validation_loss for line in lines if line.validation_loss is not None]
    kept = _find_kept(lines, keep)
    tail = losses[-max(1, len(losses) // 10) :]
    tokens = sum(line.n_tokens or 0 for line in steps)
    response_tokens = sum(line.n_response_tokens or 0 for line in steps)
    seconds = lines[-1].seconds
    return TrainSummary(
        base_model=base_model,
        counts=counts,
        train=train,
        validation=validation,
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
        peak_rss_mib=trained.peak_rss_mib,
        peak_gpu_mib=trained.peak_gpu_mib,
        setup=trained.setup,
        fingerprint=fingerprint,
        versions=package_versions(),
    )


def _find_kept(lines: list[LogLine], keep: Literal["best", "last"]) -> LogLine:
    """The line of the step whose weights were exported; of equal losses the first, as the Trainer has it."""
    validations = [line for line in lines if line.validation_loss is not None and line.step > 0]
    if keep == "last" or not validations:
        return lines[-1]
    return min(validations, key=lambda line: line.validation_loss or 0.0)


def measure_peaks() -> tuple[int, int | None]:
    """Highest memory of this process so far, and on its GPU, in MiB."""
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rss = peak >> 20 if sys.platform == "darwin" else peak >> 10  # bytes there, KiB here
    return rss, torch.cuda.max_memory_allocated() >> 20 if torch.cuda.is_available() else None


# FOLDED DOC of training.journal:
# The training log, `log.jsonl`: one line an optimizer step, one a validation, continuous over kills.
#
# {"id": "12", "step": 12, "epoch": 0.08, "loss": 0.71, "lr": 0.0007, "grad_norm": 0.9, "n_tokens": 2871, ...}
# {"id": "12-validation", "step": 12, "epoch": 0.08, "validation_loss": 0.69, ...}
#
