"""Stage judge: two steps.jsonl of the same traces -> judge/NAME.jsonl. Which decomposition does a judge find better?

The paper's Appendix D: a model that is neither student nor teacher sees the skill-based steps beside a split at
sentences and prefers one, or neither. Here it is asked in both orders: only a preference that survives the swap is a
win, and whatever else is a tie.

    judge/NAME.jsonl          Judgement records: {"id": "gsm8k-train-7#0", "winner": "a", "verdicts": [...], ...}
    judge/NAME.summary.json   wins, ties, win rate with interval and p, position bias, cost (drp.evaluation.preference)

a is the run's own decomposition, b the one that it is compared with.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from heapq import nsmallest
from pathlib import Path
from typing import Self

from drp.chat.store import ReplyStore
from drp.config.sections import Config
from drp.errors import InputError, TooManyFailures
from drp.evaluation.preference import write_preference
from drp.records import Decomposition, Failure, Judgement, Record
from drp.runs.concurrency import map_concurrently
from drp.runs.jsonl import explain_os_errors, read_record, read_records
from drp.runs.manifest import Counts
from drp.runs.progress import report, say
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions, Stage, run_stage
from drp.teachers.judge import Judge, describe_judge, find_settings, open_judge


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


def run(config: Config, other: Path, options: RunOptions = RunOptions()) -> Counts:
    """Judge the run's decomposition against `other`: a run directory, or a steps.jsonl.

    Raises ConfigError where the judge is the offline teacher, and InputError where `other` is missing or the run's own.
    """
    stage = build_stage(config, find_steps(other), options)
    ours, theirs = stage.inputs
    if ours.resolve() == theirs.resolve():
        raise InputError(f"judge: {other} is the run's own decomposition; name another one of the same traces")
    try:
        counts = run_stage(stage, options, config.max_failures)
    except TooManyFailures:
        _conclude(stage, config.seed)
        raise
    if not options.dry_run:
        _conclude(stage, config.seed)
    return counts


def build_stage(config: Config, theirs: Path, options: RunOptions) -> Stage[Pair, Judgement]:
    rundir = RunDir(config.run_dir)
    ours = options.input or rundir.steps
    target = options.output or rundir.judge / f"{name_steps(theirs)}.jsonl"
    # Each comparison has its own account among the stored replies: a run directory may hold several.
    store = ReplyStore(rundir.replies, f"judge {target.stem}")

    def work(pairs: Iterator[Pair]) -> Iterator[Judgement | Failure]:
        judge = open_judge(config, store, stored_only=options.reparse)
        return map_concurrently(partial(compare, judge), pairs, find_settings(config).n_in_flight, judge.close)

    return Stage(
        name="judge",
        target=target,
        inputs=[ours, theirs],
        fingerprint={"judge": describe_judge(config), "seed": config.seed},
        read=lambda: read_pairs(ours, theirs, config.judge.pairs, config.seed),
        work=work,
        skip_reason=lambda pair: pair.leave_out,
        store=store,
    )


def find_steps(other: Path) -> Path:
    """The steps.jsonl that the user means."""
    path = RunDir(other).steps if other.is_dir() else other
    if not path.exists():
        raise InputError(f"judge: {path} is missing; name a run directory that was decomposed, or a steps.jsonl")
    return path


def name_steps(path: Path) -> str:
    """What a decomposition is called: its run directory, or its own name where it is not the run's steps.jsonl."""
    return path.resolve().parent.name if path.name == "steps.jsonl" else path.stem


async def compare(judge: Judge, pair: Pair) -> Judgement:
    """Ask in both orders. Raises RecordError where a reply stays unreadable."""
    assert pair.a is not None
    assert pair.b is not None
    verdicts, usage = await judge.compare(pair.a.steps, pair.b.steps)
    winners = {verdict.winner for verdict in verdicts}
    return Judgement(
        id=pair.id,
        winner=winners.pop() if len(winners) == 1 else "tie",
        verdicts=verdicts,
        judge=judge.name,
        teacher_a=pair.a.teacher,
        teacher_b=pair.b.teacher,
        n_steps_a=len(pair.a.steps),
        n_steps_b=len(pair.b.steps),
        usage=usage,
    )


def _conclude(stage: Stage[Pair, Judgement], seed: int) -> None:
    """Write the summary of all that is judged so far, and say the result."""
    a, b = (name_steps(path) for path in stage.inputs)
    preference, path = write_preference(stage.target, a, b, seed)
    for warning in preference.warnings:
        say(f"judge: {warning}")
    report(f"judge: {preference.describe()} -> {path}")


# FOLDED DOC of stages.pairs:
# Two steps.jsonl of the same traces, joined by id: what `drp judge` compares.
#
# Pair(id="gsm8k-train-7#0", a=Decomposition(...), b=Decomposition(...), leave_out=None)
#
# One side is read as a stream, the other by offset, so that memory grows by an id a record and not with the texts.
#
