"""Run a stage over records: the contract that all stages with a JSONL artifact share.

    decompose: read 1200 = written 1108 + filtered 80 (answer wrong 80) + failed 12 -> runs/x/steps.jsonl
    prune: 12 failed: answer changed 7, rate limit 3, withheld 2; see runs/x/pruned.failed.jsonl
    prune: the teacher's replies to 9 of them were refused; a rerun reads the same stored replies: ...
    prune: run again to retry the other 3

A run resumes by record id: it works on the input records that are not in the artifact yet. It appends whole lines,
holds a lock, refuses an artifact made with another configuration or input, and writes failures to `NAME.failed.jsonl`;
the next run retries them. Every record is accounted for: read = written + filtered (with a reason) + failed.

Records pass through as a stream: memory grows by one id per record.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ConfigDict

from drp.errors import InputError, RefusedReply, TooManyFailures
from drp.records import Failure, Omission, Record, Usage
from drp.runs.jsonl import Appender, explain_os_errors, lock, read_records, write_atomically
from drp.runs.manifest import Counts, Manifest, check_input, is_empty, prepare_manifest, remove_artifact
from drp.runs.progress import Progress, report, say
from drp.runs.reuse import copy_artifact, find_copy
from drp.runs.rundir import failures_path, manifest_path

NOT_DRAWN = "not drawn for training"
"""Why a stage leaves a record out that it could work on: training would not use it (`drp.training.draw`). These records
do not count when the share of failures is calculated."""

InT = TypeVar("InT", bound=Record)
OutT = TypeVar("OutT", bound=Record)


class PaidReplies(Protocol):
    """What a stage needs of its teacher's stored replies (`drp.chat.store.ReplyStore`)."""

    @property
    def paid(self) -> Usage | None:
        """What this stage has paid for in this run directory, over all its runs; None until the store is opened."""


@dataclass(frozen=True)
class Stage(Generic[InT, OutT]):
    """What differs between stages.

    inputs: the files whose content decides the output; the lines of the first are the input records.
    fingerprint: the configuration that decides the output, and the prompts' hashes.
    read: returns every input record, in a fixed order; unreadable ones as failures, those to leave out as omissions.
    work: turns the records that are still missing into outputs, in any order; an output has the id of its input. None
        for `run_stages`, which is given one function for all stages.
    skip_reason: the reason to leave a record out, or None to work on it.
    fan_out: how many records `read` makes of one line.
    store: the replies that the stage pays for; None for a stage without a paid teacher.
    twin: the same artifact in the run directory `reuse`, which is copied if this stage would make it again.
    """

    name: str
    target: Path
    inputs: Sequence[Path]
    fingerprint: dict[str, Any]
    read: Callable[[], Iterator[InT | Omission | Failure]]
    work: Callable[[Iterator[InT]], Iterator[OutT | Omission | Failure]] | None = None
    skip_reason: Callable[[InT], str | None] = lambda _: None
    fan_out: int = 1
    store: PaidReplies | None = None
    twin: Path | None = None

    @property
    def paid(self) -> Usage | None:
        """What the stage has paid so far, over all its runs; None if no teacher was asked in this one."""
        return None if self.store is None else self.store.paid


@dataclass(frozen=True)
class RunOptions:
    """What the command line says about this run of a stage."""

    input: Path | None = None
    """Read this instead of the run directory's artifact."""
    output: Path | None = None
    """Write this instead of the run directory's artifact."""
    limit: int | None = None
    """Work on the first so many lines of the input only."""
    dry_run: bool = False
    """Say what would be done, and write nothing."""
    overwrite: bool = False
    """Remove what earlier runs wrote and start again."""
    reparse: bool = False
    """Make the artifact again from stored replies alone."""


