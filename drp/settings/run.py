"""A whole run: every section of the YAML."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from drp.settings.estimate import EstimateSettings
from drp.settings.evaluation import EvalSettings, GradingSettings, ReportSettings
from drp.settings.judge import JudgeSettings
from drp.settings.section import OPERATIONAL, Section
from drp.settings.student import EngineSettings, GenerateSettings, StudentSettings
from drp.settings.teacher import DecomposeSettings, TeacherSettings
from drp.settings.training import TrainSettings


class Config(Section):
    """A whole run."""

    run_dir: Annotated[Path, OPERATIONAL]
    """Where every artifact goes."""
    seed: int = 0
    max_failures: Annotated[float, Field(ge=0), OPERATIONAL] = 0.02
    """A stage with more failed records than this ends with exit status 1. Under 1 a share of the records, else a
    number of them."""
    student: StudentSettings
    engine: EngineSettings = EngineSettings()
    generate: GenerateSettings = GenerateSettings()
    teacher: TeacherSettings = TeacherSettings()
    decompose: DecomposeSettings = DecomposeSettings()
    train: TrainSettings = TrainSettings()
    eval: EvalSettings = EvalSettings()
    grading: GradingSettings = GradingSettings()
    judge: JudgeSettings = JudgeSettings()
    report: ReportSettings = ReportSettings()
    estimate: EstimateSettings = EstimateSettings()
