"""Artifacts of another run directory are copied where this run would make the same."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drp.errors import InputError
from drp.records import Failure, Record
from drp.runs.jsonl import read_records, write_atomically
from drp.runs.manifest import Counts
from drp.runs.stage import RunOptions, Stage, run_stage
from tests.conftest import read_lines


class Number(Record):
    pass


def write_numbers(path: Path, *numbers: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"id": str(number)}) + "\n" for number in numbers))


class Square(Record):
    square: int


Make = Callable[..., Counts]


@pytest.fixture
def worked_on() -> list[str]:
    """The ids that any stage of the test has worked on."""
    return []


@pytest.fixture
def make(tmp_path: Path, worked_on: list[str]) -> Make:
    """Run a stage that squares numbers, in a run directory of this name. It fails for 3."""

    def run(name: str, reuse: str | None = None, options: RunOptions = RunOptions(), **fingerprint: Any) -> Counts:
        folder = tmp_path / name

        def work(numbers: Iterator[Number]) -> Iterator[Square | Failure]:
            for number in numbers:
                worked_on.append(number.id)
                if number.id == "3":
                    yield Failure(id=number.id, error="RefusedReply", message="not three", attempts=1)
                else:
                    yield Square(id=number.id, square=int(number.id) ** 2)

        stage = Stage(
            name="square",
            target=folder / "squares.jsonl",
            inputs=[folder / "numbers.jsonl"],
            fingerprint={"power": 2} | fingerprint,
            read=lambda: read_records(folder / "numbers.jsonl", Number),
            work=work,
            twin=tmp_path / reuse / "squares.jsonl" if reuse else None,
        )
        return run_stage(stage, options, max_failures=9)

    return run


def test_what_another_run_has_finished_is_copied_with_its_manifest_and_failures(
    tmp_path: Path, make: Make, worked_on: list[str]
) -> None:
    for name in ("main", "other"):
        write_numbers(tmp_path / name / "numbers.jsonl", 1, 2, 3)
    make("main")
    worked_on.clear()
    counts = make("other", "main")
    assert (counts.read, counts.written, counts.failed) == (3, 2, 1)
    assert worked_on == ["3"], "a failure is retried, as in any second run"
    assert (tmp_path / "other" / "squares.jsonl").read_bytes() == (tmp_path / "main" / "squares.jsonl").read_bytes()
    worked_on.clear()
    make("other", "main")
    assert worked_on == ["3"]


@pytest.mark.parametrize("differs", ["input", "fingerprint"])
def test_an_artifact_of_another_input_or_configuration_is_made_here(
    tmp_path: Path, make: Make, worked_on: list[str], differs: str
) -> None:
    write_numbers(tmp_path / "main" / "numbers.jsonl", 1, 2)
    write_numbers(tmp_path / "other" / "numbers.jsonl", *((4, 5) if differs == "input" else (1, 2)))
    make("main")
    worked_on.clear()
    make("other", "main", **({"power": 3} if differs == "fingerprint" else {}))
    assert len(worked_on) == 2


def test_a_copy_is_continued_where_this_run_has_more_to_do(tmp_path: Path, make: Make, worked_on: list[str]) -> None:
    write_numbers(tmp_path / "main" / "numbers.jsonl", 1, 2)
    write_numbers(tmp_path / "other" / "numbers.jsonl", 1, 2, 4)
    make("main")
    before = (tmp_path / "main" / "squares.jsonl").read_bytes()
    worked_on.clear()
    assert make("other", "main").written == 3
    assert worked_on == ["4"]
    assert (tmp_path / "main" / "squares.jsonl").read_bytes() == before, "the other run is not written to"


def test_a_copy_follows_the_other_run_when_that_has_grown(tmp_path: Path, make: Make, worked_on: list[str]) -> None:
    for numbers in ([1, 2], [1, 2, 4]):
        for name in ("main", "other"):
            write_numbers(tmp_path / name / "numbers.jsonl", *numbers)
        make("main")
        worked_on.clear()
        make("other", "main")
        assert worked_on == []
    assert [record["id"] for record in read_lines(tmp_path / "other" / "squares.jsonl")] == ["1", "2", "4"]


def test_what_this_run_has_made_itself_is_not_replaced(tmp_path: Path, make: Make, worked_on: list[str]) -> None:
    write_numbers(tmp_path / "other" / "numbers.jsonl", 2, 1)
    make("other")
    for name in ("main", "other"):
        write_numbers(tmp_path / name / "numbers.jsonl", 2, 1, 4)
    (tmp_path / "other" / "squares.jsonl").write_text('{"id":"1","square":1}\n')
    make("main")
    worked_on.clear()
    make("other", "main")
    assert worked_on == ["2", "4"]


def test_an_unfinished_artifact_is_not_copied_and_not_made_a_second_time(tmp_path: Path, make: Make) -> None:
    for name in ("main", "other"):
        write_numbers(tmp_path / name / "numbers.jsonl", 1, 2)
    make("main")
    manifest = tmp_path / "main" / "squares.jsonl.manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete"', '"running"'))
    with pytest.raises(InputError, match=r"is not complete .* finish that run first"):
        make("other", "main")
    assert not (tmp_path / "other" / "squares.jsonl").exists()


@pytest.mark.parametrize("n_copied", range(3))
def test_a_copy_that_was_interrupted_is_made_again(
    tmp_path: Path, make: Make, worked_on: list[str], monkeypatch: pytest.MonkeyPatch, n_copied: int
) -> None:
    for name in ("main", "other"):
        write_numbers(tmp_path / name / "numbers.jsonl", 1, 2)
    make("main")
    with monkeypatch.context() as interrupted:
        calls = iter(range(3))

        def copy_some(path: Path, write: Callable[[Path], object]) -> None:
            if next(calls) == n_copied:
                raise KeyboardInterrupt
            write_atomically(path, write)

        interrupted.setattr("drp.runs.reuse.write_atomically", copy_some)
        with pytest.raises(KeyboardInterrupt):
            make("other", "main")
    worked_on.clear()
    assert make("other", "main").written == 2
    assert worked_on == []


def test_a_dry_run_says_what_it_would_copy(tmp_path: Path, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("main", "other"):
        write_numbers(tmp_path / name / "numbers.jsonl", 1, 2)
    make("main")
    make("other", "main", RunOptions(dry_run=True))
    assert f"square would copy {tmp_path}/main/squares.jsonl" in capsys.readouterr().out
    assert not (tmp_path / "other" / "squares.jsonl").exists()
