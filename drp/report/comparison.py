"""Several runs side by side: their models, paired tests, the paper's ablations, seeds combined, costs and settings.

Students, teachers and seeds are read from the fingerprints in the runs' manifests; no configuration is needed. For a
single run there are only the ablations, of the models that it evaluated.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

from drp.config.sections import ReportSettings
from drp.evaluation.outcomes import Outcome
from drp.evaluation.score import SeedsScore, pool_seeds, score_seeds
from drp.evaluation.statistics import Comparison, ProblemMeans, compare
from drp.records import Action
from drp.report.cost import ONE_OFF_STAGES, ModelCost, describe_seconds
from drp.report.pruning import PruningSurvey
from drp.report.results import (
    BASE,
    HEADLINE_POLICY,
    TRAINED,
    Evaluation,
    LabelledComparison,
    benchmark_table,
    comparisons_table,
    describe_interval,
    explain_notes,
    headline_means,
    model_row,
    name_model,
    warn_of_few_problems,
)
from drp.report.run import BENCHMARKS, MODELS, Run, settings_of
from drp.report.tables import EMPTY, Cell, Table, TableRow, number, percent, signed
from drp.runs.progress import write_dollars


def comparison_tables(runs: Sequence[Run], prices: ReportSettings) -> list[Table]:
    """Every table for which there is data; for a single run only the ablations."""
    evaluated = [run for run in runs if run.evaluation is not None]
    if len(runs) < 2:
        return _ablation_tables(evaluated)
    found = [
        _runs_table(evaluated),
        _paired_runs_table(runs),
        *_ablation_tables(evaluated),
        *_seeds_tables(evaluated),
        _actions_table(runs),
        _costs_table(runs, prices),
        _differences_table(runs),
    ]
    return [table for table in found if table is not None]


def _list_benchmarks(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs if run.evaluation for name in run.evaluation.benchmarks))


def _runs_table(runs: Sequence[Run]) -> Table | None:
    """The main table of each run, below its name and student."""
    if not runs:
        return None
    benchmarks = _list_benchmarks(runs)
    intervals = explain_notes(run.evaluation for run in runs if run.evaluation is not None)
    return benchmark_table(
        "runs",
        "Runs side by side",
        benchmarks,
        [row for run in runs for row in _run_rows(run, benchmarks, emphasis=run is runs[0])],
        caption=f"Changes are relative to the base model of the same run. {intervals}",
    )


def _run_rows(run: Run, benchmarks: Sequence[str], *, emphasis: bool) -> Iterator[TableRow]:
    settings = settings_of(run)
    student = settings.get("student.model", settings.get(f"{MODELS}.{BASE}", ""))
    yield TableRow([Cell(" · ".join(part for part in (run.name, student) if part))], heading=True)
    if run.evaluation is not None:
        for model in run.evaluation.models:
            row = model_row(run.evaluation, model, name_model(model), benchmarks)
            yield replace(row, emphasis=row.emphasis and emphasis)


def _paired_runs_table(runs: Sequence[Run]) -> Table | None:
    """Each other run's trained model compared with the first run's."""
    first, *others = runs
    comparisons = [
        LabelledComparison(benchmark, other.name, comparison)
        for benchmark in (first.evaluation.benchmarks if first.evaluation else ())
        for other in others
        if (comparison := _compare_trained(first.evaluation, other.evaluation, benchmark)) is not None
    ]
    title = f"Trained models, paired comparison with {first.name}"
    return comparisons_table("paired-runs", title, "Run", comparisons, warn_of_few_problems(comparisons))


def _compare_trained(first: Evaluation | None, other: Evaluation | None, benchmark: str) -> Comparison | None:
    """On the problems that both runs have, with the first run's cutoff for both."""
    if first is None or other is None:
        return None
    before, after = (
        headline_means(evaluation.outcomes.get((evaluation.subject or "", benchmark), ()), first.cutoff_tokens)
        for evaluation in (first, other)
    )
    return compare(before, after)


class AblationArm(NamedTuple):
    """One row of an ablation: a model of a run."""

    label: str
    run: Run
    model: str


