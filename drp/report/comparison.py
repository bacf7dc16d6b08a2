"""Runs side by side: their models, problem by problem, what each teacher did, what each cost, and what differs between
their configurations.

What a run was is read off its manifests' fingerprints, so that it holds for any run directory, whoever made it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean
from typing import NamedTuple

from drp.config.sections import ReportSettings
from drp.evaluation.outcomes import Outcome, apply_policy
from drp.evaluation.score import SeedsScore, means_by_problem, pool_seeds, score_seeds
from drp.evaluation.statistics import Comparison, ProblemMeans, compare, holm
from drp.records import Action
from drp.report.cost import ONE_OFF, Cost, describe_dollars, duration
from drp.report.evaluation import (
    BASE,
    HEADLINE,
    TRAINED,
    Evaluation,
    compare_models,
    describe_interval,
    describe_p,
    name_model,
)
from drp.report.results import ablation_tables, describe_spread, main_row
from drp.report.run import BENCHMARKS, MODELS, Run, benchmarks_of, settings_of
from drp.report.tables import Cell, Group, Row, Table, Tone, number, percent, signed

TESTS = (
    "Intervals: 95%, bootstrap over problems. Accuracy: exact McNemar (Wilcoxon's test where there are several samples "
    "a problem). Tokens: Wilcoxon's signed-rank test. Both p are Holm-corrected over this table."
)


class Pair(NamedTuple):
    benchmark: str
    label: str
    comparison: Comparison


def paired_table(evaluation: Evaluation) -> Table | None:
    """Each model against the base."""
    pairs = [
        Pair(benchmark, name_model(model), comparison)
        for benchmark in evaluation.benchmarks
        for model in evaluation.models
        if (comparison := evaluation.comparisons.get((model, benchmark))) is not None
    ]
    return pair_table("paired", "Paired with the base, problem by problem", "Model", pairs)


def paired_runs_table(runs: Sequence[Run]) -> Table | None:
    """What each further run made against what the first did."""
    first, *others = runs
    pairs = [
        Pair(benchmark, other.name, comparison)
        for benchmark in (first.evaluation.benchmarks if first.evaluation else ())
        for other in others
        if (comparison := _compare(first.evaluation, other.evaluation, benchmark)) is not None
    ]
    table = pair_table("paired-runs", f"Trained models, paired with {first.name} problem by problem", "Run", pairs)
    small = {pair.benchmark: pair.comparison.warning for pair in pairs if pair.comparison.warning}
    return table and replace(table, notes=[f"{benchmark}, {warning}." for benchmark, warning in small.items()])


def _compare(first: Evaluation | None, other: Evaluation | None, benchmark: str) -> Comparison | None:
    if first is None or other is None or first.subject is None or other.subject is None:
        return None
    return compare_models((first, first.subject), (other, other.subject), benchmark)


def pair_table(key: str, title: str, head: str, pairs: Sequence[Pair]) -> Table | None:
    """head: what the second column's labels are. None where there is no pair."""
    if not pairs:
        return None
    accuracy = holm([pair.comparison.accuracy_p for pair in pairs])
    tokens = holm([pair.comparison.tokens_p for pair in pairs])
    return Table(
        key=key,
        texts=2,
        title=title,
        columns=["Benchmark", head, "n", "Accuracy change", "Gained / lost", "p", "Tokens change", "p"],
        rows=[_row(*row) for row in zip(pairs, accuracy, tokens, strict=True)],
        caption=TESTS,
    )


def _row(pair: Pair, p: float, tokens_p: float) -> Row:
    comparison = pair.comparison
    change, tokens = comparison.accuracy_change, comparison.tokens_change
    tone: Tone = "" if p >= 0.05 else "good" if change > 0 else "bad"
    return Row(
        [
            Cell(pair.benchmark),
            Cell(pair.label),
            Cell(number(comparison.n)),
            Cell(signed(100 * change, 1, " points"), note=_describe(comparison.accuracy_ci), tone=tone),
            Cell(f"{comparison.gained} / {comparison.lost}"),
            Cell(describe_p(p)),
            Cell("–" if tokens is None else signed(100 * tokens, 1, "%"), note=_describe(comparison.tokens_ci)),
            Cell(describe_p(tokens_p)),
        ]
    )


