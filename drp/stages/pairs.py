"""Two steps.jsonl of the same traces, joined by id: what `drp judge` compares.

Pair(id="gsm8k-train-7#0", a=Decomposition(...), b=Decomposition(...), leave_out=None)

One side is read as a stream, the other by offset, so that memory grows by an id a record and not with the texts.
"""

import hashlib
from collections.abc import Iterable, Iterator
from heapq import nsmallest
from pathlib import Path
from typing import Self

from drp.artifacts import explain_os_errors, read_record, read_records
from drp.records import Decomposition, Failure, Record


class Pair(Record):
    """One trace, decomposed twice. leave_out: why there is nothing to judge; a side is None where it is not needed."""

    a: Decomposition | None = None
    b: Decomposition | None = None
    leave_out: str | None = None


class Index:
    """The decompositions of a file by id. unreadable: its lines that are none, and those whose id was there before."""

    def __init__(self, path: Path) -> None:
        self.unreadable: list[Failure] = []
        self._offsets: dict[str, int] = {}
        self._path = path
        with explain_os_errors(path):
            self._file = path.open("rb")
            self._read_all()

    @property
    def ids(self) -> Iterable[str]:
        return self._offsets.keys()

    def find(self, id_: str) -> Decomposition | None:
        """None where the file has no such record."""
        offset = self._offsets.get(id_)
        if offset is None:
            return None
        with explain_os_errors(self._path):
            self._file.seek(offset)
            record = read_record(self._file.readline(), Decomposition, self._path.name)
        assert isinstance(record, Decomposition), "it was read before, and artifacts only grow"
        return record

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read_all(self) -> None:
        end = 0
        for number, line in enumerate(self._file, start=1):
            start, end = end, end + len(line)
            if line.strip():
                self._add(read_record(line, Decomposition, f"{self._path.name}:{number}"), start)

    def _add(self, record: Decomposition | Failure, offset: int) -> None:
        if isinstance(record, Failure):
            self.unreadable.append(record)
        elif record.id in self._offsets:
            message = f"{self._path}: id stands twice"
            self.unreadable.append(Failure(id=record.id, error="DuplicateId", message=message, attempts=1))
        else:
            self._offsets[record.id] = offset


def read_pairs(ours: Path, theirs: Path, n_pairs: int | None = None, seed: int = 0) -> Iterator[Pair | Failure]:
    """Every trace of either file, in the order of `ours`.

    n_pairs: how many of the traces that both have are to be judged, drawn by `seed`; None: all.
    """
    with Index(theirs) as index:
        drawn = None if n_pairs is None else _draw(ours, index, n_pairs, seed)
        seen: set[str] = set()
        for record in read_records(ours, Decomposition):
            if isinstance(record, Failure):
                yield record
            else:
                seen.add(record.id)
                yield _match(record, index.find(record.id), drawn)
        yield from (Pair(id=id_, leave_out="missing in a") for id_ in index.ids if id_ not in seen)
        yield from index.unreadable


def _draw(ours: Path, theirs: Index, n: int, seed: int) -> set[str]:
    """By the ids' hashes, so that a larger draw holds every smaller one."""
    records = read_records(ours, Decomposition)
    here = {record.id for record in records if not isinstance(record, Failure)}
    shared = here.intersection(theirs.ids)
    return set(nsmallest(n, shared, key=lambda id_: hashlib.sha256(f"{seed} {id_}".encode()).digest()))


def _match(a: Decomposition, b: Decomposition | None, drawn: set[str] | None) -> Pair | Failure:
    if b is None:
        return Pair(id=a.id, leave_out="missing in b")
    if drawn is not None and a.id not in drawn:
        return Pair(id=a.id, leave_out="not drawn")
    if a.thinking != b.thinking:
        return _refuse(a, b)
    same = [step.text for step in a.steps] == [step.text for step in b.steps]
    return Pair(id=a.id, leave_out="same steps") if same else Pair(id=a.id, a=a, b=b)


def _refuse(a: Decomposition, b: Decomposition) -> Failure:
    sizes = f"{len(a.thinking):,} and {len(b.thinking):,} characters"
    message = f"{a.id}: the two are not of the same thinking ({sizes}); decompose one traces.jsonl for both"
    return Failure(id=a.id, error="DifferentThinking", message=message, attempts=1)