class Ablation(NamedTuple):
    """One of the paper's ablation tables, and which models belong in it."""

    key: str
    title: str
    label_run: Callable[[Run], str]
    """The label of a run's trained model; empty: it does not belong in the table."""
    label_model: Callable[[str], str]
    """The label of another model of a run, from its name; empty: it does not belong in the table."""
    by_dataset: bool
    """A row for each benchmark and method, as in the paper's Tables 2 and 4; else a row for each method, as in its
    Table 3."""


METHODS = {"skill": "DRP", "default": "Default", "sentence": "Sentences"}
"""The paper's names of decompose.method."""


def _label_method(run: Run) -> str:
    method = settings_of(run).get("decompose.method", "")
    return METHODS.get(method, method)


def _label_teacher(run: Run) -> str:
    settings = settings_of(run)
    names = (settings.get(f"teacher.{key}", "null") for key in ("model", "provider"))
    return next((f"with {name} as teacher" for name in names if name != "null"), "")


def _label_target(run: Run) -> str:
    """From the run's name, because its manifests do not say whose responses it was trained on. `R1-Distill` in a name
    is the student's."""
    return "Distill" if "distill" in run.name.lower().replace("r1-distill", "") else "DRP"


ABLATIONS = (
    Ablation(
        "skills",
        "Skill-based and default decomposition (the paper's Table 2)",
        _label_method,
        lambda model: "Default" if model.startswith("default") else "",
        by_dataset=True,
    ),
    Ablation(
        "teachers",
        "Choice of the teacher (the paper's Table 3)",
        _label_teacher,
        lambda model: f"with {model.removesuffix('-teacher')} as teacher" if model.endswith("-teacher") else "",
        by_dataset=False,
    ),
    Ablation(
        "targets",
        "Pruned traces and the teacher's own solutions (the paper's Table 4)",
        _label_target,
        lambda model: "Distill" if model.startswith("distill") else "",
        by_dataset=True,
    ),
)

ABLATION_CAPTION = (
    "Changes are relative to the base model of the same run. The runs may also differ in settings other than this one."
)


def _ablation_tables(runs: Sequence[Run]) -> list[Table]:
    """Those ablations for which there are two arms with different labels. runs: evaluated ones."""
    tables = []
    for ablation in ABLATIONS:
        arms = _find_arms(ablation, runs)
        if len({arm.label for arm in arms}) > 1:
            arms = [AblationArm("Base", runs[0], BASE), *_make_labels_unique(arms)]
            tables.append(_by_dataset(ablation, arms) if ablation.by_dataset else _by_method(ablation, arms))
    return tables


def _find_arms(ablation: Ablation, runs: Sequence[Run]) -> list[AblationArm]:
    """In the order of the runs; in a table by dataset, DRP comes last, as in the paper."""
    arms = []
    for run in runs:
        models = run.evaluation.models if run.evaluation else ()
        label = ablation.label_run(run)
        if TRAINED in models and label:
            arms.append(AblationArm(label, run, TRAINED))
        arms += [AblationArm(label, run, model) for model in models if (label := ablation.label_model(model))]
    return sorted(arms, key=lambda arm: ablation.by_dataset and arm.label == "DRP")


def _make_labels_unique(arms: Sequence[AblationArm]) -> list[AblationArm]:
    """Append the run's name to labels that occur more than once."""
    times = Counter(arm.label for arm in arms)
    return [arm._replace(label=f"{arm.label} ({arm.run.name})") if times[arm.label] > 1 else arm for arm in arms]


def _by_method(ablation: Ablation, arms: Sequence[AblationArm]) -> Table:
    benchmarks = _list_benchmarks([arm.run for arm in arms])
    return benchmark_table(
        ablation.key,
        ablation.title,
        benchmarks,
        [_arm_row(arm, benchmarks) for arm in arms],
        first="Method",
        pair=("Accuracy", "Tokens"),
        caption=ABLATION_CAPTION,
    )


