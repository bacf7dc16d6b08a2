"""What is evaluated, how answers are graded, and the report."""

from typing import Annotated

from pydantic import Field

from drp.settings.section import OPERATIONAL, PositiveInt, Section
from drp.settings.student import SamplingSettings, SourceSettings


class EvalModel(Section):
    """A model to evaluate beside, or in place of, the base and the trained one."""

    model: str
    """A local folder or a name on the hub."""
    revision: str | None = None


class EvalSettings(Section):
    """Stage eval."""

    benchmarks: list[SourceSettings] = Field(default_factory=list)
    models: Annotated[dict[str, EvalModel] | None, OPERATIONAL] = None
    """None: `base`, the student, and `drp`, what `train` made of it."""
    sampling: SamplingSettings = SamplingSettings()
    cutoff_tokens: Annotated[PositiveInt, OPERATIONAL] = 12000
    """Cutoff of the `cap` and `exclude` policies, in response tokens (paper, section 4.6)."""


class GradingSettings(Section):
    """How answers are graded, wherever they are."""

    workers: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Worker processes; None: one a core, 8 at most."""
    timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 10.0
    """Limit for one answer, in seconds of CPU time; what takes longer could not be graded."""
    memory_mib: Annotated[PositiveInt, OPERATIONAL] = 2048
    """What one worker may take, in MiB, on top of what it starts with."""


class ReportSettings(Section):
    """Stage report."""

    title: Annotated[str | None, OPERATIONAL] = None
    """None: the run directory's name."""
