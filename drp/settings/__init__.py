"""Every key of the YAML, its meaning, unit, range and default.

A key marked `Operational` says how a stage runs, not what comes out: it may change between a run and its resumption.
All others are part of the stage's fingerprint.
"""

from drp.settings.estimate import EstimateSettings
from drp.settings.evaluation import EvalModel, EvalSettings, GradingSettings, ReportSettings
from drp.settings.judge import JudgeSettings
from drp.settings.run import Config
from drp.settings.section import OPERATIONAL, Section
from drp.settings.student import (
    Columns,
    EngineSettings,
    GenerateSettings,
    SamplingSettings,
    SourceSettings,
    StudentSettings,
)
from drp.settings.teacher import BatchSettings, DecomposeSettings, Prices, TeacherSettings
from drp.settings.training import LoraSettings, TrainSettings

__all__ = [
    "OPERATIONAL",
    "BatchSettings",
    "Columns",
    "Config",
    "DecomposeSettings",
    "EngineSettings",
    "EstimateSettings",
    "EvalModel",
    "EvalSettings",
    "GenerateSettings",
    "GradingSettings",
    "JudgeSettings",
    "LoraSettings",
    "Prices",
    "ReportSettings",
    "SamplingSettings",
    "Section",
    "SourceSettings",
    "StudentSettings",
    "TeacherSettings",
    "TrainSettings",
]