def _by_dataset(ablation: Ablation, arms: Sequence[AblationArm]) -> Table:
    rows = []
    for benchmark in _list_benchmarks([arm.run for arm in arms]):
        for index, arm in enumerate(arms):
            row = _arm_row(arm, [benchmark])
            rows.append(replace(row, cells=[Cell("" if index else benchmark), *row.cells]))
    return Table(
        key=ablation.key,
        texts=2,
        title=ablation.title,
        columns=["Dataset", "Method", "Accuracy", "Tokens"],
        rows=rows,
        caption=ABLATION_CAPTION,
    )


def _arm_row(arm: AblationArm, benchmarks: Sequence[str]) -> TableRow:
    assert arm.run.evaluation is not None
    row = model_row(arm.run.evaluation, arm.model, arm.label, benchmarks)
    return replace(row, emphasis=arm.label.startswith("DRP"))


class SeedGroup(NamedTuple):
    """Runs that differ only in their seed."""

    name: str
    """The first run's."""
    evaluations: Sequence[Evaluation]
    models: Sequence[str]
    """Those that are the same in all runs."""

    def label(self, model: str) -> str:
        return f"{name_model(model)}, {len(self.evaluations)} runs from {self.name}"

    def outcomes(self, model: str, benchmark: str) -> list[Sequence[Outcome]]:
        """Those of each run that has any."""
        found = (evaluation.outcomes.get((model, benchmark)) for evaluation in self.evaluations)
        return [outcomes for outcomes in found if outcomes]

    def score(self, model: str, benchmark: str) -> SeedsScore:
        return score_seeds(self.outcomes(model, benchmark), HEADLINE_POLICY, self.evaluations[0].cutoff_tokens)

    def means(self, model: str, benchmark: str) -> dict[str, ProblemMeans]:
        """Each problem's means over the samples of all runs."""
        return headline_means(pool_seeds(self.outcomes(model, benchmark)), self.evaluations[0].cutoff_tokens)


def _seeds_tables(runs: Sequence[Run]) -> list[Table]:
    """Runs that differ only in their seed, combined; nothing if there are no two. runs: evaluated ones."""
    groups = _group_by_settings(runs)
    if not groups:
        return []
    benchmarks = _list_benchmarks(runs)
    combined = benchmark_table(
        "seeds",
        "Seeds combined",
        benchmarks,
        [_seeds_row(group, model, benchmarks) for group in groups for model in group.models],
        caption=(
            "Runs that differ only in their seed. ±: standard deviation between seeds. Below: 95% interval, bootstrap "
            "over problems."
        ),
    )
    comparisons = [
        LabelledComparison(benchmark, group.label(model), comparison)
        for group in groups
        for benchmark in benchmarks
        for model in group.models
        if model != BASE
        and (comparison := compare(group.means(BASE, benchmark), group.means(model, benchmark))) is not None
    ]
    title = "Seeds combined, paired comparison with the base model"
    paired = comparisons_table("paired-seeds", title, "Model", comparisons)
    return [combined] if paired is None else [combined, paired]


def _group_by_settings(runs: Sequence[Run]) -> list[SeedGroup]:
    groups: dict[str, dict[str, Run]] = {}
    for run in runs:
        settings = settings_of(run, ignored=("sha256", "input"))
        seed = settings.pop("seed", None)
        if seed is not None:
            groups.setdefault(json.dumps(_common_settings(settings), sort_keys=True), {}).setdefault(seed, run)
    found = [_combine(list(group.values())) for group in groups.values() if len(group) > 1]
    return [group for group in found if group.models]


def _common_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """What runs of a group must have in common: all but the benchmarks, and the models other than the base."""
    return {
        key: value
        for key, value in settings.items()
        if key == f"{MODELS}.{BASE}" or not key.startswith((f"{MODELS}.", f"{BENCHMARKS}."))
    }


def _combine(runs: Sequence[Run]) -> SeedGroup:
    evaluations = [run.evaluation for run in runs if run.evaluation is not None]
    settings = [settings_of(run) for run in runs]
    shared = [
        model
        for model in evaluations[0].models
        if all(model in evaluation.models for evaluation in evaluations)
        and len({one.get(f"{MODELS}.{model}") for one in settings}) == 1
    ]
    return SeedGroup(runs[0].name, evaluations, shared)


