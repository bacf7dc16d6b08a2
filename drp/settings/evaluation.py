"""What is evaluated, how answers are graded, and the report."""

from typing import Annotated

from pydantic import Field, PositiveFloat

from drp.settings.section import OPERATIONAL, PositiveInt, Section
from drp.settings.student import SamplingSettings, SourceSettings


class EvalModel(Section):
    """A model to evaluate beside, or in place of, the base and the trained one."""

    model: str
    """A local folder or a name on the hub."""
    revision: str | None = None
    adapter: str | None = None
    """A folder with a LoRA adapter, such as `train/adapter`, put on the model unmerged; its tokenizer is used."""


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
    max_traces: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Traces in the page's viewer at most; None: all, the texts of as many as fit into 32 MB."""
    gpus: Annotated[PositiveInt, OPERATIONAL] = 1
    """GPUs that `generate` and `train` ran on at once: what their hours are multiplied by."""
    gpu_usd_per_hour: Annotated[float, Field(ge=0), OPERATIONAL] = 2.0
    """US dollars for an hour of one GPU; the default is about what a rented A100 costs."""
    token_usd_per_million: Annotated[tuple[PositiveFloat, ...], Field(min_length=1), OPERATIONAL] = (0.2, 0.6, 2.0)
    """US dollars a million generated tokens are worth where the student is used. The break-even has a column for each;
    the defaults go from small to large models."""
