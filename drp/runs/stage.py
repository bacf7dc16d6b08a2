"""Run a stage over records: the contract that all of them share.

Resumes by record id; appends whole lines; holds a lock; refuses a target made from something else; keeps failures in
`NAME.failed.jsonl` and tries them again next time; accounts for every record:

    read = written + filtered (with a reason) + failed

Records pass through as a stream, so memory grows by an id a record and no more.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from drp.errors import InputError, TooManyFailures
from drp.records import Failure, Omission, Record, Usage
from drp.runs.jsonl import Appender, digest, explain_os_errors, lock, repair_tail, scan, write_atomically
from drp.runs.manifest import (
    Counts,
    InputDigest,
    Manifest,
    check_input,
    check_unchanged,
    input_key,
    is_empty,
    load_binding_manifest,
    manifest_path,
    now,
    package_versions,
)
from drp.runs.progress import Progress, report, say


@dataclass
class Tally:
    """done: ids that earlier runs wrote. ids: those met in this run. usage: of the records written, all runs."""

    done: set[str]
    counts: Counts = field(default_factory=Counts)
    filtered: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    usage: Usage | None = None
    ids: set[str] = field(default_factory=set)

    def fail(self, failure: Failure) -> None:
        self.counts.failed += 1
        self.reasons[failure.kind] += 1

    def use(self, usage: Any) -> None:
        """Add what a written record says of its teacher, if anything."""
        if usage is not None:
            self.usage = Usage.model_validate(usage) + (self.usage or Usage(cost_usd=0.0))

    def settle(self) -> Counts:
        return self.counts.model_copy(update={"filtered": dict(self.filtered)})


def failures_path(target: Path) -> Path:
    return target.with_name(f"{target.stem}.failed.jsonl")


def check_failures(name: str, counts: Counts, target: Path, max_failures: float, reasons: Counter[str]) -> None:
    """Say what failed, by reason; raise TooManyFailures where that is more than allowed."""
    if not counts.failed:
        return
    say(f"{name}: {counts.failed} failed: {_list(reasons)}; run again to retry them: {failures_path(target)}")
    allowed = max_failures * counts.read if max_failures < 1 else max_failures
    if counts.failed > allowed:
        raise TooManyFailures(
            f"{name}: {counts.failed} of {counts.read} records failed, max_failures allows {max_failures:g}"
        )


def check_worth(tally: Tally, target: Path) -> None:
    """Raise InputError where `target` would be given up for an empty artifact: with another model, address or prompt no
    stored reply is found."""
    if tally.counts.failed and not tally.counts.written and not is_empty(target):
        raise InputError(
            f"{target}: stays as it is, for nothing could be made of the stored replies ({_list(tally.reasons)}). "
            "Are the teacher's model, address, temperature, max_output_tokens and prompts those they were paid with?"
        )


def _list(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())


InT = TypeVar("InT", bound=Record)
OutT = TypeVar("OutT", bound=Record)


class PaidReplies(Protocol):
    """What a stage needs of the stored replies of its teacher (`drp.chat.store.ReplyStore`)."""

    @property
    def paid(self) -> Usage | None:
        """What this stage has paid for in this run directory, over all its runs; None until the store is opened."""


@dataclass(frozen=True)
class Stage(Generic[InT, OutT]):
    """What differs between stages.

    inputs: the files whose content decides the output; the first is the one whose lines are the input records.
    fingerprint: the configuration that decides the output, and the prompts' hashes.
    read: every input record, from the first, in a fixed order; unreadable ones as failures.
    work: turns the records that are still missing into outputs, in any order; its outputs have its inputs' ids.
    skip_reason: the reason to leave a record out, or None to work on it.
    fan_out: how many records `read` makes of one line.
    store: the replies that the stage pays for; None for a stage without a paid teacher.
    """

    name: str
    target: Path
    inputs: Sequence[Path]
    fingerprint: dict[str, Any]
    read: Callable[[], Iterator[InT | Failure]]
    work: Callable[[Iterator[InT]], Iterator[OutT | Omission | Failure]]
    skip_reason: Callable[[InT], str | None] = lambda _: None
    fan_out: int = 1
    store: PaidReplies | None = None

    @property
    def paid(self) -> Usage | None:
        """What the stage has paid so far, over all its runs; None if no teacher was asked in this one."""
        return self.store.paid if self.store else None

    def records(self, limit: int | None) -> Iterator[InT | Failure]:
        """The input records that one run looks at."""
        return islice(self.read(), None if limit is None else limit * self.fan_out)


@dataclass(frozen=True)
class RunOptions:
    """What the command line says about this run of a stage.

    input, output: in place of the run directory's artifacts. limit: work on the first so many input records only.
    reparse: make the artifact again from stored replies alone.
    """

    input: Path | None = None
    output: Path | None = None
    limit: int | None = None
    dry_run: bool = False
    overwrite: bool = False
    reparse: bool = False

    @property
    def afresh(self) -> bool:
        """Whether what earlier runs made is left out of account."""
        return self.overwrite or self.reparse


def run_stage(stage: Stage[InT, OutT], options: RunOptions, max_failures: float = 0.0) -> Counts:
    """Do what is missing of a stage. Returns the counts; raises TooManyFailures after everything was written.

    max_failures: under 1 a share of the records, else a number of them.
    """
    for path in stage.inputs:
        if waits_for(path, stage.name, options):
            return Counts()
        check_input(path, stage.name)
    if options.dry_run:
        return _describe_plan(stage, options)
    with lock(stage.target):
        tally = _remake(stage, options) if options.reparse else _make(stage, options)
    counts = tally.settle()
    report(f"{stage.name}: {counts.describe()} -> {stage.target}")
    check_failures(stage.name, counts, stage.target, max_failures, tally.reasons)
    return counts


def waits_for(path: Path, name: str, options: RunOptions) -> bool:
    """Whether a dry run has nothing to look at because the stage before has not run yet; says so."""
    waits = options.dry_run and options.input is None and not path.exists()
    if waits:
        report(f"{name} would wait for {path}")
    return waits


def _make(stage: Stage[Any, Any], options: RunOptions) -> Tally:
    manifest = _open_manifest(stage, options)
    tally = _take_stock(stage.target)
    _finish(stage, options, manifest, tally)
    return tally


def _remake(stage: Stage[Any, Any], options: RunOptions) -> Tally:
    """Make the artifact in a folder of its own; when it is whole, it takes the place of the old one, which is kept as
    `NAME.before`. Until then the old one stays as it is."""
    target = stage.target
    folder = target.with_name(f".{target.name}.reparse")
    with explain_os_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            draft = folder / target.name
            tally = _make(replace(stage, target=draft), options)
            check_worth(tally, target)
            if target.exists():
                write_atomically(target.with_name(f"{target.name}.before"), lambda copy: shutil.copyfile(target, copy))
            for path in (Path, failures_path, manifest_path):
                path(draft).replace(path(target))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return tally


def _open_manifest(stage: Stage[Any, Any], options: RunOptions) -> Manifest:
    """The manifest to go on with: a fresh one, or the old one where it was made from the same."""
    new = Manifest(
        stage=stage.name,
        fingerprint=stage.fingerprint,
        inputs={input_key(n, path): InputDigest.of(path) for n, path in enumerate(stage.inputs)},
        versions=package_versions(),
        started=now(),
    )
    old = None if options.overwrite else load_binding_manifest(stage.target)
    if options.overwrite:
        _remove(stage.target)
    elif old is None and not is_empty(stage.target):
        raise InputError(f"{stage.target}: exists, but nothing says what made it; move it, or use --overwrite")
    if old is not None:
        check_unchanged(old, new, stage.inputs, stage.target)
        new = new.model_copy(update={"started": old.started, "seconds": old.seconds, "paid": old.paid})
    new.save(stage.target)
    return new


def _remove(target: Path) -> None:
    with explain_os_errors(target):
        for path in (target, failures_path(target), manifest_path(target)):
            path.unlink(missing_ok=True)


def _take_stock(target: Path) -> Tally:
    """What earlier runs finished, and what it cost."""
    with explain_os_errors(target):
        repair_tail(target)
    tally = Tally(done=set())
    for item in scan(target):
        tally.done.add(item["id"])
        tally.use(item.get("usage"))
    return tally


def _finish(stage: Stage[Any, Any], options: RunOptions, manifest: Manifest, tally: Tally) -> None:
    """Work until every record is written, filtered or failed; leave the manifest as it then is, whatever happens."""
    clock, state = time.monotonic(), "failed"
    try:
        _work_off(stage, options, tally)
        state = "complete"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        seconds = manifest.seconds + time.monotonic() - clock
        update = {"state": state, "counts": tally.settle(), "usage": tally.usage, "paid": stage.paid or manifest.paid}
        update |= {"seconds": seconds, "finished": now()}
        manifest.model_copy(update=update).save(stage.target)


def _work_off(stage: Stage[InT, OutT], options: RunOptions, tally: Tally) -> None:
    with ExitStack() as stack:
        failures = stack.enter_context(Appender(failures_path(stage.target), truncate=True))
        output = stack.enter_context(Appender(stage.target))
        progress = stack.enter_context(Progress(stage.name, _count_records(stage, options)))
        missing = _missing(stage, options, tally, failures, progress)
        first = next(missing, None)
        if first is None:
            return  # nothing to do: no engine is started, no teacher is asked
        outcomes = stack.enter_context(closing(stage.work(chain([first], missing))))  # type: ignore[type-var]
        for outcome in outcomes:
            _record(outcome, tally, output, failures)
            progress.advance(failed=tally.counts.failed, paid=stage.paid)


def _count_records(stage: Stage[Any, Any], options: RunOptions) -> int | None:
    if not stage.inputs:
        return options.limit
    lines = digest(stage.inputs[0])[2]
    return stage.fan_out * (lines if options.limit is None else min(lines, options.limit))


def _missing(
    stage: Stage[InT, Any], options: RunOptions, tally: Tally, failures: Appender, progress: Progress
) -> Iterator[InT]:
    """The input records that are neither written nor to be left out, as they are asked for."""
    for record in stage.records(options.limit):
        tally.counts.read += 1
        if isinstance(record, Failure):
            _fail(record, tally, failures)
        elif record.id in tally.ids:
            _fail(Failure(id=record.id, error="DuplicateId", message="id stands twice", attempts=1), tally, failures)
        else:
            tally.ids.add(record.id)
            if record.id in tally.done:
                tally.counts.written += 1
            elif reason := stage.skip_reason(record):
                tally.filtered[reason] += 1
            else:
                yield record
                continue
        progress.advance(failed=tally.counts.failed, paid=stage.paid)


def _record(outcome: Record, tally: Tally, output: Appender, failures: Appender) -> None:
    if isinstance(outcome, Failure):
        _fail(outcome, tally, failures)
    elif isinstance(outcome, Omission):
        tally.filtered[outcome.reason] += 1
    else:
        output.append(outcome)
        tally.counts.written += 1
        tally.use(getattr(outcome, "usage", None))


def _fail(failure: Failure, tally: Tally, failures: Appender) -> None:
    failures.append(failure)
    tally.fail(failure)


def _describe_plan(stage: Stage[InT, Any], options: RunOptions) -> Counts:
    """--dry-run: what would be done."""
    old = None if options.afresh else load_binding_manifest(stage.target)
    if old is not None:
        check_unchanged(old, old.model_copy(update={"fingerprint": stage.fingerprint}), stage.inputs, stage.target)
    tally = Tally(done=set() if options.afresh else {item["id"] for item in scan(stage.target)})
    to_do = 0
    for record in stage.records(options.limit):
        tally.counts.read += 1
        if isinstance(record, Failure):
            tally.counts.failed += 1
        elif record.id in tally.done:
            tally.counts.written += 1
        elif reason := stage.skip_reason(record):
            tally.filtered[reason] += 1
        else:
            to_do += 1
    report(f"{stage.name} would work on {to_do} records ({tally.settle().describe()} so far) -> {stage.target}")
    return tally.settle()


# FOLDED DOC of tally:
# What became of the records of one run of a stage, and the summary by reason that ends it.
#
# decompose: 12 failed: answer changed 7, rate limit 3, withheld 2; run again to retry them: runs/x/steps.failed.jsonl
#