def _seeds_row(group: SeedGroup, model: str, benchmarks: Sequence[str]) -> TableRow:
    cells = [cell for benchmark in benchmarks for cell in _seeds_cells(group, model, benchmark)]
    return TableRow([Cell(group.label(model)), *cells], emphasis=model == TRAINED)


def _seeds_cells(group: SeedGroup, model: str, benchmark: str) -> list[Cell]:
    score, base = group.score(model, benchmark), group.score(BASE, benchmark)
    change = ""
    if model != BASE and base.mean_tokens and score.mean_tokens is not None:
        change = signed(100 * (score.mean_tokens / base.mean_tokens - 1), unit="%")
    accuracy, tokens = percent(score.accuracy), number(score.mean_tokens)
    if score.accuracy_sd is not None and score.tokens_sd is not None:
        accuracy, tokens = f"{accuracy} ± {100 * score.accuracy_sd:.1f}", f"{tokens} ± {score.tokens_sd:,.0f}"
    return [
        Cell(accuracy, note=describe_interval(score.accuracy_ci, 100, 1)),
        Cell(tokens, change, note=describe_interval(score.tokens_ci)),
    ]


def _actions_table(runs: Sequence[Run]) -> Table | None:
    """Steps, actions and tokens of each run's training data."""
    rows = [_actions_row(run.name, run.survey) for run in runs if run.survey is not None]
    shares = [action.value.capitalize() for action in Action]
    columns = ["Run", "Teacher", "Traces", "Steps per trace", *shares, "Tokens per response", "Pruned"]
    return Table("actions-by-run", "Teacher actions by run", columns, rows, texts=2) if rows else None


def _actions_row(name: str, survey: PruningSurvey) -> TableRow:
    tokens = [EMPTY, EMPTY]
    if survey.reduction is not None:
        change = signed(100 * survey.reduction, unit="%")
        tokens = [Cell(number(fmean(survey.before))), Cell(number(fmean(survey.after)), change)]
    return TableRow(
        [
            Cell(name),
            Cell(", ".join(survey.teachers)),
            Cell(number(survey.traces)),
            Cell(number(survey.steps_per_trace, 1)),
            *(Cell(percent(survey.share(action))) for action in Action),
            *tokens,
        ]
    )


def _costs_table(runs: Sequence[Run], prices: ReportSettings) -> Table | None:
    """The one-off cost of each run's model."""
    costs = [(run.name, ModelCost.of(run.manifests, prices)) for run in runs]
    rows = [
        TableRow(
            [
                Cell(name),
                Cell(number(cost.usage.calls)),
                Cell(number(cost.usage.input_tokens)),
                Cell(number(cost.usage.output_tokens)),
                Cell(write_dollars(cost.usage.cost_usd)),
                Cell(describe_seconds(cost.seconds)),
                Cell(number(cost.gpu_hours, 2)),
                Cell(write_dollars(cost.dollars)),
            ]
        )
        for name, cost in costs
        if cost.stages
    ]
    if not rows:
        return None
    return Table(
        key="cost-by-run",
        title="Cost by run",
        columns=["Run", "Calls", "Tokens in", "Tokens out", "Teacher", "Time", "GPU hours", "Total"],
        rows=rows,
        caption=(
            f"Cost of those stages among {', '.join(ONE_OFF_STAGES)} that ran in the run directory, at "
            f"${prices.gpu_usd_per_hour:g} per GPU hour."
        ),
    )


def _differences_table(runs: Sequence[Run]) -> Table | None:
    """The settings in which the runs differ."""
    settings = [settings_of(run) for run in runs]
    rows = [
        TableRow([Cell(key), *(Cell(one.get(key, "–")) for one in settings)])
        for key in sorted({key for one in settings for key in one})
        if len({one.get(key) for one in settings}) > 1
    ]
    columns = ["Key", *(run.name for run in runs)]
    return Table("differences", "Configuration differences", columns, rows, texts=len(columns)) if rows else None