def run_stage(stage: Stage[InT, OutT], options: RunOptions, max_failures: float = 0.0) -> Counts:
    """Work on the records of a stage that are not finished yet. Returns the counts of all of its records.

    max_failures: how many records may fail: below 1 a share of those read, else a number.
    Raises InputError for a missing, unfinished or changed input or a changed configuration, and TooManyFailures after
    everything was written.
    """
    for path in stage.inputs:
        if waits_for(path, stage.name, options):
            return Counts()
        check_input(path, stage.name)
    if options.dry_run:
        return _describe_plan(stage, options)
    with lock(stage.target):
        tally = _remake(stage, options) if options.reparse else _make(stage, options)
    report(f"{stage.name}: {tally.counts.describe()} -> {stage.target}")
    check_failures(stage.name, tally.counts, stage.target, max_failures, tally.reasons, tally.n_refused)
    return tally.counts


def waits_for(path: Path, name: str, options: RunOptions) -> bool:
    """Whether this is a dry run whose input does not exist yet, because the stage before has not run; reports it."""
    waits = options.dry_run and options.input is None and not path.exists()
    if waits:
        report(f"{name} would wait for {path}")
    return waits


def check_failures(
    name: str, counts: Counts, target: Path, max_failures: float, reasons: Counter[str], n_refused: int = 0
) -> None:
    """Report what failed, by reason, and what would help. Raises TooManyFailures if more failed than `max_failures`.

    n_refused: how many of the failures are replies of a teacher that were refused, which a rerun would read again.
    """
    if not counts.failed:
        return
    say(f"{name}: {counts.failed} failed: {_list(reasons)}; see {failures_path(target)}")
    if n_refused:
        say(
            f"{name}: the teacher's replies to {n_refused} of them were refused; a rerun reads the same stored "
            "replies: raise teacher.max_reasks to ask again for these alone, or try another teacher.format "
            "or teacher.model"
        )
    if n_others := counts.failed - n_refused:
        say(f"{name}: run again to retry {f'the other {n_others}' if n_refused else 'them'}")
    n_drawn = counts.read - counts.filtered[NOT_DRAWN]
    allowed = max_failures * n_drawn if max_failures < 1 else max_failures
    if counts.failed > allowed:
        raise TooManyFailures(
            f"{name}: {counts.failed} of {n_drawn} records failed, max_failures allows {max_failures:g}; what was "
            "finished is kept: raise max_failures to go on without the failed records"
        )


