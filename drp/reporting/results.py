"""Tables about evaluated models: the form of the paper's Tables 1 and 5, and what its referee asked for."""

from collections.abc import Sequence
from itertools import chain

from drp.reporting.evaluation import BASE, HEADLINE, Evaluation, describe_interval, name_model
from drp.reporting.tables import Cell, Group, Row, Table, Tone, number, percent, signed
from drp.scores.outcomes import POLICIES
from drp.scores.score import Score

FEW = 60
"""A benchmark of so many problems or fewer is written as right answers of all, as the paper does with AIME's 30."""

EMPTY = Cell("–")


def main_table(evaluation: Evaluation, title: str = "Pass@1 and tokens") -> Table:
    """Table 1: a row a model; pass@1 and tokens of each benchmark, with the tokens' change against the base."""
    return Table(
        key="main",
        title=title,
        columns=["Model", *chain.from_iterable(["Pass@1", "#Tokens"] for _ in evaluation.benchmarks)],
        groups=[Group("", 1), *(Group(benchmark, 2) for benchmark in evaluation.benchmarks)],
        rows=[main_row(evaluation, model, name_model(model)) for model in evaluation.models],
        caption=_describe_counting(evaluation),
        notes=_warn_of_small(evaluation),
    )


def main_row(evaluation: Evaluation, model: str, label: str, benchmarks: Sequence[str] | None = None) -> Row:
    """benchmarks: the columns; None: the evaluation's own."""
    columns = evaluation.benchmarks if benchmarks is None else benchmarks
    cells = [_score_cells(evaluation, model, benchmark) for benchmark in columns]
    return Row([Cell(label), *chain.from_iterable(cells)], emphasis=model == evaluation.subject)


def _score_cells(evaluation: Evaluation, model: str, benchmark: str) -> list[Cell]:
    score = evaluation.score(model, benchmark)
    if score is None:
        return [EMPTY, EMPTY]
    base = None if model == BASE else evaluation.score(BASE, benchmark)
    return [accuracy_cell(score), tokens_cell(score, base)]


def accuracy_cell(score: Score) -> Cell:
    note = describe_interval(score.accuracy_ci, 100, 1)
    if score.accuracy_sd is not None:
        note = f"±{100 * score.accuracy_sd:.1f}, {note}"
    if score.accuracy is not None and score.n == score.problems <= FEW:
        return Cell(f"{round(score.accuracy * score.n)}/{score.n}", note=note)
    return Cell(percent(score.accuracy), note=note)


def tokens_cell(score: Score, base: Score | None) -> Cell:
    note = describe_interval(score.tokens_ci)
    if base is None or not base.mean_tokens or score.mean_tokens is None:
        return Cell(number(score.mean_tokens), note=note)
    change = score.mean_tokens / base.mean_tokens - 1
    tone: Tone = "good" if change < 0 else "bad" if change > 0 else ""
    return Cell(number(score.mean_tokens), signed(100 * change, unit="%"), tone, note)


def _describe_counting(evaluation: Evaluation) -> str:
    cutoff, spread = f"{evaluation.cutoff_tokens:,}", describe_spread([evaluation])
    if not evaluation.over_cutoff:
        counting = f"No response is longer than the cutoff of {cutoff} tokens."
    else:
        counting = f"Responses longer than {cutoff} tokens count as {cutoff} tokens and as wrong (policy {HEADLINE})."
    return f"The paper's Table 1. {counting} With 95% intervals{spread}."


def describe_spread(evaluations: Sequence[Evaluation]) -> str:
    """What `accuracy_cell` writes after ±; nothing where it nowhere does."""
    scores = (policies[HEADLINE] for evaluation in evaluations for policies in evaluation.scores.values())
    return "; ±: standard deviation between passes" if any(score.accuracy_sd is not None for score in scores) else ""


def _warn_of_small(evaluation: Evaluation) -> list[str]:
    """One warning a benchmark, whatever the number of models."""
    found = {
        benchmark: comparison.warning
        for (_, benchmark), comparison in evaluation.comparisons.items()
        if comparison.warning is not None
    }
    return [f"{benchmark}, {found[benchmark]}." for benchmark in evaluation.benchmarks if benchmark in found]


def policies_table(evaluation: Evaluation) -> Table:
    """Table 5: what the cutoff does to the figures."""
    labels = {
        "none": "no cutoff",
        "cap": f"capped at {evaluation.cutoff_tokens:,}",
        "exclude": f"over {evaluation.cutoff_tokens:,} left out",
    }
    rows = []
    for model in evaluation.models:
        for policy in POLICIES:
            cells = [Cell(f"{name_model(model)}, {labels[policy]}")]
            for benchmark in evaluation.benchmarks:
                score = evaluation.score(model, benchmark, policy)
                left_out = f"{score.n} of {evaluation.scores[model, benchmark]['none'].n}" if score else ""
                cells += (
                    [EMPTY, EMPTY]
                    if score is None
                    else [
                        Cell(accuracy_cell(score).text, note=left_out if policy == "exclude" else ""),
                        Cell(number(score.mean_tokens)),
                    ]
                )
            rows.append(Row(cells))
    return Table(
        key="policies",
        title="What the cutoff does",
        columns=["Model and policy", *chain.from_iterable(["Accuracy", "Tokens"] for _ in evaluation.benchmarks)],
        groups=[Group("", 1), *(Group(benchmark, 2) for benchmark in evaluation.benchmarks)],
        rows=rows,
        caption="The paper's Table 5. Its wording of the 12k cutoff fits both: capped, and left out.",
    )


def behaviour_table(evaluation: Evaluation) -> Table:
    """Thinking against summary, and how often responses end badly; as generated, no cutoff."""
    rows = []
    for benchmark in evaluation.benchmarks:
        for model in evaluation.models:
            score = evaluation.score(model, benchmark, "none")
            if score is not None:
                rows.append(Row([Cell(benchmark), Cell(name_model(model)), *_behaviour_cells(score)]))
    return Table(
        key="behaviour",
        texts=2,
        title="How responses go",
        columns=[
            "Benchmark",
            "Model",
            "Samples",
            "Thinking tokens",
            "Summary tokens",
            "Cut off",
            "Looping",
            "Ungraded",
        ],
        rows=rows,
        caption=(
            "Tokens as generated, without a cutoff. Cut off: stopped by the engine's limit. Looping: ends in at least "
            "three copies of one text, 200 characters or more. Ungraded counts as not right."
        ),
    )


def _behaviour_cells(score: Score) -> list[Cell]:
    thinking, total = score.mean_thinking_tokens, score.mean_tokens
    summary = None if thinking is None or total is None else total - thinking
    shares: Sequence[int] = (score.truncated, score.looping, score.ungraded)
    return [
        Cell(number(score.n)),
        Cell(number(thinking)),
        Cell(number(summary)),
        *(Cell(percent(count / score.n) if count else "0", note=number(count) if count else "") for count in shares),
    ]


def samples_table(evaluation: Evaluation) -> Table | None:
    """pass@k and majority@k; None where every problem was sampled once."""
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
        Row(
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
        title="Several samples a problem",
        columns=["Benchmark", "Model", "Deviation between passes", *(f"Pass@{k}" for k in ks), f"Maj@{max(ks)}"],
        rows=rows,
        caption="Unbiased pass@k over problems with all their samples; ties of the majority count by share.",
    )
