"""Problems from files and hub layouts, and rows that are no problems."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from drp.config.sections import Columns, SourceSettings
from drp.errors import InputError
from drp.problems import load_problems
from drp.records import Failure, Problem

ROWS = [{"question": f"What is {n} + 1?", "answer": f"Add one.\n#### {n + 1}"} for n in range(20)]


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def load(*sources: SourceSettings, seed: int = 0) -> tuple[list[Problem], list[Failure]]:
    items = list(load_problems(sources, seed))
    return [i for i in items if isinstance(i, Problem)], [i for i in items if isinstance(i, Failure)]


def load_file(path: Path, **keys: Any) -> tuple[list[Problem], list[Failure]]:
    return load(SourceSettings(name=keys.pop("name", "mine"), path=path, **keys))


def test_all_kinds_of_files_give_the_same_problems(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.json").write_text(json.dumps(ROWS))
    paths = [
        write_jsonl(tmp_path / "a [1].jsonl", ROWS),
        tmp_path / "b.json",
        write_parquet(tmp_path / "c.parquet", ROWS),
    ]
    loaded = [load_file(path) for path in paths]
    assert loaded[0] == loaded[1] == loaded[2]
    problems, failures = loaded[0]
    assert not failures
    assert problems[3] == Problem(id="mine-3", question="What is 3 + 1?", answer="4", source="mine")
    assert capfd.readouterr().err == ""


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    for write, name in ((write_jsonl, "a.jsonl"), (write_parquet, "a.parquet")):
        assert load_file(write(tmp_path / name, ROWS))[0][0].answer == "1"  # type: ignore[operator]
        changed = [{"question": "What is 0 + 2?", "answer": "2"}]
        assert [p.answer for p in load_file(write(tmp_path / name, changed))[0]] == ["2"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "row", "problem"),
    [
        ("gsm8k", {"question": "How many?", "answer": "2 * 600\n#### 1,200"}, ("How many?", "1200")),
        ("math500", {"problem": "Who?", "answer": r"\text{Evelyn}", "unique_id": "x"}, ("Who?", r"\text{Evelyn}")),
        ("prm12k", {"problem": "Half?", "solution": "...", "answer": r"\frac{1}{2}"}, ("Half?", r"\frac{1}{2}")),
        (
            "aime24",
            {"problem": "Find it.", "question": "no", "answer": "025", "url": "2024_AIME_I"},
            ("Find it.", "025"),
        ),
        ("amc23", {"problem": "Where?", "answer": 27.0, "url": "2023_AMC_12A"}, ("Where?", "27")),
        ("amc23", {"question": "Where?", "answer": -1.0}, ("Where?", "-1")),
        ("aime24", {"problem": "Find it.", "answer": 204}, ("Find it.", "204")),
    ],
)
def test_known_names_know_their_columns(
    tmp_path: Path, name: str, row: dict[str, Any], problem: tuple[str, str]
) -> None:
    problems, failures = load_file(write_jsonl(tmp_path / "x.jsonl", [row]), name=name)
    assert not failures
    assert [(p.id, p.question, p.answer, p.source) for p in problems] == [(f"{name}-0", *problem, name)]


def test_only_the_benchmarks_year_is_kept(tmp_path: Path) -> None:
    years = [2022, 2024, 2023, 2024]
    rows = [{"problem": f"p{i}", "answer": i + 1, "url": f"/{year}_AIME_I"} for i, year in enumerate(years)]
    problems, _ = load_file(write_jsonl(tmp_path / "aime.jsonl", rows), name="aime24")
    assert [(p.id, p.question) for p in problems] == [("aime24-0", "p1"), ("aime24-1", "p3")]


def test_local_copy_of_a_hub_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "openai" / "gsm8k"
    write_parquet(repository / "main" / "test-00000.parquet", ROWS[:3])
    write_parquet(repository / "main" / "train-00000.parquet", ROWS[3:])
    write_parquet(repository / "socratic" / "test-00000.parquet", ROWS[:1])
    (repository / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train-*\n"
        "  - split: test\n    path: main/test-*\n"
        "- config_name: socratic\n  data_files:\n  - split: test\n    path: socratic/test-*\n---\n"
    )
    assert len(load_file(repository, name="gsm8k")[0]) == 3
    assert len(load_file(repository, name="gsm8k-train")[0]) == 17
    assert len(load_file(repository, config="socratic", split="test")[0]) == 1
    # The hub's own code path: `datasets` takes a folder of that name for the repository.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert [p.answer for p in load(SourceSettings(name="gsm8k"))[0]] == ["1", "2", "3"]
    with pytest.raises(InputError, match=r"openai/gsm8k.*dev"):
        load(SourceSettings(name="gsm8k", split="dev"))


def test_broken_lines_are_counted_and_nothing_else_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = [json.dumps(row) for row in ROWS[:4]]
    path.write_bytes(("\ufeff" + "\n".join([lines[0], "{oops", "", lines[1], "[1]", lines[2], lines[3][:20]])).encode())
    problems, failures = load_file(path)
    assert [p.question for p in problems] == [row["question"] for row in ROWS[:3]]
    assert [f"{path}:{n}: " in f.message for n, f in zip((2, 5, 7), failures, strict=True)] == [True] * 3
    assert len({item.id for item in [*problems, *failures]}) == 6


def test_invalid_bytes_fail_only_their_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"question": "\xff", "answer": "\\ud800"}\n' + json.dumps(ROWS[0]).encode() + b"\r\n")
    problems, failures = load_file(path)
    assert ([p.id for p in problems], [f.id for f in failures]) == (["mine-1"], ["mine-0"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "5"}, "no question"),
        ({"question": None, "answer": "5"}, "no question"),
        ({"question": "  ", "answer": "5"}, "no question"),
        ({"question": [{"role": "user", "content": "?"}], "answer": "5"}, "no question"),
        ({"question": "How many?"}, "no gold answer"),
        ({"question": "How many?", "answer": ""}, "no gold answer"),
        ({"question": "How many?", "answer": None}, "no gold answer"),
        ({"question": "How many?", "answer": float("nan")}, "no gold answer"),
        ({"question": "How many?", "answer": "It is hard to say. " * 30}, "no gold answer"),
    ],
)
def test_row_that_is_no_problem_is_a_failure_with_its_id(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    problems, failures = load_file(write_jsonl(tmp_path / "x.jsonl", [ROWS[0], row, ROWS[1]]))
    assert [p.id for p in problems] == ["mine-0", "mine-2"]
    assert [f.id for f in failures] == ["mine-1"]
    assert message in failures[0].message


def test_ids_of_a_column_are_made_safe_and_unique(tmp_path: Path) -> None:
    ids = ["test/algebra/1.json", "a b#1", 0, "a b#1", None, "mine-8"]
    path = write_jsonl(tmp_path / "x.jsonl", [{**ROWS[0], "key": key} for key in ids])
    problems, failures = load_file(path, columns=Columns(id="key"))
    assert [p.id for p in problems] == ["mine-test/algebra/1.json", "mine-a_b_1", "mine-0", "mine-8"]
    assert [(f.id, f.error) for f in failures] == [("mine-a_b_1", "DuplicateId"), ("mine-row-4", "BadRecord")]


def test_sources_are_joined_and_must_not_share_ids(tmp_path: Path) -> None:
    one, two = (write_jsonl(tmp_path / f"{n}.jsonl", ROWS[:2]) for n in range(2))
    problems, failures = load(SourceSettings(name="a", path=one), SourceSettings(name="b", path=two))
    assert [p.id for p in problems] == ["a-0", "a-1", "b-0", "b-1"]
    assert not failures
    problems, failures = load(SourceSettings(name="a", path=one), SourceSettings(name="a", path=two))
    assert (len(problems), [f.error for f in failures]) == (2, ["DuplicateId"] * 2)


def test_limit_and_shuffle(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "x.jsonl", [*ROWS[:5], {"question": ""}, *ROWS[5:]])
    first, failures = load_file(path, limit=3)
    assert ([p.id for p in first], failures) == (["mine-0", "mine-1", "mine-2"], [])
    shuffled, failures = load_file(path, shuffle=True)
    assert len(failures) == 1
    assert {p.id for p in shuffled} == {p.id for p in load_file(path)[0]}
    assert [p.id for p in shuffled] != sorted((p.id for p in shuffled), key=lambda i: int(i[5:]))
    assert load_file(path, shuffle=True, limit=4)[0] == shuffled[:4]
    other_seed, _ = load(SourceSettings(name="mine", path=path, shuffle=True), seed=1)
    assert other_seed != shuffled


def test_missing_column_is_an_error_that_lists_the_columns_and_names_the_key(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "x.jsonl", [{"prompt": "How many?", "target": "5"}] * 3)
    with pytest.raises(
        InputError, match=r"x\.jsonl: no column `question`; it has `prompt`, `target`.*question: \.\.\."
    ):
        load_file(path)
    with pytest.raises(InputError, match="no column `answer`"):
        load_file(path, columns=Columns(question="prompt"))
    with pytest.raises(InputError, match="no column `uid`"):
        load_file(path, columns=Columns(question="prompt", answer="target", id="uid"))
    assert len(load_file(path, columns=Columns(question="prompt", answer="target"))[0]) == 3


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl: no such file"):
        load_file(tmp_path / "nowhere.jsonl")
    (tmp_path / "x.txt").write_text("5")
    with pytest.raises(InputError, match=r"x\.txt: cannot read .* expected \.jsonl, .*\.csv, \.tsv, \.parquet"):
        load_file(tmp_path / "x.txt")
    for name in ("x.parquet", "x.json"):
        (tmp_path / name).write_text("{this is neither")
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            load_file(tmp_path / name)
    (tmp_path / "empty.jsonl").touch()
    assert load_file(tmp_path / "empty.jsonl") == ([], [])


def test_message_for_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown problems `gsm8`.*did you mean `gsm8k`.*math500.*`path`"):
        load(SourceSettings(name="gsm8"))


def test_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub")

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(InputError, match=r"gsm8k.*Couldn't reach.*`path`.*fetch_benchmarks"):
        load(SourceSettings(name="gsm8k"))


def test_benchmarks_are_fetched_to_files_that_load_again(tmp_path: Path) -> None:
    rows = [{"problem": f"p{i}", "answer": i + 0.0, "url": f"/{2022 + i % 2}_AMC_12A"} for i in range(6)]
    write_jsonl(tmp_path / "AI-MO" / "aimo-validation-amc" / "train.jsonl", rows)
    script = Path(__file__).parents[1] / "scripts" / "fetch_benchmarks.py"
    command = [sys.executable, str(script), "amc23", "--output-dir", str(tmp_path / "out")]
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "amc23.jsonl: 3 problems, 0 failed" in done.stdout
    problems, _ = load_file(tmp_path / "out" / "amc23.jsonl", name="amc23")
    assert [(p.id, p.answer) for p in problems] == [("amc23-0", "1"), ("amc23-1", "3"), ("amc23-2", "5")]
    command[2] = "math500"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "HuggingFaceH4/MATH-500" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "math500.jsonl").exists()
