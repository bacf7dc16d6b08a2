"""`drp import`: other people's traces, from files of each kind, graded on the way."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Ended, read_lines

ROWS = [
    {
        "uid": "a",
        "problem": "3 bags of 4?",
        "gold": "work #### 12",
        "text": "3 x 4 = 12\n</think>\n\nIt is \\boxed{12}.",
    },
    {
        "uid": "a",
        "problem": "3 bags of 4?",
        "gold": "work #### 12",
        "text": "<think>\nso 13\n</think>\n\nThe answer is 13.",
    },
    {"uid": "b", "problem": "2 bags of 5?", "gold": "10", "text": "2 x 5, still thinking of \\boxed{10}"},
]
COLUMNS = ("--question", "problem", "--response", "text", "--answer", "gold", "--id", "uid", "--model", "r1")


def write_rows(path: Path) -> None:
    if path.suffix == ".parquet":
        from datasets import Dataset

        Dataset.from_list(ROWS).to_parquet(str(path))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_rows_become_graded_traces(drp: Callable[..., Ended], tmp_path: Path, name: str) -> None:
    write_rows(tmp_path / name)
    target = tmp_path / "traces.jsonl"
    student = REPOSITORY / "data" / "tiny" / "model"
    ended = drp("import", tmp_path / name, "--output", target, *COLUMNS, "--tokenizer", student)
    assert ended.status == 0, ended.err
    traces = {trace["id"]: trace for trace in read_lines(target)}
    assert [(id, traces[id]["correct"], traces[id]["predicted"]) for id in sorted(traces)] == [
        ("a#0", True, "12"),
        ("a#1", False, "13"),
        ("b#0", False, None),
    ]
    assert traces["a#1"]["thinking"] == "so 13"
    assert (traces["b#0"]["summary"], traces["b#0"]["model"]) == ("", "r1")
    assert all(trace["n_tokens"] > 5 for trace in traces.values())


def test_a_missing_column_is_named_with_the_option_that_sets_it(drp: Callable[..., Ended], tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl")
    ended = drp("import", tmp_path / "rows.jsonl", "--output", tmp_path / "traces.jsonl")
    assert ended.status == 2
    assert "no column `question`; name one with --question: uid, problem, gold, text" in ended.err


def test_a_missing_file_is_named(drp: Callable[..., Ended], tmp_path: Path) -> None:
    ended = drp("import", tmp_path / "none.jsonl", "--output", tmp_path / "traces.jsonl")
    assert ended.status == 2
    assert "none.jsonl" in ended.err


def test_bad_rows_are_counted_and_the_good_ones_kept(
    drp: Callable[..., Ended], tmp_path: Path, write_lines: Callable[..., Path]
) -> None:
    source = write_lines(
        "rows.jsonl",
        ROWS[0],
        {**ROWS[1], "problem": ""},
        {**ROWS[1], "gold": "nobody knows what this long and winding worked solution comes to, it never says " * 30},
        {**ROWS[2], "text": None},
        '{"uid": "c", "problem": "cut o',
    )
    ended = drp("import", source, "--output", tmp_path / "traces.jsonl", *COLUMNS)
    assert ended.status == 1
    assert "read 5 = written 1 + filtered 0 + failed 4" in ended.out
    messages = [failure["message"] for failure in read_lines(tmp_path / "traces.failed.jsonl")]
    assert "empty `problem`" in messages[0]
    assert "no gold answer" in messages[1]
    assert "empty `text`" in messages[2]
    assert "rows.jsonl:5" in messages[3]