class FinishedRecord(Record):
    """What a stage needs to know of a record that an earlier run wrote."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    usage: Usage | None = None


@dataclass
class Tally:
    """What became of a stage's records.

    done: ids that earlier runs wrote. seen: ids met in this run. reasons: of the failures, by kind. n_refused: failures
    that are refused replies.
    usage: of the records written, over all runs.
    """

    counts: Counts = field(default_factory=Counts)
    done: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    n_refused: int = 0
    usage: Usage | None = None

    def load(self, target: Path) -> None:
        """Take over what earlier runs wrote."""
        for record in read_records(target, FinishedRecord, "raise"):
            self.done.add(record.id)
            self.use(record.usage)

    def fail(self, failure: Failure) -> None:
        """Count a failed record."""
        self.counts.failed += 1
        self.reasons[failure.kind] += 1
        self.n_refused += failure.error == RefusedReply.__name__

    def use(self, usage: Usage | None) -> None:
        """Add what the teacher used for a written record; None for a record without a teacher."""
        if usage is not None:
            self.usage = usage + (self.usage or Usage(cost_usd=0.0))


def _make(stage: Stage[Any, Any], options: RunOptions) -> Tally:
    assert stage.work is not None
    with _open_run(stage, options) as run, Progress(stage.name, run.total) as run.progress:
        missing = run.find_missing()
        first = next(missing, None)
        if first is not None:  # else no engine is started and no teacher is asked
            with closing(stage.work(chain([first], missing))) as outcomes:  # type: ignore[type-var]
                for outcome in outcomes:
                    run.take(outcome)
    return run.tally


def run_stages(
    name: str,
    stages: Sequence[Stage[InT, OutT]],
    work: Callable[[Iterator[tuple[int, InT]]], Iterator[tuple[int, OutT | Omission | Failure]]],
    options: RunOptions,
    max_failures: float = 0.0,
) -> None:
    """Run several stages at once: the missing records of all of them are one stream.

    Each is complete as soon as its last record is, whatever happens to the others.

    name: for the progress bar. work: as `Stage.work`, for all stages together: each record and each outcome comes with
    its stage's position. The time between two outcomes counts for the stage of the later one.
    Raises as `run_stage` does, after all stages have ended.
    """
    for stage in stages:
        for path in stage.inputs:
            check_input(path, stage.name)
    if options.dry_run:
        for stage in stages:
            _describe_plan(stage, options)
        return
    with ExitStack() as stack:
        runs: list[_StageRun[InT, OutT]] = []
        for stage in stages:
            own = stack.enter_context(ExitStack())
            own.enter_context(lock(stage.target))
            runs.append(own.enter_context(_open_run(stage, options, shares_time=True)))
            runs[-1].finish = own.close
        totals = [run.total for run in runs]
        progress = stack.enter_context(Progress(name, None if None in totals else sum(filter(None, totals))))

        def find_missing() -> Iterator[tuple[int, InT]]:
            for place, run in enumerate(runs):
                run.progress = progress
                for record in run.find_missing():
                    run.n_pending += 1
                    yield place, record
                run.is_exhausted = True
                run.finish_if_done()

        missing = find_missing()
        first = next(missing, None)
        if first is not None:
            clock = time.monotonic()
            outcomes = stack.enter_context(closing(work(chain([first], missing))))  # type: ignore[type-var]
            for place, outcome in outcomes:
                run = runs[place]
                run.take(outcome)
                clock, before = time.monotonic(), clock
                run.seconds += clock - before
                run.n_pending -= 1
                run.finish_if_done()
    problems: list[TooManyFailures] = []
    for run in runs:
        report(f"{run.stage.name}: {run.tally.counts.describe()} -> {run.stage.target}")
        try:
            run.check_failures(max_failures)
        except TooManyFailures as problem:
            problems.append(problem)
    if problems:
        raise TooManyFailures("\n".join(map(str, problems)))


@dataclass
class _StageRun(Generic[InT, OutT]):
    """One run of a stage: which records are missing, and what becomes of each outcome."""

    stage: Stage[InT, OutT]
    limit: int | None
    tally: Tally
    output: Appender
    failures: Appender
    total: int | None
    """Records of the stage; None if unknown."""
    progress: Progress | None = None
    seconds: float = 0.0
    """Working time, if several stages run at once; so are the next three."""
    n_pending: int = 0
    """Records that are being worked on."""
    is_exhausted: bool = False
    """Whether there are no more records."""
    finish: Callable[[], None] = lambda: None
    """Closes the artifact, with its manifest as complete."""

    def finish_if_done(self) -> None:
        if self.is_exhausted and not self.n_pending:
            self.finish()

    def find_missing(self) -> Iterator[InT]:
        return _find_missing(self.stage, self.limit, self.tally, self._fail, self._advance)

    def take(self, outcome: OutT | Omission | Failure) -> None:
        """Write or count an outcome."""
        if isinstance(outcome, Failure):
            self._fail(outcome)
        elif isinstance(outcome, Omission):
            self.tally.counts.filtered[outcome.reason] += 1
        else:
            self.output.append(outcome)
            self.tally.counts.written += 1
            self.tally.use(getattr(outcome, "usage", None))
        self._advance()

    def check_failures(self, max_failures: float) -> None:
        tally = self.tally
        check_failures(self.stage.name, tally.counts, self.stage.target, max_failures, tally.reasons, tally.n_refused)

    def _fail(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.tally.fail(failure)

    def _advance(self) -> None:
        if self.progress is not None:
            self.progress.advance(failed=self.tally.counts.failed, paid=self.stage.paid)


@contextmanager
def _open_run(
    stage: Stage[InT, OutT], options: RunOptions, *, shares_time: bool = False
) -> Iterator[_StageRun[InT, OutT]]:
    """Open artifact and manifest for a run, which ends with the block.

    shares_time: other stages run at the same time, so the manifest gets the run's own `seconds` instead of the
    duration of the block.
    """
    if options.overwrite:
        remove_artifact(stage.target, [stage.target, failures_path(stage.target)])
    if stage.twin and find_copy(stage.twin, stage.target, stage.fingerprint, stage.inputs):
        copy_artifact(stage.twin, stage.target)
        say(f"{stage.name}: {stage.twin} is made as configured here and was copied")
    manifest = _prepare(stage)
    tally, total = Tally(manifest.counts), _count_records(stage, options.limit, manifest)
    with manifest.track(stage.target, adds_time=not shares_time), ExitStack() as stack:
        output = stack.enter_context(Appender(stage.target))
        tally.load(stage.target)
        failures = stack.enter_context(Appender(failures_path(stage.target), truncate=True))
        run = _StageRun(stage, options.limit, tally, output, failures, total)
        try:
            yield run
        finally:
            manifest.usage, manifest.paid = tally.usage, stage.paid or manifest.paid
            if shares_time:
                manifest.seconds += run.seconds


def _remake(stage: Stage[Any, Any], options: RunOptions) -> Tally:
    """Make the artifact again in a folder of its own. When it is finished, it replaces the old artifact, which is kept
    as `NAME.before`; until then the old one is not touched."""
    target = stage.target
    folder = target.with_name(f".{target.name}.reparse")
    with explain_os_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            draft = folder / target.name
            tally = _make(replace(stage, target=draft, twin=None), options)
            _check_replacement(tally, target)
            if target.exists():
                write_atomically(target.with_name(f"{target.name}.before"), lambda copy: shutil.copyfile(target, copy))
            for path in (Path, failures_path, manifest_path):
                path(draft).replace(path(target))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return tally


def _check_replacement(tally: Tally, target: Path) -> None:
    """Raise InputError if `target` would be replaced by an empty artifact, as happens if the teacher's settings have
    changed and none of the stored replies is found."""
    if tally.counts.failed and not tally.counts.written and not is_empty(target):
        raise InputError(
            f"{target}: not replaced, because the stored replies gave no record ({_list(tally.reasons)}). Are the "
            "teacher's model, address, temperature, max_output_tokens and prompts those they were paid with?"
        )


def _prepare(stage: Stage[Any, Any]) -> Manifest:
    return prepare_manifest(stage.name, stage.target, stage.fingerprint, stage.inputs, parts=[stage.target])


def _count_records(stage: Stage[Any, Any], limit: int | None, manifest: Manifest) -> int | None:
    """For the progress bar; None if unknown."""
    if not manifest.inputs:
        return limit
    n_lines = next(iter(manifest.inputs.values())).n_lines
    return stage.fan_out * (n_lines if limit is None else min(n_lines, limit))


def _find_missing(
    stage: Stage[InT, Any],
    limit: int | None,
    tally: Tally,
    fail: Callable[[Failure], None],
    advance: Callable[[], None],
) -> Iterator[InT]:
    """The input records that are neither written nor skipped, read as they are asked for. The others are counted."""
    for record in islice(stage.read(), None if limit is None else limit * stage.fan_out):
        tally.counts.read += 1
        if isinstance(record, Failure):
            fail(record)
        elif record.id in tally.seen:
            fail(Failure(id=record.id, error="DuplicateId", message=f"{record.id}: duplicate id", attempts=1))
        else:
            tally.seen.add(record.id)
            if record.id in tally.done:
                tally.counts.written += 1
            elif isinstance(record, Omission):
                tally.counts.filtered[record.reason] += 1
            elif reason := stage.skip_reason(record):
                tally.counts.filtered[reason] += 1
            else:
                yield record
                continue
        advance()


def _describe_plan(stage: Stage[Any, Any], options: RunOptions) -> Counts:
    """Report what a run would do."""
    tally = Tally()
    if stage.twin and find_copy(stage.twin, stage.target, stage.fingerprint, stage.inputs):
        report(f"{stage.name} would copy {stage.twin}")
    if not (options.overwrite or options.reparse):
        _prepare(stage)
        tally.load(stage.target)
    n_missing = sum(1 for _ in _find_missing(stage, options.limit, tally, tally.fail, lambda: None))
    report(f"{stage.name} would work on {n_missing} records ({tally.counts.describe()} so far) -> {stage.target}")
    return tally.counts


def _list(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())
