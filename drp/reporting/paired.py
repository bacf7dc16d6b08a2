"""Two models on the same problems: the change problem by problem, with intervals, exact tests and Holm's correction.

Benchmark  Model           n  Accuracy change       Gained / lost  p      Tokens change          p
gsm8k      +DRP         1319  +2.4 points           58 / 26        0.001  -64.2%                 < 0.001
                              +1.0 to +3.8                                -65.1 to -63.2
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from drp.reporting.evaluation import Evaluation, compare_models, describe_p, name_model
from drp.reporting.run import Run
from drp.reporting.tables import Cell, Row, Table, Tone, number, signed
from drp.statistics import Comparison, holm

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
