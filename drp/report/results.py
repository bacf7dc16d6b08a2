"""The evaluated models of one run: outcomes, scores and paired comparisons, and the tables of them.

Reads eval/MODEL/BENCHMARK.jsonl. Scores are computed from these samples, not taken from summary.json, so that a report
can be made with another cutoff than the evaluation's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from drp.evaluation.outcomes import POLICIES, Outcome, Policy, apply_policy, benchmark_files, read_outcomes
from drp.evaluation.score import Score, means_by_problem, score_benchmark
from drp.evaluation.statistics import Comparison, Interval, ProblemMeans, compare, holm
from drp.report.escaping import strip_controls
from drp.report.tables import EMPTY, Cell, ColumnGroup, Table, TableRow, Tone, number, percent, signed

BASE, TRAINED = "base", "drp"
"""Folders in eval/ of the student before and after training."""
HEADLINE_POLICY: Policy = "cap"
"""The policy of the main table and of paired comparisons. It keeps every problem, and limits the weight of a response
that loops without end."""
FEW_PROBLEMS = 60
"""Up to so many problems, accuracy is shown as `15/30`, as the paper does for AIME24."""

ModelBenchmark = tuple[str, str]
"""(model, benchmark)"""


@dataclass(frozen=True)
class Evaluation:
    """What a run's eval folder holds."""

    models: Sequence[str]
    """The base first, the trained model second, then the others by name."""
    benchmarks: Sequence[str]
    """In the configuration's order."""
    cutoff_tokens: int
    outcomes: Mapping[ModelBenchmark, Sequence[Outcome]]
    scores: Mapping[ModelBenchmark, Mapping[Policy, Score]]
    comparisons: Mapping[ModelBenchmark, Comparison]
    """Each other model compared with the base."""

    def score(self, model: str, benchmark: str, policy: Policy = HEADLINE_POLICY) -> Score | None:
        found = self.scores.get((model, benchmark))
        return None if found is None else found[policy]

    @property
    def is_stopped_at_cutoff(self) -> bool:
        """Whether the engine stopped responses over the cutoff (`eval.stop_at_cutoff`), so that the policy `none` shows
        stopped responses. False if no response was that long."""
        limit = self.cutoff_tokens + 1
        return any(one.truncated and one.n_tokens == limit for samples in self.outcomes.values() for one in samples)

    @property
    def subject(self) -> str | None:
        """The model that the headline is about: the trained one, else the first that is not the base."""
        others = [model for model in self.models if model != BASE]
        return others[0] if others else None


def read_evaluation(
    folder: Path, benchmarks: Sequence[str] = (), cutoff_tokens: int = 12000, seed: int = 0
) -> Evaluation | None:
    """Read a run's eval folder; None if it holds no samples.

    benchmarks: the order to show them in; others follow by name. seed: of the bootstraps.
    Raises InputError on an unreadable line.
    """
    outcomes: dict[ModelBenchmark, list[Outcome]] = {}
    for model in _list_models(folder):
        for benchmark, path in benchmark_files(folder / model):
            found = list(read_outcomes(path))
            if found:
                outcomes[model, benchmark] = found
    if not outcomes:
        return None
    names = {benchmark for _, benchmark in outcomes}
    return Evaluation(
        models=list(dict.fromkeys(model for model, _ in outcomes)),
        benchmarks=[*(name for name in benchmarks if name in names), *sorted(names - set(benchmarks))],
        cutoff_tokens=cutoff_tokens,
        outcomes=outcomes,
        scores={key: score_benchmark(found, cutoff_tokens, seed) for key, found in outcomes.items()},
        comparisons=_compare_with_base(outcomes, cutoff_tokens, seed),
    )


