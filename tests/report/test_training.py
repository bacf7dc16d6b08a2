"""The loss figure and the summary table of a training."""

import json
from pathlib import Path

from drp.report.figures import loss_figure
from drp.report.training import read_training, training_table


def write_log(folder: Path, **summary: float) -> Path:
    lines = [{"step": step, "loss": 1 / step, "lr": 3e-5 / step} for step in range(1, 9)]
    lines += [{"step": 4, "validation_loss": 0.3}, {"step": 8, "validation_loss": 0.4}]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if summary:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_losses_learning_rate_and_the_kept_step_are_drawn(tmp_path: Path) -> None:
    training = read_training(write_log(tmp_path, kept_step=4, kept_validation_loss=0.3))
    assert training is not None
    assert training.validation_loss == [(4, 0.3), (8, 0.4)]
    assert training.learning_rate[:2] == [(1, 3e-5), (2, 1.5e-5)]
    shown = loss_figure(training).render_svg()
    assert all(label in shown for label in ("training", "validation", "learning rate", "weights kept: step 4"))
    table = training_table(training)
    assert table is not None
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["kept step", "4"], ["kept validation loss", "0.3"],
    ]  # fmt: skip


def test_a_running_training_has_no_kept_step(tmp_path: Path) -> None:
    training = read_training(write_log(tmp_path))
    assert training is not None
    assert training.kept_step is None
    assert "kept" not in loss_figure(training).render_svg()
