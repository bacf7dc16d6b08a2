"""Stage decompose: traces.jsonl -> steps.jsonl. A teacher splits each thinking into skill-labelled steps.

Traces whose own answer is not right, or whose thinking never closed, are left out before a teacher is paid for them.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from drp.config.sections import Config
from drp.errors import RecordError
from drp.records import Decomposition, Failure, Trace
from drp.runs.concurrency import map_concurrently
from drp.runs.jsonl import read_records
from drp.runs.manifest import Counts
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions, Stage, run_stage
from drp.student.response import CLOSING
from drp.teachers.base import Teacher
from drp.teachers.checks import check_steps
from drp.teachers.factory import describe_teacher, open_store, open_teacher


def run(config: Config, options: RunOptions = RunOptions()) -> Counts:
    rundir = RunDir(config.run_dir)
    source = options.input or rundir.traces
    store = open_store(config, "decompose")

    def work(traces: Iterator[Trace]) -> Iterator[Decomposition | Failure]:
        teacher = open_teacher(config, store, stored_only=options.reparse)
        return map_concurrently(partial(decompose, teacher), traces, config.teacher.n_in_flight, teacher.close)

    stage = Stage(
        name="decompose",
        target=options.output or rundir.steps,
        inputs=[source],
        fingerprint=fingerprint(config),
        read=lambda: read_records(source, Trace),
        work=work,
        skip_reason=lambda trace: find_skip_reason(trace, config.decompose.only_correct),
        store=store,
    )
    return run_stage(stage, options, config.max_failures)


def fingerprint(config: Config) -> dict[str, Any]:
    """What of the configuration decides the steps."""
    return {"decompose": config.decompose.identity(), "teacher": describe_teacher(config, "decompose")}


def find_skip_reason(trace: Trace, only_correct: bool) -> str | None:
    """Why this trace is not decomposed; None if it is."""
    if not trace.thinking.strip():
        return "empty thinking"
    if not only_correct or trace.correct:
        return None
    if CLOSING not in trace.response:
        return "thinking not closed"
    return "answer not graded" if trace.correct is None else "answer wrong"


async def decompose(teacher: Teacher, trace: Trace) -> Decomposition:
    """Raises RecordError where the steps do not tile the thinking."""
    segmentation = await teacher.decompose(trace)
    if problems := check_steps(trace.thinking, segmentation.steps):
        raise RecordError(f"{trace.id}: {'; '.join(problems)}", reason=problems[0].reason)
    return Decomposition(**dict(trace), steps=segmentation.steps, teacher=teacher.name, usage=segmentation.usage)
