"""Stage judge: two steps.jsonl of the same traces -> judge/NAME.jsonl. Which decomposition does a judge find better?

The paper's Appendix D: a model that is neither student nor teacher sees the skill-based steps beside a split at
sentences and prefers one, or neither. Here it is asked in both orders: only a preference that survives the swap is a
win, and whatever else is a tie.

    judge/NAME.jsonl          Judgement records: {"id": "gsm8k-train-7#0", "winner": "a", "verdicts": [...], ...}
    judge/NAME.summary.json   wins, ties, win rate with interval and p, position bias, cost (drp.scores.preference)

a is the run's own decomposition, b the one that it is compared with.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from drp.concurrency import map_concurrently
from drp.errors import InputError, TooManyFailures
from drp.manifest import Counts
from drp.progress import report, say
from drp.records import Failure, Judgement
from drp.rundir import RunDir
from drp.scores.preference import describe, write_preference
from drp.settings import Config
from drp.stage import RunOptions, Stage, run_stage
from drp.stages.pairs import Pair, read_pairs
from drp.teachers.judge import Judge, describe_judge, find_settings, open_judge


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
    judge: Judge | None = None

    def work(pairs: Iterator[Pair]) -> Iterator[Judgement | Failure]:
        nonlocal judge
        judge = open_judge(config, f"judge {target.stem}", stored_only=options.reparse)
        return map_concurrently(partial(compare, judge), pairs, find_settings(config).n_in_flight, judge.close)

    return Stage(
        name="judge",
        target=target,
        inputs=[ours, theirs],
        fingerprint={"judge": describe_judge(config), "seed": config.seed},
        read=lambda: read_pairs(ours, theirs, config.judge.pairs, config.seed),
        work=work,
        keep=lambda pair: pair.leave_out,
        paid=lambda: judge.paid if judge else None,
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
    report(f"judge: {describe(preference)} -> {path}")
