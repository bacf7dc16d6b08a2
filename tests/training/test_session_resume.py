"""A training that is killed or interrupted resumes to the same adapter, bit by bit, with a continuous log."""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from drp.config.sections import Config
from drp.training.summary import TrainLogLine, TrainSummary
from drp.training.trainer import ResponseTrainer
from tests.training.forks import TrainingForks
from tests.training.runs import FLUCTUATING, Killed, prepare, read_adapter, read_course, run


def count_steps(folder: Path) -> int:
    path = folder / "train/log.jsonl"
    return path.read_bytes().count(b'"validation_loss":null') if path.exists() else 0


def kill_after(pid: int, folder: Path, steps: int) -> None:
    """Send SIGKILL at a random moment after so many steps."""
    deadline = time.monotonic() + 60
    while count_steps(folder) < steps and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.05))
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_training_killed_three_times_equals_an_uninterrupted_one(student: Path, tmp_path: Path) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    expected = run(prepare(whole, student, **FLUCTUATING))
    config = prepare(again, student, **FLUCTUATING)
    with TrainingForks() as forks:
        for _ in range(2):
            steps = count_steps(again) + random.randint(8, 15)
            kill_after(forks.start(config), again, steps)
            assert forks.wait() == signal.SIGKILL
            assert steps <= count_steps(again) < expected.steps, "the kill came in the middle of the run"
        forks.start(config, die_in_checkpoint=56)
        assert forks.wait() == signal.SIGKILL
    incomplete = again / "train/checkpoints/checkpoint-56"
    assert (incomplete / "optimizer.pt").exists()
    assert not (incomplete / "trainer_state.json").exists()
    summary = run(config)
    assert summary.kept_step == expected.kept_step < expected.steps
    assert read_course(again) == read_course(whole)
    for file in ("adapter/adapter_model.safetensors", "merged/model.safetensors", "sft.jsonl"):
        assert (again / "train" / file).read_bytes() == (whole / "train" / file).read_bytes()


@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_killed_run_resumes_to_the_same_adapter_with_a_continuous_log(
    finished: tuple[Config, TrainSummary], student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    config = prepare(tmp_path, student)
    write = ResponseTrainer._write

    def die(self: ResponseTrainer, line: TrainLogLine) -> None:
        write(self, line)
        if line.step == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ResponseTrainer, "_write", die)
        with pytest.raises(Killed):
            run(config)
    summary = run(config)
    assert read_adapter(tmp_path) == read_adapter(finished[0].run_dir)
    assert read_course(tmp_path) == read_course(finished[0].run_dir)
    assert summary.response_tokens == finished[1].response_tokens


def test_a_run_killed_while_it_writes_the_merged_model_only_repeats_that(
    finished: tuple[Config, TrainSummary], student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare(tmp_path, student)

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("drp.training.session.save_merged", die)
        with pytest.raises(Killed):
            run(config)
    monkeypatch.setattr(ResponseTrainer, "training_step", die)
    run(config)
    assert read_adapter(tmp_path) == read_adapter(finished[0].run_dir)


def test_an_incomplete_checkpoint_is_not_used(
    finished: tuple[Config, TrainSummary], student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare(tmp_path, student)

    def die(self: ResponseTrainer, line: TrainLogLine) -> None:
        if line.step == 7:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ResponseTrainer, "_write", die)
        with pytest.raises(Killed):
            run(config)
    state = tmp_path / "train/checkpoints/checkpoint-6/trainer_state.json"
    state.write_text(state.read_text()[:50])
    run(config)
    assert read_adapter(tmp_path) == read_adapter(finished[0].run_dir)


def test_ctrl_c_keeps_the_steps_done_and_the_next_run_finishes(
    finished: tuple[Config, TrainSummary], student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare(tmp_path, student, checkpoint_steps=100)
    write = ResponseTrainer._write

    def interrupt(self: ResponseTrainer, line: TrainLogLine) -> None:
        write(self, line)
        if line.step == 5:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ResponseTrainer, "_write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    assert json.loads((tmp_path / "train.manifest.json").read_text())["state"] == "interrupted"
    left = sorted(path.name for path in (tmp_path / "train/checkpoints").iterdir())
    assert left == ["checkpoint-4", "checkpoint-6"], "the best so far, and the last step done"
    run(config)
    assert read_adapter(tmp_path) == read_adapter(finished[0].run_dir)
