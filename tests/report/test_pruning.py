"""Tokens saved by skill, and the table of judged comparisons."""

import random
from pathlib import Path

import pytest

from drp.errors import InputError
from drp.evaluation.preference import write_preference
from drp.report.pruning import PruningSurvey, each_step, judging_table, read_preferences
from drp.report.tables import write_markdown
from tests.evaluation.test_preference import judgement
from tests.report.run_fixture import make_pruning


def test_the_text_of_a_merge_is_divided_by_step_length() -> None:
    record = make_pruning(1, random.Random(0))
    left = {index: (action.value, round(characters)) for index, action, characters in each_step(record)}
    merged = record.edits[2]
    assert left[0] == ("keep", len(record.steps[0].text))
    assert left[4] == ("delete", 0)
    assert left[2][1] + left[3][1] == pytest.approx(len(merged.text), abs=1)
    survey = PruningSurvey()
    survey.add(record)
    spent = sum(use.tokens for use in survey.skills.values())
    assert spent == pytest.approx(record.n_tokens * len(record.thinking) / len(record.response))


def test_each_comparison_is_a_row(tmp_path: Path) -> None:
    for name, wins in (("sentence", 33), ("default", 25)):
        lines = [judgement(n, *["a" if n < wins else "b"] * 2).model_dump_json() + "\n" for n in range(50)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
        write_preference(tmp_path / f"{name}.jsonl", "skill", name)
    table = judging_table(read_preferences(tmp_path))
    assert table is not None
    assert [row.cells[0].text for row in table.rows] == ["default", "sentence"]
    written = write_markdown(table)
    assert "| sentence | judge-1 | 50 | 33 / 17 | 0 | 66.0% (51.2–78.8) | 0.033 | 0.0% |" in written
    assert "sentence: 50 pairs with a winner: a side needs at least 33 wins" in written


def test_a_run_without_a_judge_has_no_table(tmp_path: Path) -> None:
    assert judging_table(read_preferences(tmp_path / "judge")) is None


def test_a_file_that_is_no_summary_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.summary.json").write_text("{}")
    with pytest.raises(InputError, match=r"x\.summary\.json: not a summary of `drp judge`"):
        read_preferences(tmp_path)
