"""A training without a launcher uses one device, however many there are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import TrainingArguments
from transformers.training_args import ParallelMode

from drp.config.sections import TrainSettings
from drp.training.trainer import build_arguments
from tests.training.runs import prepare, run


@pytest.fixture
def _four_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.set_device", lambda _: None)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)  # accelerate remembers the device for the whole process


@pytest.mark.usefixtures("_four_gpus")
def test_the_batch_is_not_multiplied_by_the_number_of_gpus(tmp_path: Path) -> None:
    settings = TrainSettings(batch_size=3)
    plain = TrainingArguments(str(tmp_path), per_device_train_batch_size=3)
    assert (plain.n_gpu, plain.train_batch_size, plain.parallel_mode) == (4, 12, ParallelMode.NOT_DISTRIBUTED)
    ours = build_arguments(settings, tmp_path, 0, precision="fp32", validate=True, resumed=False)
    assert ours.device == torch.device("cuda:0")
    assert (ours.n_gpu, ours.train_batch_size, ours.eval_batch_size) == (1, 3, 3)
    assert ours.parallel_mode == ParallelMode.NOT_PARALLEL


def test_gpus_that_are_not_used_are_said(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    run(prepare(tmp_path, student, epochs=1))
    assert "one of 4 GPUs is used; train.num_processes=4 would use all" in capsys.readouterr().err