def _describe(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    return f"{signed(100 * interval[0], 1)} to {signed(100 * interval[1], 1)}"


def seeds_tables(runs: Sequence[Run]) -> list[Table]:
    """Nothing where no two runs differ by their seed alone. runs: evaluated ones."""
    groups = _group(runs)
    if not groups:
        return []
    benchmarks = benchmarks_of(runs)
    together = Table(
        key="seeds",
        title="Seeds combined",
        columns=["Model", *chain.from_iterable(["Pass@1", "#Tokens"] for _ in benchmarks)],
        groups=[Group("", 1), *(Group(benchmark, 2) for benchmark in benchmarks)],
        rows=[row for group in groups for row in _rows(group, benchmarks)],
        caption=(
            "Runs that differ by nothing but their seed: mean ± standard deviation between seeds; below it the 95% "
            "interval, bootstrap over problems."
        ),
    )
    pairs = [pair for group in groups for pair in _pairs(group, benchmarks)]
    paired = pair_table("paired-seeds", "Seeds combined, paired with the base problem by problem", "Model", pairs)
    return [together] if paired is None else [together, paired]


class Seeds(NamedTuple):
    """Runs that are one but for their seed. name: the first one's; models: those that are the same in all of them."""

    name: str
    evaluations: Sequence[Evaluation]
    models: Sequence[str]

    def label(self, model: str) -> str:
        return f"{name_model(model)}, {len(self.evaluations)} runs from {self.name}"

    def outcomes(self, model: str, benchmark: str) -> list[Sequence[Outcome]]:
        """Of each run that has any."""
        found = (evaluation.outcomes.get((model, benchmark)) for evaluation in self.evaluations)
        return [outcomes for outcomes in found if outcomes]

    def score(self, model: str, benchmark: str) -> SeedsScore:
        return score_seeds(self.outcomes(model, benchmark), HEADLINE, self.evaluations[0].cutoff_tokens)

    def pool(self, model: str, benchmark: str) -> dict[str, ProblemMeans]:
        """All samples of a problem, whatever their seed."""
        pooled = pool_seeds(self.outcomes(model, benchmark))
        return means_by_problem(apply_policy(pooled, HEADLINE, self.evaluations[0].cutoff_tokens))


def _group(runs: Sequence[Run]) -> list[Seeds]:
    groups: dict[str, dict[str, Run]] = {}
    for run in runs:
        settings = settings_of(run, ignored=("sha256", "input"))
        seed = settings.pop("seed", None)
        if seed is not None:
            groups.setdefault(json.dumps(dict(_bind(settings)), sort_keys=True), {}).setdefault(seed, run)
    found = [_combine(list(group.values())) for group in groups.values() if len(group) > 1]
    return [seeds for seeds in found if seeds.models]


def _bind(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What seeds must have in common: not the benchmarks, nor what else than the base was evaluated on them."""
    for key, value in settings.items():
        if key == f"{MODELS}.{BASE}" or not key.startswith((f"{MODELS}.", f"{BENCHMARKS}.")):
            yield key, value


def _combine(runs: Sequence[Run]) -> Seeds:
    evaluations = [run.evaluation for run in runs if run.evaluation is not None]
    settings = [settings_of(run) for run in runs]
    shared = [
        model
        for model in evaluations[0].models
        if all(model in evaluation.models for evaluation in evaluations)
        and len({one.get(f"{MODELS}.{model}") for one in settings}) == 1
    ]
    return Seeds(runs[0].name, evaluations, shared)


def _rows(group: Seeds, benchmarks: Sequence[str]) -> Iterator[Row]:
    for model in group.models:
        cells = [_score_cells(group, model, benchmark) for benchmark in benchmarks]
        yield Row([Cell(group.label(model)), *chain.from_iterable(cells)], emphasis=model == TRAINED)


def _score_cells(group: Seeds, model: str, benchmark: str) -> list[Cell]:
    after, before = group.score(model, benchmark), group.score(BASE, benchmark)
    change = ""
    if model != BASE and before.mean_tokens and after.mean_tokens is not None:
        change = signed(100 * (after.mean_tokens / before.mean_tokens - 1), unit="%")
    accuracy, tokens = percent(after.accuracy), number(after.mean_tokens)
    if after.accuracy_sd is not None and after.tokens_sd is not None:
        accuracy, tokens = f"{accuracy} ± {100 * after.accuracy_sd:.1f}", f"{tokens} ± {after.tokens_sd:,.0f}"
    return [
        Cell(accuracy, note=describe_interval(after.accuracy_ci, 100, 1)),
        Cell(tokens, change, note=describe_interval(after.tokens_ci)),
    ]


def _pairs(group: Seeds, benchmarks: Sequence[str]) -> Iterator[Pair]:
    for benchmark in benchmarks:
        before = group.pool(BASE, benchmark)
        for model in group.models:
            comparison = compare(before, group.pool(model, benchmark)) if model != BASE else None
            if comparison is not None:
                yield Pair(benchmark, group.label(model), comparison)


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


# FOLDED DOC of reporting.paired:
# Two models on the same problems: the change problem by problem, with intervals, exact tests and Holm's correction.
#
# Benchmark  Model           n  Accuracy change       Gained / lost  p      Tokens change          p
# gsm8k      +DRP         1319  +2.4 points           58 / 26        0.001  -64.2%                 < 0.001
#                               +1.0 to +3.8                                -65.1 to -63.2
#

# FOLDED DOC of reporting.seeds:
# Runs that differ by nothing but their seed, as one: mean and standard deviation, and all their samples together in a
# paired comparison with the base.
