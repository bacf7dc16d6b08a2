"""The paper's ablations, Tables 2 to 4, of whatever runs stand side by side and whatever models a run evaluated.

Table 2   decompose.method differs, or a model is called default...   Dataset | Method | Accuracy | Tokens
Table 3   the teacher differs, or a model is called ...-teacher       Method | Accuracy, Tokens of each benchmark
Table 4   a model, or a run, is called distill...                     as Table 2
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from drp.reporting.evaluation import BASE, TRAINED
from drp.reporting.results import main_row
from drp.reporting.run import Run, benchmarks_of, settings_of
from drp.reporting.tables import Cell, Group, Row, Table

CAPTION = "Changes are against the base of the same run. Where runs are compared, they can differ in more than this."

METHODS = {"skill": "DRP", "default": "Default", "sentence": "Sentences"}
"""The paper's names of decompose.method."""


class Arm(NamedTuple):
    """One row of an ablation: a model of a run."""

    label: str
    run: Run
    model: str


class Ablation(NamedTuple):
    key: str
    title: str
    label_run: Callable[[Run], str]
    """What a run's trained model is called; empty: it does not belong here."""
    label_model: Callable[[str], str]
    """What another model of a run is called; empty likewise."""
    by_dataset: bool
    """A row a benchmark and method, as in Tables 2 and 4; else a row a method, as in Table 3."""


def _label_method(run: Run) -> str:
    method = settings_of(run).get("decompose.method", "")
    return METHODS.get(method, method)


def _label_teacher(run: Run) -> str:
    settings = settings_of(run)
    named = (settings.get(f"teacher.{key}", "null") for key in ("model", "provider"))
    return next((f"with {name} as teacher" for name in named if name != "null"), "")


def _label_target(run: Run) -> str:
    """By its name: training on a teacher's own responses looks like any other training. R1-Distill is a student."""
    return "Distill" if "distill" in run.name.lower().replace("r1-distill", "") else "DRP"


ABLATIONS = (
    Ablation(
        "skills",
        "Skill-based steps against default ones (the paper's Table 2)",
        _label_method,
        lambda model: "Default" if model.startswith("default") else "",
        by_dataset=True,
    ),
    Ablation(
        "teachers",
        "The teacher's influence (the paper's Table 3)",
        _label_teacher,
        lambda model: f"with {model.removesuffix('-teacher')} as teacher" if model.endswith("-teacher") else "",
        by_dataset=False,
    ),
    Ablation(
        "targets",
        "Pruned traces against the teacher's own (the paper's Table 4)",
        _label_target,
        lambda model: "Distill" if model.startswith("distill") else "",
        by_dataset=True,
    ),
)


def ablation_tables(runs: Sequence[Run]) -> list[Table]:
    """Those of which there are at least two arms that differ. runs: evaluated ones."""
    tables = []
    for ablation in ABLATIONS:
        arms = list(_find_arms(ablation, runs))
        if len({arm.label for arm in arms}) > 1:
            arms = [Arm("Base", runs[0], BASE), *_tell_apart(arms)]
            tables.append(_by_dataset(ablation, arms) if ablation.by_dataset else _by_method(ablation, arms))
    return tables


def _find_arms(ablation: Ablation, runs: Sequence[Run]) -> Iterator[Arm]:
    """The variants first, then what they are compared with, as in the paper."""
    arms = []
    for run in runs:
        models = run.evaluation.models if run.evaluation else ()
        label = ablation.label_run(run)
        if TRAINED in models and label:
            arms.append(Arm(label, run, TRAINED))
        arms += [Arm(label, run, model) for model in models if (label := ablation.label_model(model))]
    yield from sorted(arms, key=lambda arm: ablation.by_dataset and arm.label == "DRP")


def _tell_apart(arms: Sequence[Arm]) -> list[Arm]:
    """Labels that stand twice are followed by their run's name."""
    times = Counter(arm.label for arm in arms)
    return [arm._replace(label=f"{arm.label} ({arm.run.name})") if times[arm.label] > 1 else arm for arm in arms]


def _by_method(ablation: Ablation, arms: Sequence[Arm]) -> Table:
    benchmarks = benchmarks_of([arm.run for arm in arms])
    return Table(
        key=ablation.key,
        title=ablation.title,
        columns=["Method", *chain.from_iterable(["Accuracy", "Tokens"] for _ in benchmarks)],
        groups=[Group("", 1), *(Group(benchmark, 2) for benchmark in benchmarks)],
        rows=[_row_of(arm, benchmarks) for arm in arms],
        caption=CAPTION,
    )


def _by_dataset(ablation: Ablation, arms: Sequence[Arm]) -> Table:
    rows = []
    for benchmark in benchmarks_of([arm.run for arm in arms]):
        for place, arm in enumerate(arms):
            row = _row_of(arm, [benchmark])
            rows.append(replace(row, cells=[Cell("" if place else benchmark), *row.cells]))
    return Table(ablation.key, ablation.title, ["Dataset", "Method", "Accuracy", "Tokens"], rows, (), CAPTION, texts=2)


def _row_of(arm: Arm, benchmarks: Sequence[str]) -> Row:
    assert arm.run.evaluation is not None
    row = main_row(arm.run.evaluation, arm.model, arm.label, benchmarks)
    return replace(row, emphasis=arm.label.startswith("DRP"))
