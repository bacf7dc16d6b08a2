"""Runs side by side: their models, problem by problem, what each teacher did, what each cost, and what differs between
their configurations.

What a run was is read off its manifests' fingerprints, so that it holds for any run directory, whoever made it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean

from drp.records import Action
from drp.reporting.ablations import ablation_tables
from drp.reporting.cost import ONE_OFF, Cost, describe_dollars, duration
from drp.reporting.evaluation import BASE, name_model
from drp.reporting.paired import paired_runs_table
from drp.reporting.results import describe_spread, main_row
from drp.reporting.run import MODELS, Run, benchmarks_of, settings_of
from drp.reporting.seeds import seeds_tables
from drp.reporting.tables import Cell, Group, Row, Table, number, percent, signed
from drp.settings import ReportSettings


def comparison_tables(runs: Sequence[Run], prices: ReportSettings) -> list[Table]:
    """The paper's ablations alone for fewer than two runs."""
    evaluated = [run for run in runs if run.evaluation is not None]
    if len(runs) < 2:
        return ablation_tables(evaluated)
    found = [
        _runs_table(evaluated) if evaluated else None,
        paired_runs_table(runs),
        *ablation_tables(evaluated),
        *seeds_tables(evaluated),
        _teachers_table(runs),
        _costs_table(runs, prices),
        _differences_table(runs),
    ]
    return [table for table in found if table is not None]


def _runs_table(runs: Sequence[Run]) -> Table:
    """Table 1's form: the models under the name of their run and student."""
    benchmarks = benchmarks_of(runs)
    spread = describe_spread([run.evaluation for run in runs if run.evaluation is not None])
    return Table(
        key="runs",
        title="Runs side by side",
        columns=["Model", *chain.from_iterable(["Pass@1", "#Tokens"] for _ in benchmarks)],
        groups=[Group("", 1), *(Group(benchmark, 2) for benchmark in benchmarks)],
        rows=[row for run in runs for row in _rows_of(run, benchmarks, run is runs[0])],
        caption=f"Changes are against the base of the same run. With 95% intervals{spread}.",
    )


def _rows_of(run: Run, benchmarks: Sequence[str], stands_out: bool) -> Iterator[Row]:
    """Of several runs' trained models only the first run's stands out."""
    settings = settings_of(run)
    student = settings.get("student.model", settings.get(f"{MODELS}.{BASE}", ""))
    yield Row([Cell(" · ".join(part for part in (run.name, student) if part))], heading=True)
    if run.evaluation is not None:
        for model in run.evaluation.models:
            row = main_row(run.evaluation, model, name_model(model), benchmarks)
            yield replace(row, emphasis=row.emphasis and stands_out)


def _teachers_table(runs: Sequence[Run]) -> Table | None:
    """Steps, actions and tokens of each run's training data."""
    rows = [_teacher_row(run) for run in runs if run.survey is not None]
    shares = [action.value.capitalize() for action in Action]
    columns = ["Run", "Teacher", "Traces", "Steps a trace", *shares, "Tokens a response", "Pruned"]
    return Table("actions-by-run", "What the teachers did", columns, rows, texts=2) if rows else None


def _teacher_row(run: Run) -> Row:
    survey = run.survey
    assert survey is not None
    tokens = (
        [Cell("–"), Cell("–")]
        if survey.reduction is None
        else [
            Cell(number(fmean(survey.before))),
            Cell(number(fmean(survey.after)), signed(100 * survey.reduction, unit="%")),
        ]
    )
    return Row(
        [
            Cell(run.name),
            Cell(", ".join(survey.teachers)),
            Cell(number(survey.traces)),
            Cell(number(survey.steps_per_trace, 1)),
            *(Cell(percent(survey.share(action))) for action in Action),
            *tokens,
        ]
    )


def _costs_table(runs: Sequence[Run], prices: ReportSettings) -> Table | None:
    """What each run's model took to make."""
    costs = [(run, Cost.of(run.costs, prices)) for run in runs]
    rows = [_cost_row(run, cost) for run, cost in costs if cost.stages]
    if not rows:
        return None
    return Table(
        key="cost-by-run",
        title="What each run cost",
        columns=["Run", "Calls", "Tokens in", "Tokens out", "Teacher", "Time", "GPU hours", "Together"],
        rows=rows,
        caption=f"Of {', '.join(ONE_OFF)}, as far as a run did them itself; ${prices.gpu_usd_per_hour:g} a GPU hour.",
    )


def _cost_row(run: Run, cost: Cost) -> Row:
    texts = [
        number(cost.usage.calls),
        number(cost.usage.input_tokens),
        number(cost.usage.output_tokens),
        describe_dollars(cost.usage.cost_usd),
        duration(cost.seconds),
        number(cost.gpu_hours, 2),
        describe_dollars(cost.dollars),
    ]
    return Row([Cell(run.name), *(Cell(text) for text in texts)])


def _differences_table(runs: Sequence[Run]) -> Table | None:
    settings = [settings_of(run) for run in runs]
    rows = [
        Row([Cell(key), *(Cell(one.get(key, "–")) for one in settings)])
        for key in sorted({key for one in settings for key in one})
        if len({one.get(key) for one in settings}) > 1
    ]
    columns = ["Key", *(run.name for run in runs)]
    return Table("differences", "What differs", columns, rows, texts=len(columns)) if rows else None
