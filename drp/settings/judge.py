"""Who compares two decompositions of the same traces, and how many of them."""

from typing import Annotated, ClassVar

from drp.settings.section import OPERATIONAL, PositiveInt, Section
from drp.settings.teacher import TeacherSettings


class JudgingTeacherSettings(TeacherSettings):
    """Who judges."""

    place: ClassVar[str] = "judge.teacher"


class JudgeSettings(Section):
    """`drp judge` (paper, Appendix D)."""

    teacher: JudgingTeacherSettings | None = None
    """The model that judges, with the keys of `teacher`; None: the run's own teacher. The paper took another model than
    the one that had decomposed, and so should whoever wants an independent verdict."""
    pairs: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Judge so many pairs only, drawn with the run's seed (the paper: 50); None: all that both sides have."""
