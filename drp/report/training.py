"""The course of a training, from train/log.jsonl, and its figures, from train/summary.json.

    {"step": 10, "loss": 0.71, "lr": 2.9e-5, "grad_norm": 0.8, "tokens_per_s": 4100}
    {"step": 300, "validation_loss": 0.42}

Incomplete lines are skipped and missing keys are no error: a training that is still running can be shown, too.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, FiniteFloat

from drp.report.tables import Cell, Table, TableRow, number
from drp.runs.jsonl import explain_os_errors, read_records

Curve = list[tuple[float, float]]

LABELS = {
    "train": "training examples",
    "validation": "validation examples",
    "tokens_per_s": "tokens per second",
    "response_tokens_per_s": "response tokens per second",
    "peak_rss_mib": "peak memory, MiB",
    "peak_gpu_mib": "peak GPU memory, MiB",
}
"""Keys of summary.json that need other words than their own."""


@dataclass
class TrainingCurves:
    """What a training logged. A curve is a list of (optimizer step, value)."""

    loss: Curve = field(default_factory=list)
    validation_loss: Curve = field(default_factory=list)
    learning_rate: Curve = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    """train/summary.json; empty until the training has finished."""

    @property
    def kept_step(self) -> int | None:
        """The optimizer step whose weights were kept; None until the training has finished."""
        kept = self.summary.get("kept_step")
        return kept if isinstance(kept, int) else None


class _LogLine(BaseModel):
    step: FiniteFloat
    loss: FiniteFloat | None = None
    validation_loss: FiniteFloat | None = None
    lr: FiniteFloat | None = None


def read_training(folder: Path) -> TrainingCurves | None:
    """Read a run's `train` folder; None if it holds no log and no summary."""
    training = TrainingCurves(summary=_read_summary(folder / "summary.json"))
    for line in read_records(folder / "log.jsonl", _LogLine, "skip"):
        for curve, value in (
            (training.loss, line.loss),
            (training.validation_loss, line.validation_loss),
            (training.learning_rate, line.lr),
        ):
            if value is not None:
                curve.append((line.step, value))
    return training if training.loss or training.summary else None


def _read_summary(path: Path) -> dict[str, Any]:
    """Empty if the file is missing or is not a JSON object."""
    if not path.exists():
        return {}
    with explain_os_errors(path):
        text = path.read_bytes()
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def training_table(training: TrainingCurves) -> Table | None:
    """The numbers and names in summary.json; None if there are none."""
    setup = training.summary.get("setup")
    values = {**training.summary, **(setup if isinstance(setup, dict) else {})}
    rows = [
        TableRow([Cell(LABELS.get(key, key.replace("_", " "))), Cell(_describe(value))])
        for key, value in values.items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    ]
    return Table("training", "Training summary", ["", "Value"], rows, texts=2) if rows else None


def _describe(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return number(value) if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"