def _list_models(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(names, key=lambda name: (name != BASE, name != TRAINED, name))


def _compare_with_base(
    outcomes: Mapping[ModelBenchmark, Sequence[Outcome]], cutoff_tokens: int, seed: int
) -> dict[ModelBenchmark, Comparison]:
    means = {key: headline_means(found, cutoff_tokens) for key, found in outcomes.items()}
    comparisons = {}
    for (model, benchmark), after in means.items():
        before = means.get((BASE, benchmark))
        comparison = None if model == BASE or before is None else compare(before, after, seed)
        if comparison is not None:
            comparisons[model, benchmark] = comparison
    return comparisons


def headline_means(outcomes: Sequence[Outcome], cutoff_tokens: int) -> dict[str, ProblemMeans]:
    """Each problem's means under HEADLINE_POLICY, for a paired comparison."""
    return means_by_problem(apply_policy(outcomes, HEADLINE_POLICY, cutoff_tokens))


def name_model(model: str) -> str:
    """A model's name in tables, as the paper writes it: Base, +DRP, +others."""
    return {BASE: "Base", TRAINED: "+DRP"}.get(model, f"+{strip_controls(model)}")


def main_table(evaluation: Evaluation) -> Table:
    """The paper's Table 1: a row for each model, with pass@1, tokens, and their change relative to the base."""
    cutoff = f"{evaluation.cutoff_tokens:,}"
    if any(score["none"].over_cutoff for score in evaluation.scores.values()):
        counting = f"Responses longer than {cutoff} tokens count as {cutoff} tokens and as incorrect."
    else:
        counting = f"No response is longer than the cutoff of {cutoff} tokens."
    return benchmark_table(
        "main",
        "Pass@1 and tokens",
        evaluation.benchmarks,
        [model_row(evaluation, model, name_model(model), evaluation.benchmarks) for model in evaluation.models],
        caption=f"In the form of the paper's Table 1. {counting} {explain_notes([evaluation])}",
        notes=warn_of_few_problems(_list_comparisons(evaluation)),
    )


def benchmark_table(
    key: str,
    title: str,
    benchmarks: Sequence[str],
    rows: Sequence[TableRow],
    *,
    first: str = "Model",
    pair: tuple[str, str] = ("Pass@1", "#Tokens"),
    caption: str,
    notes: Sequence[str] = (),
) -> Table:
    """A table with a group of two columns, `pair`, for each benchmark. first: the first column's head."""
    return Table(
        key=key,
        title=title,
        columns=[first, *chain.from_iterable(pair for _ in benchmarks)],
        groups=[ColumnGroup("", 1), *(ColumnGroup(benchmark, 2) for benchmark in benchmarks)],
        rows=rows,
        caption=caption,
        notes=notes,
    )


def model_row(evaluation: Evaluation, model: str, label: str, benchmarks: Sequence[str]) -> TableRow:
    """Accuracy and tokens of a model on each benchmark; the headline's model is emphasised."""
    cells = [_score_cells(evaluation, model, benchmark) for benchmark in benchmarks]
    return TableRow([Cell(label), *chain.from_iterable(cells)], emphasis=model == evaluation.subject)


def _score_cells(evaluation: Evaluation, model: str, benchmark: str) -> list[Cell]:
    score = evaluation.score(model, benchmark)
    if score is None:
        return [EMPTY, EMPTY]
    base = None if model == BASE else evaluation.score(BASE, benchmark)
    return [accuracy_cell(score), _tokens_cell(score, base)]


def accuracy_cell(score: Score) -> Cell:
    """`94.1%`, or `15/30` for few problems; the note has the deviation between passes and the interval."""
    note = describe_interval(score.accuracy_ci, 100, 1)
    if score.accuracy_sd is not None:
        note = f"±{100 * score.accuracy_sd:.1f}, {note}"
    if score.accuracy is not None and score.n == score.problems <= FEW_PROBLEMS:
        return Cell(f"{round(score.accuracy * score.n)}/{score.n}", note=note)
    return Cell(percent(score.accuracy), note=note)


def _tokens_cell(score: Score, base: Score | None) -> Cell:
    note = describe_interval(score.tokens_ci)
    if base is None or not base.mean_tokens or score.mean_tokens is None:
        return Cell(number(score.mean_tokens), note=note)
    change = score.mean_tokens / base.mean_tokens - 1
    tone: Tone = "good" if change < 0 else "bad" if change > 0 else ""
    return Cell(number(score.mean_tokens), signed(100 * change, unit="%"), tone, note)


def describe_interval(interval: Interval | None, scale: float = 1, digits: int = 0) -> str:
    """`low–high`; empty for None."""
    if interval is None:
        return ""
    return f"{scale * interval.low:,.{digits}f}–{scale * interval.high:,.{digits}f}"


def explain_notes(evaluations: Iterable[Evaluation]) -> str:
    """What the notes of `model_row` hold."""
    scores = (policies[HEADLINE_POLICY] for evaluation in evaluations for policies in evaluation.scores.values())
    spread = "; ±: standard deviation between passes" if any(score.accuracy_sd is not None for score in scores) else ""
    return f"With 95% intervals{spread}."


class LabelledComparison(NamedTuple):
    """One row of a table of paired comparisons."""

    benchmark: str
    label: str
    """The model or run that is compared."""
    comparison: Comparison


def _list_comparisons(evaluation: Evaluation) -> list[LabelledComparison]:
    return [
        LabelledComparison(benchmark, name_model(model), comparison)
        for benchmark in evaluation.benchmarks
        for model in evaluation.models
        if (comparison := evaluation.comparisons.get((model, benchmark))) is not None
    ]


def warn_of_few_problems(comparisons: Iterable[LabelledComparison]) -> list[str]:
    """One warning for each benchmark that has few problems."""
    found = {one.benchmark: one.comparison.warning for one in comparisons if one.comparison.warning is not None}
    return [f"{benchmark}, {warning}." for benchmark, warning in found.items()]


def paired_table(evaluation: Evaluation) -> Table | None:
    """Each model compared with the base, problem by problem; None if there is nothing to compare."""
    return comparisons_table("paired", "Paired comparison with the base model", "Model", _list_comparisons(evaluation))


def comparisons_table(
    key: str, title: str, second: str, comparisons: Sequence[LabelledComparison], notes: Sequence[str] = ()
) -> Table | None:
    """A row for each comparison, with p-values corrected over the table; None if there are none.

        gsm8k   +DRP   1,319   +2.4 points (+1.0 to +3.8)   58 / 26   0.001   −64.2% (−65.1 to −63.2)   < 0.001

    second: the head of the labels' column.
    """
    if not comparisons:
        return None
    accuracy = holm([one.comparison.accuracy_p for one in comparisons])
    tokens = holm([one.comparison.tokens_p for one in comparisons])
    return Table(
        key=key,
        texts=2,
        title=title,
        columns=["Benchmark", second, "n", "Accuracy change", "Gained / lost", "p", "Tokens change", "p"],
        rows=[_comparison_row(*row) for row in zip(comparisons, accuracy, tokens, strict=True)],
        caption=(
            "Problem by problem. Gained / lost: problems that the model solves more often / less often. 95% intervals: "
            "bootstrap over problems. p of accuracy: exact McNemar test, or Wilcoxon's signed-rank test for several "
            "samples per problem. p of tokens: Wilcoxon's signed-rank test. Each is Holm-corrected over the table."
        ),
        notes=notes,
    )


def _comparison_row(one: LabelledComparison, accuracy_p: float, tokens_p: float) -> TableRow:
    found = one.comparison
    return TableRow(
        [
            Cell(one.benchmark),
            Cell(one.label),
            Cell(number(found.n)),
            Cell(signed(100 * found.accuracy_change, 1, " points"), note=_signed_interval(found.accuracy_ci)),
            Cell(f"{found.gained} / {found.lost}"),
            Cell(describe_p(accuracy_p)),
            EMPTY
            if found.tokens_change is None
            else Cell(signed(100 * found.tokens_change, 1, "%"), note=_signed_interval(found.tokens_ci)),
            Cell(describe_p(tokens_p)),
        ]
    )


def _signed_interval(interval: Interval | None) -> str:
    """In points or percent; empty for None."""
    if interval is None:
        return ""
    return f"{signed(100 * interval.low, 1)} to {signed(100 * interval.high, 1)}"


def describe_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def samples_table(evaluation: Evaluation) -> Table | None:
    """pass@k and majority@k; None if every problem was sampled once."""
    found = [
        (benchmark, model, score)
        for benchmark in evaluation.benchmarks
        for model in evaluation.models
        if (score := evaluation.score(model, benchmark)) is not None and score.pass_at
    ]
    if not found:
        return None
    ks = sorted({k for _, _, score in found for k in score.pass_at})
    rows = [
        TableRow(
            [
                Cell(benchmark),
                Cell(name_model(model)),
                Cell(percent(score.accuracy_sd)),
                *(Cell(percent(score.pass_at.get(k))) for k in ks),
                Cell(percent(next(iter(score.majority_at.values()), None))),
            ]
        )
        for benchmark, model, score in found
    ]
    return Table(
        key="samples",
        texts=2,
        title="Several samples per problem",
        columns=["Benchmark", "Model", "Deviation between passes", *(f"Pass@{k}" for k in ks), f"Maj@{max(ks)}"],
        rows=rows,
        caption=(
            "Pass@k is the unbiased estimate over the problems that have all their samples. Maj@k is the accuracy of "
            "the most frequent answer; a tie counts as the share of the tied answers that are correct."
        ),
    )


def policies_table(evaluation: Evaluation) -> Table:
    """The paper's Table 5: scores under each policy."""
    labels = {
        "none": "no cutoff",
        "cap": f"capped at {evaluation.cutoff_tokens:,}",
        "exclude": f"over {evaluation.cutoff_tokens:,} left out",
    }
    stopped = evaluation.is_stopped_at_cutoff
    caption = "In the form of the paper's Table 5. The paper's wording allows both cutoffs: capped, and left out."
    if stopped:
        caption += " Responses were stopped at the cutoff, so there are no scores without one."
    rows = [
        TableRow(
            [
                Cell(f"{name_model(model)}, {labels[policy]}"),
                *chain.from_iterable(
                    _policy_cells(evaluation, model, benchmark, policy) for benchmark in evaluation.benchmarks
                ),
            ]
        )
        for model in evaluation.models
        for policy in POLICIES
        if not (stopped and policy == "none")
    ]
    return benchmark_table(
        "policies",
        "Effect of the cutoff",
        evaluation.benchmarks,
        rows,
        first="Model and policy",
        pair=("Accuracy", "Tokens"),
        caption=caption,
    )


def _policy_cells(evaluation: Evaluation, model: str, benchmark: str, policy: Policy) -> list[Cell]:
    score = evaluation.score(model, benchmark, policy)
    if score is None:
        return [EMPTY, EMPTY]
    counted = f"{score.n} of {evaluation.scores[model, benchmark]['none'].n}" if policy == "exclude" else ""
    return [Cell(accuracy_cell(score).text, note=counted), Cell(number(score.mean_tokens))]


def behaviour_table(evaluation: Evaluation) -> Table:
    """Tokens of thinking and summary, and how many responses were cut off, loop or could not be graded."""
    return Table(
        key="behaviour",
        texts=2,
        title="Parts and endings of responses",
        columns=[
            "Benchmark",
            "Model",
            "Samples",
            "Thinking tokens",
            "Summary tokens",
            "Cut off",
            "Looping",
            "Not graded",
        ],
        rows=[
            TableRow([Cell(benchmark), Cell(name_model(model)), *_behaviour_cells(score)])
            for benchmark in evaluation.benchmarks
            for model in evaluation.models
            if (score := evaluation.score(model, benchmark, "none")) is not None
        ],
        caption=(
            "Responses as generated, without a cutoff. Cut off: stopped by the engine's limit. Looping: ends in at "
            "least three copies of one text, together 200 characters or more. Not graded: the answer could not be "
            "graded, and counts as not correct."
        ),
    )


def _behaviour_cells(score: Score) -> list[Cell]:
    thinking, total = score.mean_thinking_tokens, score.mean_tokens
    summary = None if thinking is None or total is None else total - thinking
    counts = (score.truncated, score.looping, score.ungraded)
    return [
        Cell(number(score.n)),
        Cell(number(thinking)),
        Cell(number(summary)),
        *(Cell(percent(count / score.n), note=number(count)) if count else Cell("0") for count in counts),
    ]
