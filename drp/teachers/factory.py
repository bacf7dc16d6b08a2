"""From the configuration to a teacher, and to what of a teacher decides its output."""

from typing import TYPE_CHECKING, Any

from drp.settings import Config
from drp.teachers.base import Teacher

if TYPE_CHECKING:
    from drp.grading import Grader


def describe_teacher(config: Config, task: str) -> dict[str, Any]:
    """What a fingerprint holds of the teacher: its settings, and the hashes of the prompts that `task` uses."""
    if config.teacher.provider == "rules":
        return {"provider": "rules"}
    from drp.prompts import Prompts

    prompts = Prompts.load(config.teacher.prompts_dir)
    return {**config.teacher.identity(), "prompts": prompts.hashes(task)}


def open_teacher(config: Config, grader: "Grader | None" = None) -> Teacher:
    """The configured teacher. `grader`: for the check that pruning kept the answer."""
    if config.teacher.provider == "rules":
        from drp.teachers.rules import RulesTeacher

        return RulesTeacher(config.decompose.method)
    raise NotImplementedError
