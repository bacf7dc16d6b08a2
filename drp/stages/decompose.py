"""Stage decompose: traces.jsonl -> steps.jsonl. A teacher splits each thinking into skill-labelled steps.

    {"id": "gsm8k-7#0", "thinking": "First, 3 x 4 = 12. So ...", "steps": [{"text": "First, 3 x 4 = 12. ",
     "skill": "Multiplication", "start": 0, "end": 19}, ...], "teacher": "gpt-4o", "usage": {...}, ...}

Traces with a wrong answer, or whose thinking has no end, are skipped before the teacher is paid for them.
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
    """Decompose the traces that are not decomposed yet. Raises as `run_stage` does, and UserError for a missing key."""
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
        fingerprint=build_fingerprint(config),
        read=lambda: read_records(source, Trace),
        work=work,
        skip_reason=lambda trace: find_skip_reason(trace, config.decompose.only_correct),
        store=store,
    )
    return run_stage(stage, options, config.max_failures)


def build_fingerprint(config: Config) -> dict[str, Any]:
    """The part of the configuration that decides the steps."""
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
    """Ask the teacher for the steps. Raises RecordError if they do not tile the thinking."""
    segmentation = await teacher.decompose(trace)
    if problems := check_steps(trace.thinking, segmentation.steps):
        raise RecordError(f"{trace.id}: {'; '.join(problems)}", reason=problems[0].reason)
    return Decomposition(
        **dict(trace),
        steps=segmentation.steps,
        teacher=teacher.name,
        usage=segmentation.usage,
        coverage=segmentation.coverage,
    )
