import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp.errors import InputError
from drp.records import Failure, Problem
from drp.runs.jsonl import Appender, lock, read_lines, read_records, repair_tail, write_atomically
from tests.conftest import read_lines as load_lines

GOOD = {"id": "a", "question": "1+1?", "answer": "2", "source": "t"}


def problem(id: str, question: str = "1+1?") -> Problem:
    return Problem(id=id, question=question, answer="2", source="t")


def test_unknown_fields_are_passed_on(write_lines: Callable[..., Path]) -> None:
    [record] = read_records(write_lines("p.jsonl", {**GOOD, "level": 5}), Problem)
    assert record.model_dump()["level"] == 5


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"id": "a", "question": "1+', "not a line of JSON"),
        ('{"id": "a", "answer": "2", "source": "t"}\n', "field `question`"),
        ('{"id": "a", "question": "", "answer": "2", "source": "t"}\n', "field `question`"),
        ("[1, 2]\n", "p.jsonl:2"),
        ('{"id": 7, "question": "x", "answer": "2", "source": "t"}\n', "field `id`"),
    ],
)
def test_a_bad_line_becomes_a_failure_that_names_its_place(
    write_lines: Callable[..., Path], line: str, expected: str
) -> None:
    good, bad = read_records(write_lines("p.jsonl", GOOD, line), Problem)
    assert isinstance(good, Problem)
    assert isinstance(bad, Failure)
    assert bad.id == "p.jsonl:2"
    assert expected in bad.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        list(read_records(tmp_path / "none.jsonl", Problem))


@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(min_value=1, max_value=400))
def test_a_tail_torn_anywhere_costs_the_last_line_only(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "a.jsonl"
    with Appender(path) as file:
        for number, text in enumerate(texts):
            file.append(problem(str(number), text or "q"))
    whole = path.read_bytes()
    cut = min(cut, len(whole.splitlines(keepends=True)[-1]))
    path.write_bytes(whole[:-cut])
    with Appender(path) as file:
        file.append(problem("new"))
    ids = [record.id for record in read_records(path, Problem, "raise")]
    assert ids == [*(str(n) for n in range(len(texts) - 1)), "new"]


def test_repair_looks_further_back_than_one_block(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": "1"}\n' + b"x" * 200_000)
    assert repair_tail(path) == 200_000
    assert load_lines(path) == [{"id": "1"}]


def test_half_of_a_broken_emoji_does_not_lose_the_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Appender(path) as file:
        file.append(problem("a").model_copy(update={"question": "cost \ud83d dollars"}))
    assert load_lines(path)[0]["question"] == "cost ? dollars"


def test_a_full_disk_is_a_clear_error_and_whole_lines_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "a.jsonl", os.write
    file = Appender(path)
    file.append(problem("1"))

    def write_to_full_disk(fd: int, data: memoryview) -> int:
        if len(data) > 10:
            return write(fd, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", lambda fd, data: write_to_full_disk(fd, memoryview(data)[:11]))
    with pytest.raises(InputError, match="no space left"):
        file.append(problem("2"))
    monkeypatch.undo()
    file.close()
    with Appender(path) as again:
        again.append(problem("2"))
    assert [record.id for record in read_records(path, Problem, "raise")] == ["1", "2"]


def test_dev_full_is_a_clear_error() -> None:
    with pytest.raises(InputError, match="no space left"), Appender(Path("/dev/full"), truncate=True) as file:
        file.append(problem("1"))


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with (
        lock(tmp_path / "a.jsonl"),
        pytest.raises(InputError, match="another drp is writing"),
        lock(tmp_path / "a.jsonl"),
    ):
        pass


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail(draft: Path) -> None:
        draft.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="no space left"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_a_line_that_is_no_record_is_named(write_lines: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"a\.jsonl:2: not a record.*; delete it"):
        list(read_records(write_lines("a.jsonl", GOOD, "[1]\n"), Problem, "raise", fix="delete it"))


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_an_incomplete_last_line_of_an_artifact_is_skipped(
    write_lines: Callable[..., Path], policy: Literal["raise", "skip"]
) -> None:
    path = write_lines("a.jsonl", GOOD, '{"id": "b", "que')
    assert [record.id for record in read_records(path, Problem, policy)] == ["a"]


def test_bad_lines_can_be_left_out(write_lines: Callable[..., Path]) -> None:
    path = write_lines("a.jsonl", "{oops\n", GOOD, {"id": "b"})
    assert [record.id for record in read_records(path, Problem, "skip")] == ["a"]


def test_an_artifact_that_does_not_exist_yet_has_no_records(tmp_path: Path) -> None:
    assert list(read_records(tmp_path / "none.jsonl", Problem, "raise")) == []


def test_a_record_is_found_again_by_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "\ufeff" + problem("a", "\u00e9?").model_dump_json() + "\n\n" + problem("b").model_dump_json() + "\n"
    )
    with path.open("rb") as file:
        for line, record in read_lines(path, Problem, "raise"):
            file.seek(line.offset)
            assert file.readline() == line.data
            assert Problem.model_validate_json(line.data) == record
    assert [line.number for line, _ in read_lines(path, Problem, "raise")] == [1, 3]
