"""Stage prune: steps.jsonl -> pruned.jsonl. A teacher keeps, deletes, rewrites or merges each step, then resynthesises.

Whatever teacher it was, a pruning that changes the answer, invents a number, grows, or loses a step goes to the
failures file, never into training. A trace in which every step is kept is left out and counted.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from drp.config.sections import Config
from drp.errors import RecordError
from drp.grading import Grader
from drp.records import Decomposition, Failure, Omission, Pruning
from drp.runs.concurrency import call, map_concurrently
from drp.runs.jsonl import read_records
from drp.runs.manifest import Counts
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions, Stage, run_stage
from drp.student.response import Tokenizer, count_tokens, join_response, load_tokenizer
from drp.teachers.base import Revision, Teacher
from drp.teachers.checks import check_revision, is_slow
from drp.teachers.factory import describe_teacher, open_store, open_teacher


def run(config: Config, options: RunOptions = RunOptions()) -> Counts:
    rundir = RunDir(config.run_dir)
    source = options.input or rundir.steps
    store = open_store(config, "prune")

    def work(decompositions: Iterator[Decomposition]) -> Iterator[Pruning | Omission | Failure]:
        student = config.student
        tokenizer = load_tokenizer(student.model, student.revision, student.trust_remote_code)
        with Grader(config.grading) as grader:
            teacher = open_teacher(config, store, grader, tokenizer, stored_only=options.reparse)
            do = partial(prune, teacher, grader, tokenizer)
            yield from map_concurrently(do, decompositions, config.teacher.n_in_flight, teacher.close)

    stage = Stage(
        name="prune",
        target=options.output or rundir.pruned,
        inputs=[source],
        fingerprint=fingerprint(config),
        read=lambda: read_records(source, Decomposition),
        work=work,
        store=store,
    )
    return run_stage(stage, options, config.max_failures)


def fingerprint(config: Config) -> dict[str, Any]:
    """What of the configuration decides the prunings."""
    return {"teacher": describe_teacher(config, "prune"), "student": config.student.identity()}


async def prune(teacher: Teacher, grader: Grader, tokenizer: Tokenizer, record: Decomposition) -> Pruning | Omission:
    """Raises RecordError, saying what is wrong, where the teacher's revision does not pass the checks."""
    revision = await teacher.prune(record)
    if revision.keeps_all(record):
        return Omission(id=record.id, reason="nothing to prune")
    check = partial(
        check_revision,
        record,
        revision.edits,
        revision.thinking,
        revision.summary,
        count=partial(count_tokens, tokenizer),
        same_answer=grader.same_answer,
    )
    problems = await call(check, slow=is_slow(record, revision.summary))
    if problems:
        raise RecordError(f"{record.id}: {'; '.join(problems)}", reason=problems[0].reason)
    return build_pruning(record, revision, teacher.name, tokenizer)


def build_pruning(record: Decomposition, revision: Revision, teacher: str, tokenizer: Tokenizer) -> Pruning:
    response = join_response(revision.thinking, revision.summary)
    return Pruning(
        **{**dict(record), "teacher": teacher, "usage": revision.usage},
        edits=revision.edits,
        pruned_thinking=revision.thinking,
        pruned_summary=revision.summary,
        pruned_response=response,
        # The end-of-sequence token counts, as it does in `n_tokens`.
        n_tokens_pruned=count_tokens(tokenizer, response) + 1,
    )
