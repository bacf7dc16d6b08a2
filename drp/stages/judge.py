"""Stage judge: two steps.jsonl of the same traces -> judge/NAME.jsonl. A judge says which decomposition is better.

    judge/NAME.jsonl          Judgement records: {"id": "gsm8k-train-7#0", "winner": "a", "verdicts": [...], ...}
    judge/NAME.summary.json   wins, ties, win rate with interval and p, position bias, cost (drp.evaluation.preference)

In the paper's Appendix D, a model that is neither student nor teacher compares the skill-based steps with a split into
sentences. Here it sees each pair in both orders. It prefers a decomposition only if it does so in both; otherwise the
pair is a tie. `a` is the run's own decomposition, `b` the one that it is compared with.
"""

import hashlib
from collections.abc import Container, Iterator
from functools import partial
from heapq import nsmallest
from pathlib import Path

from drp.chat.store import ReplyStore
from drp.config.sections import Config
from drp.errors import InputError, TooManyFailures
from drp.evaluation.preference import write_preference
from drp.records import Decomposition, Failure, Judgement, Omission, Record
from drp.runs.concurrency import map_concurrently
from drp.runs.jsonl import explain_os_errors, read_lines, read_records
from drp.runs.manifest import Counts
from drp.runs.progress import report, say
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions, Stage, run_stage
from drp.teachers.judge import Judge, describe_judge, find_settings, open_judge


class DecompositionPair(Record):
    """Two decompositions of one trace. `id` is the trace's."""

    a: Decomposition
    b: Decomposition


def run(config: Config, other: Path, options: RunOptions = RunOptions()) -> Counts:
    """Judge the run's decomposition against `other`: a run directory, or a steps.jsonl.

    Raises as `run_stage` does, ConfigError if the judge is the offline teacher, and InputError if `other` is missing or
    is the run's own decomposition.
    """
    stage = _build_stage(config, _find_steps(other), options)
    ours, theirs = stage.inputs
    if ours.resolve() == theirs.resolve():
        raise InputError(f"judge: {other} is the run's own decomposition; name another one of the same traces")
    try:
        counts = run_stage(stage, options, config.max_failures)
    except TooManyFailures:
        _summarize(stage, config.seed)
        raise
    if not options.dry_run:
        _summarize(stage, config.seed)
    return counts


def _build_stage(config: Config, theirs: Path, options: RunOptions) -> Stage[DecompositionPair, Judgement]:
    rundir = RunDir(config.run_dir)
    ours = options.input or rundir.steps
    target = options.output or rundir.judge / f"{_name_steps(theirs)}.jsonl"
    # A run directory may hold several comparisons; what was paid is counted for each.
    store = ReplyStore(rundir.replies, f"judge {target.stem}")

    def work(pairs: Iterator[DecompositionPair]) -> Iterator[Judgement | Failure]:
        judge = open_judge(config, store, stored_only=options.reparse)
        return map_concurrently(partial(compare, judge), pairs, find_settings(config).n_in_flight, judge.close)

    return Stage(
        name="judge",
        target=target,
        inputs=[ours, theirs],
        fingerprint={"judge": describe_judge(config), "seed": config.seed},
        read=partial(read_pairs, ours, theirs, config.judge.pairs, config.seed),
        work=work,
        store=store,
    )


def _find_steps(other: Path) -> Path:
    """The steps.jsonl of a run directory, or the file itself."""
    path = RunDir(other).steps if other.is_dir() else other
    if not path.exists():
        raise InputError(f"judge: {path} is missing; name a run directory that was decomposed, or a steps.jsonl")
    return path


def _name_steps(path: Path) -> str:
    """The name of a decomposition: that of its run directory, or of the file if it is not called steps.jsonl."""
    return path.resolve().parent.name if path.name == "steps.jsonl" else path.stem


def read_pairs(
    ours: Path, theirs: Path, n_pairs: int | None = None, seed: int = 0
) -> Iterator[DecompositionPair | Omission | Failure]:
    """A pair for every trace of either file, in the order of `ours`. Reads both as streams: `theirs` is not held in
    memory, only where each of its records begins.

    n_pairs: how many of the traces that both files have are to be judged, drawn by `seed`; None: all.
    """
    offsets: dict[str, int] = {}
    unusable: list[Failure] = []
    for line, record in read_lines(theirs, Decomposition):
        if isinstance(record, Failure):
            unusable.append(record)
        elif record.id in offsets:
            message = f"{theirs}:{line.number}: duplicate id"
            unusable.append(Failure(id=record.id, error="DuplicateId", message=message, attempts=1))
        else:
            offsets[record.id] = line.offset
    drawn = offsets.keys() if n_pairs is None else _draw(ours, offsets, n_pairs, seed)
    seen: set[str] = set()
    with explain_os_errors(theirs), theirs.open("rb") as file:
        for a in read_records(ours, Decomposition):
            if isinstance(a, Failure):
                yield a
                continue
            seen.add(a.id)
            if a.id not in offsets:
                yield Omission(id=a.id, reason="missing in b")
            elif a.id not in drawn:
                yield Omission(id=a.id, reason="not drawn")
            else:
                file.seek(offsets[a.id])
                yield _pair(a, Decomposition.model_validate_json(file.readline()))
    yield from (Omission(id=id, reason="missing in a") for id in offsets if id not in seen)
    yield from unusable


def _draw(ours: Path, theirs: Container[str], n: int, seed: int) -> set[str]:
    """Drawn by a hash of the id, so that a larger draw contains every smaller one."""
    shared = {record.id for record in read_records(ours, Record) if record.id in theirs}
    return set(nsmallest(n, shared, key=lambda id: hashlib.sha256(f"{seed} {id}".encode()).digest()))


def _pair(a: Decomposition, b: Decomposition) -> DecompositionPair | Omission | Failure:
    if a.thinking != b.thinking:
        sizes = f"{len(a.thinking):,} and {len(b.thinking):,} characters"
        message = f"{a.id}: the two are not of the same thinking ({sizes}); decompose one traces.jsonl for both"
        return Failure(id=a.id, error="DifferentThinking", message=message, attempts=1)
    if [step.text for step in a.steps] == [step.text for step in b.steps]:
        return Omission(id=a.id, reason="same steps")
    return DecompositionPair(id=a.id, a=a, b=b)


async def compare(judge: Judge, pair: DecompositionPair) -> Judgement:
    """Ask the judge in both orders. Raises RecordError if it gives no readable verdict."""
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


def _summarize(stage: Stage[DecompositionPair, Judgement], seed: int) -> None:
    """Write and report the summary of all pairs that have been judged."""
    a, b = (_name_steps(path) for path in stage.inputs)
    preference, path = write_preference(stage.target, a, b, seed)
    for warning in preference.warnings:
        say(f"judge: {warning}")
    report(f"judge: {preference.describe()} -> {path}")
