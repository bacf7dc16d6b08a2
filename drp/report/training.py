"""The course of the training, from train/log.jsonl and train/summary.json.

    {"step": 10, "loss": 0.71, "lr": 2.9e-5, "grad_norm": 0.8, "tokens_per_s": 4100}
    {"step": 300, "validation_loss": 0.42}

Lines that are not whole, and keys that are missing, are passed over: a training that still runs has a report too.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drp.report.tables import Cell, Row, Table, number
from drp.runs.jsonl import explain_os_errors

Curve = list[tuple[float, float]]


@dataclass
class Training:
    """loss, validation: (step, loss); rates: (step, learning rate)."""

    loss: Curve = field(default_factory=list)
    validation: Curve = field(default_factory=list)
    rates: Curve = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    """Tokens a second, as logged."""
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def kept_step(self) -> float | None:
        """The step whose weights were kept; None until the training is finished."""
        return _take_number(self.summary, "kept_step")


def read_training(folder: Path) -> Training | None:
    """None where training left nothing yet."""
    training = Training(summary=_read_summary(folder / "summary.json"))
    for line in _read_lines(folder / "log.jsonl"):
        step = _take_number(line, "step")
        if step is None:
            continue
        curves = {"loss": training.loss, "validation_loss": training.validation, "lr": training.rates}
        for key, curve in curves.items():
            value = _take_number(line, key)
            if value is not None:
                curve.append((step, value))
        speed = _take_number(line, "tokens_per_s")
        if speed is not None:
            training.speeds.append(speed)
    return training if training.loss or training.summary else None


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with explain_os_errors(path), path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                item = json.loads(line)
            except ValueError:
                continue
            if isinstance(item, dict):
                yield item


def _take_number(line: dict[str, Any], key: str) -> float | None:
    value = line.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number and value is not None else None


def _read_summary(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    with explain_os_errors(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def training_table(training: Training) -> Table | None:
    """The values of summary.json as they stand there; None where there are none."""
    setup = training.summary.get("setup")
    values = {**training.summary, **(setup if isinstance(setup, dict) else {})}
    rows = [
        Row([Cell(key.replace("_", " ")), Cell(_describe(value))])
        for key, value in values.items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    ]
    return Table("training", "The training in numbers", ["", "Value"], rows, texts=2) if rows else None


def _describe(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return number(value) if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"
