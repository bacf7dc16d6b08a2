"""Trainings of the student in `tiny`, and readers of the files that they write."""

import json
from pathlib import Path
from typing import Any

from drp.config.sections import Config
from drp.runs.stage import RunOptions
from drp.stages import train
from drp.training.summary import TrainLogLine, TrainSummary
from tests.tiny import make_config, make_record

ADAPTER = "adapter/adapter_model.safetensors"

# Sixty steps whose validation loss goes up and down, so that the best weights are not the last ones.
FLUCTUATING: dict[str, Any] = {
    "epochs": 12,
    "learning_rate": 5e-2,
    "schedule": "constant",
    "eval_steps": 5,
    "checkpoint_steps": 7,
}


class Killed(BaseException):
    """Simulates SIGKILL: a BaseException, so that no `except Exception` catches it."""


def prepare(folder: Path, student: Path, records: int = 40, **settings: Any) -> Config:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(make_record(number)) + "\n" for number in range(records)]
    (folder / "pruned.jsonl").write_text("".join(lines))
    return make_config(student, folder, **settings)


def run(config: Config, **options: Any) -> TrainSummary:
    summary = train.run(config, RunOptions(**options))
    assert summary is not None
    return summary


def read_log(folder: Path) -> list[TrainLogLine]:
    return [TrainLogLine.model_validate_json(line) for line in (folder / "train/log.jsonl").read_text().splitlines()]


def read_course(folder: Path) -> list[dict[str, Any]]:
    """The log without its times, which differ between runs."""
    return [line.model_dump(exclude={"seconds", "tokens_per_s"}) for line in read_log(folder)]


def read_adapter(folder: Path) -> bytes:
    return (folder / "train" / ADAPTER).read_bytes()
