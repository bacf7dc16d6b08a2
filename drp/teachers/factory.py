"""The configured teacher, its stored replies, and what of it belongs to a stage's fingerprint."""

from functools import partial
from typing import TYPE_CHECKING, Any

from drp.config.sections import Config
from drp.runs.rundir import RunDir
from drp.teachers.base import Task, Teacher

if TYPE_CHECKING:
    from drp.chat.store import ReplyStore
    from drp.grading import Grader
    from drp.student.response import Tokenizer


def open_teacher(
    config: Config,
    store: "ReplyStore | None",
    grader: "Grader | None" = None,
    tokenizer: "Tokenizer | None" = None,
    *,
    stored_only: bool = False,
) -> Teacher:
    """The configured teacher.

    store: from `open_store`; it is opened here, and closed with the teacher.
    grader, tokenizer: for the checks that pruning kept the answer and made the response shorter.
    stored_only: answer from the stored replies alone, without requests and without a key.
    Raises UserError if the provider's key is missing.
    """
    if store is None:
        from drp.teachers.rules.teacher import RulesTeacher

        return RulesTeacher(config.decompose.method)
    from drp.chat.factory import open_client, open_stored
    from drp.student.response import count_tokens
    from drp.teachers.llm.teacher import LLMTeacher

    return LLMTeacher(
        open_stored(config.teacher, store) if stored_only else open_client(config.teacher, store),
        config.teacher,
        config.decompose.method,
        copy=config.decompose.copy,
        min_coverage=config.decompose.min_coverage,
        same_answer=grader.same_answer if grader else None,
        count=partial(count_tokens, tokenizer) if tokenizer else len,
    )


def open_store(config: Config, task: Task) -> "ReplyStore | None":
    """The stored replies of the run directory, and of the one in `reuse`; `open_teacher` opens them. None for the
    offline teacher."""
    if config.teacher.provider == "rules":
        return None
    from drp.chat.store import ReplyStore

    shared = RunDir(config.reuse).replies if config.reuse else None
    return ReplyStore(RunDir(config.run_dir).replies, task, shared)


def describe_teacher(config: Config, task: Task) -> dict[str, Any]:
    """The teacher's part of a fingerprint: its settings, and the hashes of the prompts that `task` uses."""
    if config.teacher.provider == "rules":
        return {"provider": "rules"}
    from drp.teachers.llm.prompts import Prompts
    from drp.teachers.llm.teacher import prompt_names

    names = prompt_names(task, config.teacher, config.decompose.method)
    return {**config.teacher.identity(), "prompts": Prompts.load(config.teacher.prompts_dir).hashes(names)}
