"""Stage decompose: traces.jsonl -> steps.jsonl. A teacher splits each thinking into skill-labelled steps.

    {"id": "gsm8k-7#0", "thinking": "First, 3 x 4 = 12. So ...", "steps": [{"text": "First, 3 x 4 = 12. ",
     "skill": "Multiplication", "start": 0, "end": 19}, ...], "teacher": "gpt-4o", "usage": {...}, ...}

Traces with a wrong answer, whose thinking has no end, or that training would not draw (`drp.training.draw`) are skipped
before the teacher is paid for them.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from drp.config.sections import Config
from drp.errors import RecordError
from drp.records import Decomposition, Failure, Trace
from drp.runs.concurrency import map_concurrently
from drp.runs.jsonl import read_records
from drp.runs.manifest import Counts
from drp.runs.rundir import RunDir, failures_path
from drp.runs.stage import NOT_DRAWN, FinishedRecord, RunOptions, Stage, run_stage
from drp.student.response import CLOSING
from drp.teachers.base import Teacher
from drp.teachers.checks import check_steps
from drp.teachers.factory import describe_teacher, open_store, open_teacher
from drp.training.draw import draw_ids, work_on_draw


def run(config: Config, options: RunOptions = RunOptions()) -> Counts:
    """Decompose the traces that training draws and that are not decomposed yet.

    Raises as `run_stage` does, and UserError for a missing key.
    """
    source = options.input or RunDir(config.run_dir).traces
    return work_on_draw(partial(draw_traces, config, source), partial(_run_once, config, source), options)


def _run_once(config: Config, source: Path, drawn: AbstractSet[str] | None, options: RunOptions) -> Counts:
    """drawn: ids of the traces to decompose; None: all."""
    store, target = open_store(config, "decompose"), options.output or RunDir(config.run_dir).steps

    def work(traces: Iterator[Trace]) -> Iterator[Decomposition | Failure]:
        teacher = open_teacher(config, store, stored_only=options.reparse)
        return map_concurrently(partial(decompose, teacher), traces, config.teacher.n_in_flight, teacher.close)

    stage = Stage(
        name="decompose",
        target=target,
        inputs=[source],
        fingerprint=build_fingerprint(config),
        read=lambda: read_records(source, Trace),
        work=work,
        skip_reason=lambda trace: find_skip_reason(trace, config, drawn),
        store=store,
        twin=config.find_twin(target),
    )
    return run_stage(stage, options, config.max_failures)


def build_fingerprint(config: Config) -> dict[str, Any]:
    """The part of the configuration that decides the steps."""
    return {"decompose": config.decompose.identity(), "teacher": describe_teacher(config, "decompose")}


def find_skip_reason(trace: Trace, config: Config, drawn: AbstractSet[str] | None) -> str | None:
    """Why this trace is not decomposed; None if it is. drawn: from `draw_traces`."""
    if reason := find_defect(trace, config):
        return reason
    return None if drawn is None or trace.id in drawn else NOT_DRAWN


def find_defect(trace: Trace, config: Config) -> str | None:
    """Why this trace cannot become an example, whatever the teacher would make of it."""
    if not trace.thinking.strip():
        return "empty thinking"
    # With `train.max_samples`, only what training uses is decomposed.
    only_correct = config.train.only_correct and config.train.max_samples is not None
    if trace.correct or not (config.decompose.only_correct or only_correct):
        return None
    if CLOSING not in trace.response:
        return "thinking not closed"
    return "answer not graded" if trace.correct is None else "answer wrong"


def draw_traces(config: Config, source: Path, options: RunOptions) -> AbstractSet[str] | None:
    """The ids of the traces to decompose, see `drp.training.draw`; None for all. source: traces.jsonl."""
    rundir = RunDir(config.run_dir)
    traces = islice(read_records(source, Trace, "skip"), options.limit)
    candidates = (trace.id for trace in traces if not find_defect(trace, config))
    return draw_ids(config, candidates, [options.output or rundir.steps, rundir.pruned], options)


def count_undecomposed(config: Config, options: RunOptions) -> int:
    """How many of the traces that training draws decompose has not worked on yet. After a run of prune, these are the
    ones that replace what prune has lost."""
    rundir = RunDir(config.run_dir)
    drawn = draw_traces(config, rundir.traces, options)
    if drawn is None:
        return 0
    written = {record.id for record in read_records(rundir.steps, FinishedRecord, "raise")}
    failed = {failure.id for failure in read_records(failures_path(rundir.steps), Failure, "skip")}
    return len(drawn - written - failed)


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
