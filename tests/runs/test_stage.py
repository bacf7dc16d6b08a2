"""The contract of a stage, on a stage that squares numbers; killed for real where it says so."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drp.errors import InputError, TooManyFailures
from drp.records import Failure, Omission, Record
from drp.runs.jsonl import read_records
from drp.runs.manifest import load_manifest
from drp.runs.stage import RunOptions, Stage, run_stage
from tests.conftest import read_lines


class Number(Record):
    value: int


def square(records: Iterator[Number]) -> Iterator[Number | Failure]:
    for record in records:
        if record.value < 0:
            yield Failure(id=record.id, error="Negative", message="negative", attempts=1)
        else:
            yield Number(id=record.id, value=record.value**2)


def stage(source: Path, **changes: Any) -> Stage[Number, Number]:
    parts: dict[str, Any] = {
        "name": "square",
        "target": source.with_name("squares.jsonl"),
        "inputs": [source],
        "fingerprint": {"square": {"power": 2}},
        "read": lambda: read_records(source, Number),
        "work": square,
    }
    return Stage(**{**parts, **changes})


def numbers(*values: int) -> list[dict[str, Any]]:
    return [{"id": f"n{n}", "value": value} for n, value in enumerate(values)]


def test_every_record_is_accounted_for(write_lines: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    source = write_lines("in.jsonl", *numbers(1, -2, 3, 4), "not json\n", {"id": "n0", "value": 9})
    small_only = stage(source, skip_reason=lambda n: "too large" if n.value > 3 else None)
    counts = run_stage(small_only, RunOptions(), max_failures=9)
    assert (counts.read, counts.written, counts.filtered, counts.failed) == (6, 2, {"too large": 1}, 3)
    assert "read 6 = written 2 + filtered 1 (too large 1) + failed 3" in capsys.readouterr().out
    failures = read_lines(source.with_name("squares.failed.jsonl"))
    assert [(failure["id"], failure["error"]) for failure in failures] == [
        ("n1", "Negative"),
        ("in.jsonl:5", "BadRecord"),
        ("n0", "DuplicateId"),
    ]


def test_failures_are_retried_and_what_is_done_is_not(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(1, -2, 3))
    worked: list[str] = []

    def work(records: Iterator[Number]) -> Iterator[Number | Failure]:
        for record in records:
            worked.append(record.id)
            yield from square(iter([record]))

    run_stage(stage(source, work=work), RunOptions(), max_failures=1)
    counts = run_stage(stage(source, work=work), RunOptions(), max_failures=1)
    assert worked == ["n0", "n1", "n2", "n1"]
    assert (counts.read, counts.written, counts.failed) == (3, 2, 1)


def test_what_the_work_leaves_out_is_counted_with_its_reason(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(0, 5))

    def work(records: Iterator[Number]) -> Iterator[Number | Omission]:
        for record in records:
            yield record if record.value else Omission(id=record.id, reason="zero")

    counts = run_stage(stage(source, work=work), RunOptions())
    assert (counts.read, counts.written, counts.filtered, counts.failed) == (2, 1, {"zero": 1}, 0)


def test_nothing_starts_when_nothing_is_missing(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(1, 2))
    run_stage(stage(source), RunOptions())

    def refuse(records: Iterator[Number]) -> Iterator[Number]:
        raise AssertionError("an engine was started for nothing")

    assert run_stage(stage(source, work=refuse), RunOptions()).written == 2


def test_an_input_that_grew_is_gone_on_with(write_lines: Callable[..., Path]) -> None:
    run_stage(stage(write_lines("in.jsonl", *numbers(1, 2))), RunOptions())
    assert run_stage(stage(write_lines("in.jsonl", *numbers(1, 2, 3))), RunOptions()).written == 3


def test_an_input_that_changed_is_refused(write_lines: Callable[..., Path]) -> None:
    run_stage(stage(write_lines("in.jsonl", *numbers(1, 2))), RunOptions())
    changed = stage(write_lines("in.jsonl", *numbers(1, 5)))
    with pytest.raises(InputError, match="its records changed"):
        run_stage(changed, RunOptions())
    run_stage(changed, RunOptions(overwrite=True))
    assert [item["value"] for item in read_lines(changed.target)] == [1, 25]


def test_a_changed_configuration_is_refused_with_the_keys(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(1, 2))
    run_stage(stage(source), RunOptions())
    with pytest.raises(InputError, match=r"square\.power: 2 -> 3") as caught:
        run_stage(stage(source, fingerprint={"square": {"power": 3}}), RunOptions())
    assert "--overwrite" in str(caught.value)
    with pytest.raises(InputError, match=r"square\.power: 2 -> 3"):
        run_stage(stage(source, fingerprint={"square": {"power": 3}}), RunOptions(dry_run=True))


def test_a_run_that_wrote_nothing_does_not_bind_the_next(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(1, 2))

    def stumble(records: Iterator[Number]) -> Iterator[Number]:
        raise InputError("no such model")
        yield next(records)

    with pytest.raises(InputError, match="no such model"):
        run_stage(stage(source, work=stumble, fingerprint={"power": 3}), RunOptions())
    assert run_stage(stage(source), RunOptions()).written == 2


def test_a_limit_is_no_part_of_what_was_made(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(1, 2, 3))
    assert run_stage(stage(source), RunOptions(limit=2)).written == 2
    assert run_stage(stage(source), RunOptions()).written == 3


def test_a_dry_run_writes_nothing(write_lines: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    source = write_lines("in.jsonl", *numbers(1, 2, 3))
    run_stage(stage(source), RunOptions(dry_run=True))
    assert "would work on 3 records" in capsys.readouterr().out
    assert [path.name for path in source.parent.iterdir()] == ["in.jsonl"]


def test_too_many_failures_are_told_after_everything_is_written(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(-1, 2, 3, 4))
    with pytest.raises(TooManyFailures, match="1 of 4 records failed"):
        run_stage(stage(source), RunOptions(), max_failures=0.2)
    assert len(read_lines(source.with_name("squares.jsonl"))) == 3
    assert run_stage(stage(source), RunOptions(), max_failures=0.25).failed == 1


def test_an_unfinished_input_is_refused(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(1))
    run_stage(stage(source), RunOptions())
    middle = source.with_name("squares.jsonl")
    manifest = load_manifest(middle)
    assert manifest is not None
    manifest.model_copy(update={"state": "running"}).save(middle)
    with pytest.raises(InputError, match="not complete"):
        run_stage(stage(middle, target=source.with_name("fourth.jsonl")), RunOptions())


def test_a_file_that_nothing_accounts_for_is_not_overwritten(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(1))
    target = write_lines("squares.jsonl", {"id": "precious"})
    with pytest.raises(InputError, match="has no manifest that says what made it"):
        run_stage(stage(source), RunOptions())
    assert read_lines(target) == [{"id": "precious"}]


def test_an_interrupted_stage_keeps_what_is_finished(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(1, 2, 3))

    def work(records: Iterator[Number]) -> Iterator[Number | Failure]:
        yield from square(iter([next(records)]))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(stage(source, work=work), RunOptions())
    target = source.with_name("squares.jsonl")
    manifest = load_manifest(target)
    assert manifest is not None
    assert manifest.state == "interrupted"
    assert len(read_lines(target)) == 1
    assert run_stage(stage(source), RunOptions()).written == 3


def test_killed_at_random_moments_it_ends_with_the_same_records(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(number) + "\n" for number in numbers(*range(400))))
    program = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from tests.runs.test_stage import square, stage
        from drp.runs.stage import RunOptions, run_stage

        def work(records):
            for record in records:
                time.sleep(0.002)
                yield from square(iter([record]))

        run_stage(stage(Path({str(source)!r}), work=work), RunOptions())
        """
    )
    draw, target = random.Random(0), source.with_name("squares.jsonl")
    for _ in range(5):
        before = _size(target)
        child = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2], stderr=-3, stdout=-3)
        while _size(target) == before and child.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.1))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    run_stage(stage(source), RunOptions())
    assert sorted(read_lines(target), key=lambda item: int(item["id"][1:])) == numbers(*(n * n for n in range(400)))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_records_go_through_as_a_stream(write_lines: Callable[..., Path]) -> None:
    source = write_lines("in.jsonl", *numbers(*range(50)))
    target, taken = source.with_name("squares.jsonl"), 0

    def work(records: Iterator[Number]) -> Iterator[Number | Failure]:
        nonlocal taken
        for record in records:
            assert len(read_lines(target)) == taken, "an output was held back, or an input read ahead"
            taken += 1
            yield from square(iter([record]))

    run_stage(stage(source, work=work), RunOptions())
    assert taken == 50
