"""Runs that differ by nothing but their seed, as one: mean and standard deviation, and all their samples together in a
paired comparison with the base."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from drp.reporting.evaluation import BASE, HEADLINE, TRAINED, Evaluation, describe_interval, name_model
from drp.reporting.paired import Pair, pair_table
from drp.reporting.run import BENCHMARKS, MODELS, Run, benchmarks_of, settings_of
from drp.reporting.tables import Cell, Group, Row, Table, number, percent, signed
from drp.scores.outcomes import Outcome, apply_policy, group_by_problem
from drp.scores.score import tally
from drp.scores.seeds import SeedsScore, pool_seeds, score_seeds
from drp.statistics import Tally, compare


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

    def pool(self, model: str, benchmark: str) -> dict[str, Tally]:
        """All samples of a problem, whatever their seed."""
        pooled = pool_seeds(self.outcomes(model, benchmark))
        return tally(group_by_problem(apply_policy(pooled, HEADLINE, self.evaluations[0].cutoff_tokens)))


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
