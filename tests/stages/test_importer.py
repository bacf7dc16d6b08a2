"""`drp import`: other people's traces, from files of each kind, graded on the way."""

import gzip
import json
import subprocess
import sys
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


SHAPES = {
    "openai": {
        "messages": [
            {"role": "user", "content": "2 x 5?"},
            {"role": "assistant", "content": "10</think>The answer is 10."},
        ]
    },
    "reasoning apart": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "2 x 5?"}]},
            {"role": "assistant", "reasoning_content": "10", "content": "The answer is 10."},
        ]
    },
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": "2 x 5?"},
            {"from": "gpt", "value": "<think>\n10</think>The answer is 10."},
        ]
    },
    "prompt of messages": {
        "question": [{"role": "user", "content": "2 x 5?"}],
        "response": [{"role": "assistant", "content": "10</think>The answer is 10."}],
    },
    "list of generations": {"question": "2 x 5?", "response": ["10</think>The answer is 10."]},
    "other tags": {"question": "2 x 5?", "response": "[THINK]10[/THINK]The answer is 10."},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_question_and_response_are_found_in_each_shape(
    drp: Callable[..., Ended], tmp_path: Path, write_lines: Callable[..., Path], shape: str
) -> None:
    source = write_lines("rows.jsonl", {**SHAPES[shape], "answer": "10"})
    ended = drp("import", source, "--output", tmp_path / "traces.jsonl")
    assert ended.status == 0, ended.err
    [trace] = read_lines(tmp_path / "traces.jsonl")
    assert (trace["question"], trace["thinking"], trace["summary"]) == ("2 x 5?", "10", "The answer is 10.")
    assert (trace["answer"], trace["correct"]) == ("10", True)


def test_each_generation_is_a_trace_and_reasoning_may_have_a_column_of_its_own(
    drp: Callable[..., Ended], tmp_path: Path, write_lines: Callable[..., Path]
) -> None:
    rows = {
        "question": "2 x 5?",
        "response": ["The answer is 10.", "The answer is 7."],
        "why": ["2 x 5 = 10", "2 + 5 = 7"],
        "answer": 10,
    }
    source = write_lines("rows.jsonl", rows)
    ended = drp("import", source, "--output", tmp_path / "traces.jsonl", "--reasoning", "why")
    assert ended.status == 0, ended.err
    traces = read_lines(tmp_path / "traces.jsonl")
    assert sorted((trace["id"], trace["thinking"], trace["correct"]) for trace in traces) == [
        ("rows-0#0", "2 x 5 = 10", True),
        ("rows-0#1", "2 + 5 = 7", False),
    ]


REFUSED = [
    ({"response": {"text": "10"}}, "`response` holds an object"),
    ({"response": [["10"], 3.5, True]}, "`response` holds no text"),
    ({"question": ["a", "b"]}, "`question` holds a list"),
    ({"question": float("nan")}, "empty `question`"),
    ({"response": []}, "`response` holds a list"),
    ({"answer": ["10"]}, "`answer` holds a list"),
    ({"question": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, "2 messages of the user"),
    ({"response": [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]}, "2 messages of the"),
    ({"response": [{"role": "assistant", "content": [{"type": "image_url"}]}]}, "`response` holds a list"),
]


@pytest.mark.parametrize(("cells", "said"), REFUSED)
def test_what_is_no_text_is_refused_and_never_turned_into_one(
    drp: Callable[..., Ended], tmp_path: Path, write_lines: Callable[..., Path], cells: dict[str, object], said: str
) -> None:
    source = write_lines("rows.jsonl", {"question": "2 x 5?", "response": "10</think>10", "answer": "10", **cells})
    ended = drp("import", source, "--output", tmp_path / "traces.jsonl")
    assert ended.status == 1
    [failure] = read_lines(tmp_path / "traces.failed.jsonl")
    assert said in failure["message"]
    assert not (tmp_path / "traces.jsonl").read_text()
    assert drp("import", source, "--output", tmp_path / "traces.jsonl", "--max-failures", 1).status == 0


def test_without_gold_answers_traces_are_imported_ungraded(
    drp: Callable[..., Ended], tmp_path: Path, write_lines: Callable[..., Path]
) -> None:
    source = write_lines("rows.jsonl", {"question": "2 x 5?", "response": "10</think>The answer is \\boxed{10}."})
    ended = drp("import", source, "--output", tmp_path / "traces.jsonl")
    assert ended.status == 0, ended.err
    [trace] = read_lines(tmp_path / "traces.jsonl")
    assert (trace["answer"], trace["predicted"], trace["correct"]) == ("", "10", None)


LINE = '{"question": "2 x 5?", "response": "10</think>The answer is 10.", "answer": "10"}\n'
TABLE = "question,response,answer\n2 x 5?,10</think>The answer is 10.,10\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ROWS.JSONL", LINE.encode()),
        ("rows.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + LINE.encode())),
        ("rows.csv", b"\xef\xbb\xbf" + TABLE.encode()),
        ("rows.TSV", TABLE.replace(",", "\t").encode()),
    ],
)
def test_files_are_read_by_their_kind(drp: Callable[..., Ended], tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    ended = drp("import", tmp_path / name, "--output", tmp_path / "traces.jsonl")
    assert ended.status == 0, ended.err
    [trace] = read_lines(tmp_path / "traces.jsonl")
    assert (trace["question"], trace["correct"]) == ("2 x 5?", True)


def test_bytes_that_are_not_utf8_fail_their_row_alone(drp: Callable[..., Ended], tmp_path: Path) -> None:
    for name, good, bad in (
        ("rows.jsonl", LINE.encode(), LINE.encode().replace(b"2 x", b"2 \xff")),
        ("rows.csv", TABLE.encode(), b"2 \xff 5?,10</think>10,10\n"),
    ):
        (tmp_path / name).write_bytes(good + bad)
        ended = drp("import", tmp_path / name, "--output", tmp_path / f"{name}.out.jsonl", "--max-failures", 0.5)
        assert ended.status == 0, ended.err
        assert "read 2 = written 1 + filtered 0 + failed 1" in ended.out


def test_a_damaged_gzip_file_is_named(drp: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(LINE.encode() * 2000)[:-50])
    ended = drp("import", tmp_path / "rows.jsonl.gz", "--output", tmp_path / "traces.jsonl")
    assert ended.status == 2
    assert "rows.jsonl.gz: damaged gzip file" in ended.err


def test_rows_come_from_a_pipe(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "drp", "import", "-", "--output", str(tmp_path / "traces.jsonl")]
    ended = subprocess.run(command, input=LINE * 3, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert [trace["id"] for trace in read_lines(tmp_path / "traces.jsonl")] == ["stdin-0#0", "stdin-1#0", "stdin-2#0"]
