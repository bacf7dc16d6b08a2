import asyncio
from collections.abc import Iterator

import pytest

from drp.errors import RecordError, UserError
from drp.records import Failure, Record
from drp.runs.concurrency import map_concurrently


class Desk:
    """Counts who is being served."""

    def __init__(self) -> None:
        self.now = self.most = self.started = 0
        self.closed = False

    async def serve(self, record: Record) -> Record:
        self.now += 1
        self.started += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001 * (self.started % 3))
        self.now -= 1
        if record.id.startswith("bad"):
            raise RecordError("no good", attempts=3, raw="hm")
        if record.id.startswith("bug"):
            raise ZeroDivisionError("division by zero")
        if record.id.startswith("stop"):
            raise UserError("the key is wrong")
        return record

    async def close(self) -> None:
        self.closed = True


def serve(desk: Desk, ids: list[str], concurrency: int = 4) -> list[Record]:
    return list(map_concurrently(desk.serve, (Record(id=id) for id in ids), concurrency, desk.close))


def test_all_are_served_with_a_bound_on_how_many_at_once() -> None:
    desk, ids = Desk(), [str(n) for n in range(50)]
    assert {record.id for record in serve(desk, ids)} == set(ids)
    assert desk.most == 4
    assert desk.closed


def test_one_bad_record_does_not_cost_the_others() -> None:
    answers = {answer.id: answer for answer in serve(Desk(), ["a", "bad", "bug", "b"])}
    assert set(answers) == {"a", "bad", "bug", "b"}
    bad, bug = answers["bad"], answers["bug"]
    assert isinstance(bad, Failure)
    assert (bad.error, bad.attempts, bad.raw) == ("RecordError", 3, "hm")
    assert isinstance(bug, Failure)
    assert bug.error == "ZeroDivisionError"


def test_a_users_mistake_stops_new_work_and_keeps_what_was_in_flight() -> None:
    desk = Desk()
    got: list[str] = []

    def collect() -> None:
        ids = ["a", "stop", "b", *"cdefghij"]
        for answer in map_concurrently(desk.serve, (Record(id=id) for id in ids), 3, desk.close):
            got.append(answer.id)

    with pytest.raises(UserError, match="the key is wrong"):
        collect()
    assert {"a", "b"} <= set(got)
    assert desk.started < 11
    assert desk.closed


def test_records_are_taken_only_as_there_is_room() -> None:
    desk, taken = Desk(), 0

    def records() -> Iterator[Record]:
        nonlocal taken
        for n in range(20):
            taken += 1
            yield Record(id=str(n))

    answers = map_concurrently(desk.serve, records(), 2, desk.close)
    next(answers)
    assert taken <= 3
    answers.close()  # type: ignore[attr-defined]
    assert desk.closed
