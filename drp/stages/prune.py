"""Stage prune: steps.jsonl -> pruned.jsonl. A teacher keeps, deletes, rewrites or merges each step, then writes the
shorter response.

    {"id": "gsm8k-7#0", "edits": [{"action": "delete", "sources": [2], "text": ""}, ...], "pruned_thinking": "...",
     "pruned_summary": "...", "pruned_response": "...", "n_tokens_pruned": 48, "teacher": "gpt-4o", "usage": {...}, ...}

Every pruning is checked, whichever teacher made it. It fails if it changes the answer, is not shorter, leaves out a
step, or has a number that is not in the trace. A trace whose steps are all kept is left out and counted, and so is one
that training would not draw (`drp.training.draw`).
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from drp.config.sections import Config
from drp.errors import RecordError
from drp.grading import Grader
from drp.records import Decomposition, Failure, Omission, Pruning
from drp.runs.concurrency import call, map_concurrently
from drp.runs.jsonl import read_records
from drp.runs.manifest import Counts
from drp.runs.progress import say
from drp.runs.rundir import RunDir
from drp.runs.stage import NOT_DRAWN, RunOptions, Stage, run_stage
from drp.stages.decompose import count_undecomposed
from drp.student.response import ChatFormat, count_tokens, join_response, load_format
from drp.teachers.base import Revision, Teacher
from drp.teachers.checks import check_revision, is_slow
from drp.teachers.factory import describe_teacher, open_store, open_teacher
from drp.training.draw import UNCHANGED, DrawnTrace, draw_ids, work_on_draw


def run(config: Config, options: RunOptions = RunOptions()) -> Counts:
    """Prune the traces that training draws and that are not pruned yet.

    Raises as `run_stage` does, and UserError for a missing key.
    """
    source = options.input or RunDir(config.run_dir).steps
    counts = work_on_draw(partial(draw_decompositions, config, source), partial(_run_once, config, source), options)
    if options == RunOptions(limit=options.limit) and (n := count_undecomposed(config, options)):
        say(
            f"prune: {n} traces that training draws are not decomposed yet: run `drp decompose` and `drp prune` again; "
            "`drp run` does so by itself"
        )
    return counts


def _run_once(config: Config, source: Path, drawn: AbstractSet[str] | None, options: RunOptions) -> Counts:
    """drawn: ids of the decompositions to prune; None: all."""
    store, target = open_store(config, "prune"), options.output or RunDir(config.run_dir).pruned

    def work(decompositions: Iterator[Decomposition]) -> Iterator[Pruning | Omission | Failure]:
        format = load_format(config.student)
        with Grader(config.grading) as grader:
            teacher = open_teacher(config, store, grader, format.tokenizer, stored_only=options.reparse)
            do = partial(prune, teacher, grader, format)
            yield from map_concurrently(do, decompositions, config.teacher.n_in_flight, teacher.close)

    stage = Stage(
        name="prune",
        target=target,
        inputs=[source],
        fingerprint=build_fingerprint(config),
        read=lambda: read_records(source, Decomposition),
        work=work,
        skip_reason=lambda record: None if drawn is None or record.id in drawn else NOT_DRAWN,
        store=store,
        twin=config.find_twin(target),
    )
    return run_stage(stage, options, config.max_failures)


def draw_decompositions(config: Config, source: Path, options: RunOptions) -> AbstractSet[str] | None:
    """The ids of the decompositions to prune, see `drp.training.draw`; None for all. source: steps.jsonl."""
    steps = islice(read_records(source, DrawnTrace, "skip"), options.limit)
    candidates = (record.id for record in steps if record.is_trainable(config.train))
    return draw_ids(config, candidates, [options.output or RunDir(config.run_dir).pruned], options)


def build_fingerprint(config: Config) -> dict[str, Any]:
    """The part of the configuration that decides the prunings."""
    return {"teacher": describe_teacher(config, "prune"), "student": config.student.identity()}


async def prune(teacher: Teacher, grader: Grader, format: ChatFormat, record: Decomposition) -> Pruning | Omission:
    """Ask the teacher for a revision. Raises RecordError, with what is wrong, if it does not pass the checks."""
    revision = await teacher.prune(record)
    if revision.keeps_all(record):
        return Omission(id=record.id, reason=UNCHANGED)
    check = partial(
        check_revision,
        record,
        revision.edits,
        revision.thinking,
        revision.summary,
        count=partial(count_tokens, format.tokenizer),
        same_answer=grader.same_answer,
    )
    problems = await call(check, slow=is_slow(record, revision.summary))
    if problems:
        raise RecordError(f"{record.id}: {'; '.join(problems)}", reason=problems[0].reason)
    return build_pruning(record, revision, teacher.name, format)


def build_pruning(record: Decomposition, revision: Revision, teacher: str, format: ChatFormat) -> Pruning:
    """The record of a revision that passed the checks."""
    response = join_response(revision.thinking, revision.summary)
    return Pruning(
        **{**dict(record), "teacher": teacher, "usage": revision.usage},
        edits=revision.edits,
        pruned_thinking=revision.thinking,
        pruned_summary=revision.summary,
        pruned_response=response,
        # `n_tokens` includes the end-of-sequence token, too.
        n_tokens_pruned=format.count_response_tokens(response),
    )
