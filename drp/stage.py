"""Run a stage over records: the contract that all of them share.

Resumes by record id; appends whole lines; holds a lock; refuses a target made from something else; keeps failures in
`NAME.failed.jsonl` and tries them again next time; accounts for every record:

    read = written + filtered (with a reason) + failed

Records pass through as a stream, so memory grows by an id a record and no more.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from drp.artifacts import Appender, digest, explain_os_errors, lock, repair_tail, scan
from drp.errors import InputError, TooManyFailures
from drp.manifest import Counts, InputDigest, Manifest, check_unchanged, input_key, load_manifest, manifest_path, now
from drp.manifest import package_versions as versions_of_packages
from drp.progress import Progress, report, say
from drp.records import Failure, Omission, Record, Usage

InT = TypeVar("InT", bound=Record)
OutT = TypeVar("OutT", bound=Record)


@dataclass(frozen=True)
class Stage(Generic[InT, OutT]):
    """What differs between stages.

    inputs: the files whose content decides the output; the first is the one whose lines are the input records.
    fingerprint: the configuration that decides the output, and the prompts' hashes.
    read: every input record, from the first, in a fixed order; unreadable ones as failures.
    work: turns the records that are still missing into outputs, in any order; its outputs have its inputs' ids.
    keep: the reason to leave a record out, or None to work on it.
    fan_out: how many records `read` makes of one line.
    """

    name: str
    target: Path
    inputs: Sequence[Path]
    fingerprint: dict[str, Any]
    read: Callable[[], Iterator[InT | Failure]]
    work: Callable[[Iterator[InT]], Iterator[OutT | Omission | Failure]]
    keep: Callable[[InT], str | None] = lambda _: None
    fan_out: int = 1

    def records(self, limit: int | None) -> Iterator[InT | Failure]:
        """The input records that one run looks at."""
        return islice(self.read(), None if limit is None else limit * self.fan_out)


@dataclass(frozen=True)
class RunOptions:
    """What the command line says about this run of a stage.

    input, output: in place of the run directory's artifacts. limit: work on the first so many input records only.
    """

    input: Path | None = None
    output: Path | None = None
    limit: int | None = None
    dry_run: bool = False
    overwrite: bool = False


@dataclass
class _Run:
    """The state of one run."""

    done: set[str]
    counts: Counts = field(default_factory=Counts)
    filtered: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    usage: Usage | None = None
    ids: set[str] = field(default_factory=set)

    def settle(self) -> Counts:
        return self.counts.model_copy(update={"filtered": dict(self.filtered)})


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
        manifest = _open_manifest(stage, options)
        run = _take_stock(stage.target)
        counts = _finish(stage, options, manifest, run)
    report(f"{stage.name}: {counts.describe()} -> {stage.target}")
    check_failures(stage.name, counts, stage.target, max_failures, run.errors)
    return counts


def failures_path(target: Path) -> Path:
    return target.with_name(f"{target.stem}.failed.jsonl")


def waits_for(path: Path, name: str, options: RunOptions) -> bool:
    """Whether a dry run has nothing to look at because the stage before has not run yet; says so."""
    waits = options.dry_run and options.input is None and not path.exists()
    if waits:
        report(f"{name} would wait for {path}")
    return waits


def check_input(path: Path, name: str) -> None:
    """Raise InputError where an input is missing, or an artifact that its own stage has not finished."""
    if not path.exists():
        raise InputError(f"{name}: {path} is missing; run the stage before, or name the file with --input")
    manifest = load_manifest(path)
    if manifest is not None and manifest.state != "complete":
        raise InputError(
            f"{name}: {path} is not complete (its stage `{manifest.stage}` is {manifest.state}); run that first"
        )


def _open_manifest(stage: Stage[Any, Any], options: RunOptions) -> Manifest:
    """The manifest to go on with: a fresh one, or the old one where it was made from the same."""
    new = Manifest(
        stage=stage.name,
        fingerprint=stage.fingerprint,
        inputs={input_key(n, path): InputDigest.of(path) for n, path in enumerate(stage.inputs)},
        versions=versions_of_packages(),
        started=now(),
    )
    old = None if options.overwrite else _load_binding_manifest(stage.target)
    if options.overwrite:
        _remove(stage.target)
    elif old is None and not _is_empty(stage.target):
        raise InputError(f"{stage.target}: exists, but nothing says what made it; move it, or use --overwrite")
    if old is not None:
        check_unchanged(old, new, stage.inputs, stage.target)
        new = new.model_copy(update={"started": old.started, "seconds": old.seconds})
    new.save(stage.target)
    return new


def _load_binding_manifest(target: Path) -> Manifest | None:
    """The manifest that a target has to agree with; a run that wrote nothing binds nobody to its mistakes."""
    return None if _is_empty(target) else load_manifest(target)


def _is_empty(target: Path) -> bool:
    return not target.exists() or target.stat().st_size == 0


def _remove(target: Path) -> None:
    with explain_os_errors(target):
        for path in (target, failures_path(target), manifest_path(target)):
            path.unlink(missing_ok=True)


def _take_stock(target: Path) -> _Run:
    """What earlier runs finished, and what it cost."""
    with explain_os_errors(target):
        repair_tail(target)
    run = _Run(done=set())
    for item in scan(target):
        run.done.add(item["id"])
        _add_usage(run, item.get("usage"))
    return run


def _add_usage(run: _Run, usage: Any) -> None:
    if usage is not None:
        run.usage = Usage.model_validate(usage) + (run.usage or Usage(cost_usd=0.0))


def _finish(stage: Stage[InT, OutT], options: RunOptions, manifest: Manifest, run: _Run) -> Counts:
    """Work until every record is written, filtered or failed; leave the manifest as it then is, whatever happens."""
    clock, state = time.monotonic(), "failed"
    try:
        _work_off(stage, options, run)
        state = "complete"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        seconds = manifest.seconds + time.monotonic() - clock
        update = {"state": state, "counts": run.settle(), "usage": run.usage, "seconds": seconds, "finished": now()}
        manifest.model_copy(update=update).save(stage.target)
    return run.settle()


def _work_off(stage: Stage[InT, OutT], options: RunOptions, run: _Run) -> None:
    with ExitStack() as stack:
        failures = stack.enter_context(Appender(failures_path(stage.target), truncate=True))
        output = stack.enter_context(Appender(stage.target))
        progress = stack.enter_context(Progress(stage.name, _count_records(stage, options)))
        missing = _missing(stage, options, run, failures, progress)
        first = next(missing, None)
        if first is None:
            return  # nothing to do: no engine is started, no teacher is asked
        outcomes = stack.enter_context(closing(stage.work(chain([first], missing))))  # type: ignore[type-var]
        for outcome in outcomes:
            _record(outcome, run, output, failures)
            progress.advance(failed=run.counts.failed, usage=run.usage)


def _count_records(stage: Stage[Any, Any], options: RunOptions) -> int | None:
    if not stage.inputs:
        return options.limit
    lines = digest(stage.inputs[0])[2]
    return stage.fan_out * (lines if options.limit is None else min(lines, options.limit))


def _missing(
    stage: Stage[InT, Any], options: RunOptions, run: _Run, failures: Appender, progress: Progress
) -> Iterator[InT]:
    """The input records that are neither written nor to be left out, as they are asked for."""
    for record in stage.records(options.limit):
        run.counts.read += 1
        if isinstance(record, Failure):
            _fail(record, run, failures)
        elif record.id in run.ids:
            _fail(Failure(id=record.id, error="DuplicateId", message="id stands twice", attempts=1), run, failures)
        else:
            run.ids.add(record.id)
            if record.id in run.done:
                run.counts.written += 1
            elif reason := stage.keep(record):
                run.filtered[reason] += 1
            else:
                yield record
                continue
        progress.advance(failed=run.counts.failed, usage=run.usage)


def _record(outcome: Record, run: _Run, output: Appender, failures: Appender) -> None:
    if isinstance(outcome, Failure):
        _fail(outcome, run, failures)
    elif isinstance(outcome, Omission):
        run.filtered[outcome.reason] += 1
    else:
        output.append(outcome)
        run.counts.written += 1
        _add_usage(run, getattr(outcome, "usage", None))


def _fail(failure: Failure, run: _Run, failures: Appender) -> None:
    failures.append(failure)
    run.counts.failed += 1
    run.errors[failure.error] += 1


def _describe_plan(stage: Stage[InT, Any], options: RunOptions) -> Counts:
    """--dry-run: what would be done."""
    old = None if options.overwrite else _load_binding_manifest(stage.target)
    if old is not None:
        check_unchanged(old, old.model_copy(update={"fingerprint": stage.fingerprint}), stage.inputs, stage.target)
    run = _Run(done=set() if options.overwrite else {item["id"] for item in scan(stage.target)})
    to_do = 0
    for record in stage.records(options.limit):
        run.counts.read += 1
        if isinstance(record, Failure):
            run.counts.failed += 1
        elif record.id in run.done:
            run.counts.written += 1
        elif reason := stage.keep(record):
            run.filtered[reason] += 1
        else:
            to_do += 1
    report(f"{stage.name} would work on {to_do} records ({run.settle().describe()} so far) -> {stage.target}")
    return run.settle()


def check_failures(name: str, counts: Counts, target: Path, max_failures: float, errors: Counter[str]) -> None:
    """Say what failed, by error; raise TooManyFailures where that is more than allowed."""
    if not counts.failed:
        return
    by_error = ", ".join(f"{error} {n}" for error, n in errors.most_common())
    say(f"{name}: {counts.failed} failed ({by_error}); run again to retry them: {failures_path(target)}")
    allowed = max_failures * counts.read if max_failures < 1 else max_failures
    if counts.failed > allowed:
        raise TooManyFailures(
            f"{name}: {counts.failed} of {counts.read} records failed, max_failures allows {max_failures:g}"
        )
