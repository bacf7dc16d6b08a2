"""Stage train end to end, on a student of a few thousand weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from drp.config.sections import Config
from drp.errors import ConfigError, DrpError, InputError, TooManyFailures
from drp.runs.stage import RunOptions
from drp.stages import train
from drp.training.summary import TrainSummary
from tests.tiny import make_config, make_record, save_student
from tests.training.runs import prepare, read_adapter, read_log, run


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, student: Path) -> tuple[Config, TrainSummary]:
    config = prepare(tmp_path_factory.mktemp("finished"), student)
    return config, run(config)


def test_training_lowers_the_loss_and_leaves_whole_artifacts(finished: tuple[Config, TrainSummary]) -> None:
    config, summary = finished
    assert summary.validation_loss is not None
    assert summary.validation_loss_before is not None
    assert summary.validation_loss < summary.validation_loss_before - 0.1
    assert summary.last_loss < summary.first_loss
    assert (summary.train, summary.validation, summary.steps) == (36, 4, 10)
    names = {path.name for path in (config.run_dir / "train").iterdir()}
    assert names == {"sft.jsonl", "log.jsonl", "summary.json", "adapter", "merged"}
    assert train.load_summary(config.run_dir / "train/summary.json") == summary


def test_the_log_has_a_line_a_step_and_adds_up(finished: tuple[Config, TrainSummary]) -> None:
    config, summary = finished
    lines = read_log(config.run_dir)
    steps = [line for line in lines if line.loss is not None]
    assert [line.step for line in steps] == list(range(1, 11))
    assert [line.step for line in lines if line.validation_loss is not None] == [0, 4, 8, 10]
    sft = [json.loads(line) for line in (config.run_dir / "train/sft.jsonl").read_text().splitlines()]
    trained = [line for line in sft if line["split"] == "train"]
    assert summary.response_tokens == 2 * sum(line["n_response_tokens"] for line in trained)
    assert summary.tokens == 2 * sum(len(line["input_ids"]) for line in trained)


def test_the_same_run_twice_gives_the_same_adapter(
    finished: tuple[Config, TrainSummary], student: Path, tmp_path: Path
) -> None:
    config = prepare(tmp_path, student)
    lines = (tmp_path / "pruned.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "pruned.jsonl").write_text("".join(reversed(lines)))  # the order of the file decides nothing
    run(config)
    assert read_adapter(tmp_path) == read_adapter(finished[0].run_dir)


def test_a_finished_training_is_not_done_again(
    finished: tuple[Config, TrainSummary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drp.training.session.train_student", lambda *_: pytest.fail("trained again"))
    assert run(finished[0]) == finished[1]


def test_another_configuration_is_refused_by_the_key_that_changed(finished: tuple[Config, TrainSummary]) -> None:
    config, _ = finished
    other = config.model_copy(update={"train": config.train.model_copy(update={"learning_rate": 1e-4})})
    with pytest.raises(InputError, match=r"train\.learning_rate: 0\.005 -> 0\.0001"):
        run(other)


def test_overwrite_starts_again(student: Path, tmp_path: Path) -> None:
    config = prepare(tmp_path, student, epochs=1)
    run(config)
    (tmp_path / "pruned.jsonl").write_text(json.dumps(make_record(1)) + "\n" + json.dumps(make_record(2)) + "\n")
    with pytest.raises(InputError, match="input"):
        run(config)
    assert run(config, overwrite=True).counts.read == 2


def test_side_by_side_and_padded_training_agree(student: Path, tmp_path: Path) -> None:
    losses = []
    for padding_free in (True, False):
        config = prepare(tmp_path / str(padding_free), student, epochs=1, batch_size=40, padding_free=padding_free)
        summary = run(config)
        assert summary.setup.padding_free is padding_free
        losses.append([summary.first_loss, summary.validation_loss])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_loss_that_is_not_a_number_stops_with_the_records_named(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drp.training import trainer

    true = trainer.sum_loss
    monkeypatch.setattr(
        trainer, "sum_loss", lambda model, batch: true(model, batch) * (float("nan") if "p-7#0" in batch["ids"] else 1)
    )
    with pytest.raises(DrpError, match=r"p-7#0") as caught:
        run(prepare(tmp_path, student, validation_split=0.0))
    assert len(caught.value.args[0].split("#0")) == 5, "the four of the micro-batch, not all eight of the step"


def test_counts_failures_and_their_limit(student: Path, tmp_path: Path) -> None:
    config = prepare(tmp_path, student, epochs=1)
    with (tmp_path / "pruned.jsonl").open("a") as file:
        file.write(json.dumps(make_record(90, correct=False)) + "\n" + '{"id": "torn')
    with pytest.raises(TooManyFailures, match="1 of 42"):
        run(config.model_copy(update={"max_failures": 0.02}))
    assert "pruned.jsonl:42" in (tmp_path / "train.failed.jsonl").read_text()
    summary = run(config.model_copy(update={"max_failures": 0.1}))
    assert summary.counts.filtered == {"incorrect": 1}
    assert (summary.counts.read, summary.counts.written, summary.counts.failed) == (42, 40, 1)


def test_preview_shows_the_text_and_writes_nothing(student: Path, tmp_path: Path) -> None:
    config = prepare(tmp_path, student)
    shown = train.preview(config).render()
    assert "[[" in shown
    assert "36 to train on, 4 for validation" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["pruned.jsonl"]


def test_dry_run_and_limit(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = prepare(tmp_path, student)
    assert train.run(config, RunOptions(dry_run=True, limit=5)) is None
    assert "read 5 = written 5" in capsys.readouterr().out
    assert not (tmp_path / "train").exists()


def test_the_users_mistakes_are_explained(student: Path, tmp_path: Path) -> None:
    config = prepare(tmp_path, student, epochs=1)
    with pytest.raises(InputError, match="is missing"):
        run(config, input=tmp_path / "nothing.jsonl")
    with pytest.raises(InputError, match="nothing to train on"):
        run(config.model_copy(update={"train": config.train.model_copy(update={"cutoff_tokens": 3})}))
    lora = config.train.lora.model_copy(update={"targets": ["no_such_layer"]})
    with pytest.raises(ConfigError, match=r"train\.lora\.targets"):
        run(config.model_copy(update={"train": config.train.model_copy(update={"lora": lora})}), overwrite=True)
    with pytest.raises(InputError, match=r"student\.model"):
        run(make_config(tmp_path / "no-model", tmp_path), overwrite=True)


def test_a_full_disk_is_the_users_to_mend(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    def fail(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("peft.PeftModel.save_pretrained", fail)
    with pytest.raises(InputError, match="make room"):
        run(prepare(tmp_path, student, epochs=1))
    assert not (tmp_path / "train/adapter").exists()
