"""Runs side by side: their models in one table, what differs between their configurations, the paper's ablations
(Tables 2 to 4), and runs that differ by nothing but their seed as a mean with its deviation.

What a run was is read off its manifests' fingerprints, so that it holds for any run directory, whoever made it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from drp.reporting.evaluation import BASE, name_model
from drp.reporting.results import main_row
from drp.reporting.run import Run
from drp.reporting.tables import Cell, Group, Row, Table, number, percent
from drp.scores.score import deviation

ABLATIONS = (
    ("decompose.method", "skills", "Skill-based steps against default ones (the paper's Table 2)"),
    ("teacher.", "teachers", "The teacher's influence (the paper's Table 3)"),
    ("train.response", "targets", "What is trained on (the paper's Table 4)"),
)
"""(configuration key or its beginning, table's key, title)"""

SAME_RUN = "Changes are against the base of the same run."

IGNORED = ("prompts", "sha256", "input")
"""Parts of a fingerprint that name contents by their hash; a user cannot read them."""


def comparison_tables(runs: Sequence[Run]) -> list[Table]:
    """Nothing for fewer than two runs."""
    if len(runs) < 2:
        return []
    settings = [settings_of(run) for run in runs]
    evaluated = [run for run in runs if run.evaluation is not None]
    tables = [_runs_table(evaluated)] if evaluated else []
    tables += [table for ablation in ABLATIONS if (table := _ablation_table(evaluated, *ablation)) is not None]
    tables += [table for table in (_seeds_table(evaluated), _differences_table(runs, settings)) if table is not None]
    return tables


def settings_of(run: Run) -> dict[str, str]:
    """Dotted key -> value of everything that the run's manifests were made with."""
    found: dict[str, str] = {}
    for cost in run.costs:
        if cost.manifest.stage.startswith("eval"):
            continue  # each model has an eval of its own; what made the model is in the stages before
        found |= dict(_flatten(cost.manifest.fingerprint))
    return found


def _flatten(tree: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key not in IGNORED:
                yield from _flatten(value, f"{place}.{key}" if place else str(key))
    else:
        yield place, tree if isinstance(tree, str) else json.dumps(tree)


def _benchmarks_of(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs if run.evaluation for name in run.evaluation.benchmarks))


def _table_of(
    key: str, title: str, runs: Sequence[Run], rows: Sequence[tuple[Run, str, str]], note: str = SAME_RUN
) -> Table:
    """rows: (run, model, label)."""
    benchmarks = _benchmarks_of(runs)
    return Table(
        key=key,
        title=title,
        columns=["Model", *chain.from_iterable(["Pass@1", "#Tokens"] for _ in benchmarks)],
        groups=[Group("", 1), *(Group(benchmark, 2) for benchmark in benchmarks)],
        rows=[
            # Of several runs' trained models only the first run's stands out.
            replace(row, emphasis=row.emphasis and run is runs[0])
            for run, model, label in rows
            if run.evaluation and (row := main_row(run.evaluation, model, label, benchmarks))
        ],
        caption=note,
    )


def _runs_table(runs: Sequence[Run]) -> Table:
    rows = [
        (run, model, f"{run.name}: {name_model(model)}")
        for run in runs
        if run.evaluation
        for model in run.evaluation.models
    ]
    return _table_of("runs", "Runs side by side", runs, rows)


def _ablation_table(runs: Sequence[Run], prefix: str, key: str, title: str) -> Table | None:
    """Runs told apart by one part of their configuration; None where it is the same in all."""
    labels = [_label(settings_of(run), prefix) for run in runs]
    if len({label for label in labels if label}) < 2:
        return None
    rows = [(runs[0], BASE, "Base")]
    for run, label in zip(runs, labels, strict=True):
        if run.evaluation and run.evaluation.subject and label:
            rows.append((run, run.evaluation.subject, label))
    return _table_of(key, title, runs, rows, "Runs can differ in more than this: see what differs, below.")


def _label(settings: Mapping[str, str], prefix: str) -> str:
    if prefix.endswith("."):
        parts = [settings.get(f"{prefix}{name}", "") for name in ("model", "provider")]
        return next((part for part in parts if part not in ("", "null")), "")
    return settings.get(prefix, "")


def _differences_table(runs: Sequence[Run], settings: Sequence[Mapping[str, str]]) -> Table | None:
    keys = sorted({key for one in settings for key in one})
    rows = [
        Row([Cell(key), *(Cell(one.get(key, "–")) for one in settings)])
        for key in keys
        if len({one.get(key) for one in settings}) > 1
    ]
    return (
        Table("differences", "What differs", ["Key", *(run.name for run in runs)], rows, texts=1 + len(runs))
        if rows
        else None
    )


def _seeds_table(runs: Sequence[Run]) -> Table | None:
    """Runs with the same settings but for the seed, as mean and sample standard deviation."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        same = {key: value for key, value in settings_of(run).items() if key != "seed"}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    together = [group for group in groups.values() if len(group) > 1]
    if not together:
        return None
    benchmarks = _benchmarks_of(runs)
    return Table(
        key="seeds",
        title="Seeds combined",
        columns=["Model", *chain.from_iterable(["Pass@1", "#Tokens"] for _ in benchmarks)],
        groups=[Group("", 1), *(Group(benchmark, 2) for benchmark in benchmarks)],
        rows=[row for group in together for row in _seed_rows(group, benchmarks)],
        caption="Mean and standard deviation over runs that differ by nothing but their seed.",
    )


def _seed_rows(group: Sequence[Run], benchmarks: Sequence[str]) -> Iterator[Row]:
    models = dict.fromkeys(model for run in group if run.evaluation for model in run.evaluation.models)
    for model in models:
        cells = [Cell(f"{name_model(model)}, {len(group)} runs from {group[0].name}")]
        for benchmark in benchmarks:
            scores = [run.evaluation.score(model, benchmark) for run in group if run.evaluation]
            cells.append(_spread([score.accuracy for score in scores if score and score.accuracy is not None], True))
            cells.append(_spread([score.mean_tokens for score in scores if score and score.mean_tokens is not None]))
        yield Row(cells)


def _spread(values: Sequence[float], share: bool = False) -> Cell:
    if not values:
        return Cell("–")
    mean, spread = sum(values) / len(values), deviation(values)
    text = percent(mean) if share else number(mean)
    if spread is None:
        return Cell(text)
    return Cell(f"{text} ± {percent(spread).rstrip('%') if share else number(spread)}")
