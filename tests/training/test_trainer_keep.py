"""adapter/ and merged/ hold the weights that `train.keep` asks for."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from drp.errors import InputError
from drp.training.summary import TrainSummary
from drp.training.trainer import ResponseTrainer
from tests.training.runs import FLUCTUATING, Killed, prepare, read_adapter, read_log, run


def train_and_watch(folder: Path, student: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Any:
    """Train. Returns the summary, and the adapter's weights in each checkpoint by optimizer step."""
    weights: dict[int, bytes] = {}
    save = ResponseTrainer._save_checkpoint

    def save_and_copy(self: ResponseTrainer, *arguments: Any) -> None:
        save(self, *arguments)
        step = self.state.global_step
        weights[step] = (folder / f"train/checkpoints/checkpoint-{step}/adapter_model.safetensors").read_bytes()

    monkeypatch.setattr(ResponseTrainer, "_save_checkpoint", save_and_copy)
    return run(prepare(folder, student, **FLUCTUATING, **settings)), weights


def find_lowest(folder: Path) -> tuple[int, float]:
    losses = {line.step: line.validation_loss for line in read_log(folder) if line.validation_loss is not None}
    step = min(losses, key=lambda step: losses[step])
    return step, losses[step]


def test_the_best_weights_are_kept_and_named(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, weights = train_and_watch(tmp_path, student, monkeypatch)
    assert (summary.kept_step, summary.kept_validation_loss) == find_lowest(tmp_path)
    assert summary.kept_validation_loss < summary.validation_loss
    assert read_adapter(tmp_path) == weights[summary.kept_step] != weights[summary.steps]
    assert f"{summary.kept_validation_loss:.4f} at step {summary.kept_step}" in summary.describe()


def test_the_last_weights_are_kept_on_request(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, weights = train_and_watch(tmp_path, student, monkeypatch, keep="last")
    assert (summary.kept_step, summary.kept_validation_loss) == (summary.steps, summary.validation_loss)
    assert read_adapter(tmp_path) == weights[summary.steps]
    assert list(weights) == [7, 14, 21, 28, 35, 42, 49, 56, 60], (
        "only the checkpoints of checkpoint_steps and the last step"
    )


def test_without_a_validation_split_the_last_weights_are_kept(student: Path, tmp_path: Path) -> None:
    summary: TrainSummary = run(prepare(tmp_path, student, validation_split=0.0))
    assert (summary.kept_step, summary.kept_validation_loss) == (summary.steps, None)


def test_a_removed_best_checkpoint_is_named_in_the_error(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(self: ResponseTrainer) -> None:
        shutil.rmtree(f"{self.args.output_dir}/checkpoint-{self.state.best_global_step}")
        load(self)

    load = ResponseTrainer.load_best
    monkeypatch.setattr(ResponseTrainer, "load_best", remove)
    with pytest.raises(InputError, match=r"checkpoint-\d+: missing, .* --overwrite"):
        run(prepare(tmp_path, student, **FLUCTUATING))


def test_a_run_directory_that_moved_keeps_its_best_weights(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(prepare(tmp_path / "whole", student, **FLUCTUATING))
    before = prepare(tmp_path / "before", student, **FLUCTUATING)

    def die(_: ResponseTrainer) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ResponseTrainer, "load_best", die)
        with pytest.raises(Killed):
            run(before)
    before.run_dir.rename(tmp_path / "after")
    summary = run(prepare(tmp_path / "after", student, **FLUCTUATING))
    assert summary.kept_step == expected.kept_step < expected.steps
    assert read_adapter(tmp_path / "after") == read_adapter(tmp_path / "whole")
