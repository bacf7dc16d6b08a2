"""What a judge said of this run's decomposition against others (paper, Appendix D): judge/*.summary.json as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from drp.errors import InputError
from drp.evaluation.outcomes import Outcome, Policy, apply_policy, benchmark_files, read_outcomes
from drp.evaluation.preference import SUMMARY_SUFFIX, Preference
from drp.evaluation.score import Score, means_by_problem, score_benchmark
from drp.evaluation.statistics import Comparison, Interval, ProblemMeans, compare
from drp.report.escaping import clean
from drp.report.tables import Cell, Row, Table, number, percent
from drp.runs.jsonl import explain_os_errors

BASE, TRAINED = "base", "drp"
HEADLINE: Policy = "cap"
"""The policy of the main table: pairs stay whole, and one endless loop does not carry the mean."""

Key = tuple[str, str]
"""(model, benchmark)"""


@dataclass(frozen=True)
class Evaluation:
    """models: the base first, the trained one second, then the others by name. benchmarks: in the config's order."""

    models: Sequence[str]
    benchmarks: Sequence[str]
    cutoff_tokens: int
    outcomes: Mapping[Key, Sequence[Outcome]]
    scores: Mapping[Key, Mapping[Policy, Score]]
    comparisons: Mapping[Key, Comparison]
    """Of each model but the base, with the base."""

    def score(self, model: str, benchmark: str, policy: Policy = HEADLINE) -> Score | None:
        found = self.scores.get((model, benchmark))
        return None if found is None else found[policy]

    @property
    def subject(self) -> str | None:
        """The model that the headline is about: the trained one, else the first that is not the base."""
        others = [model for model in self.models if model != BASE]
        return others[0] if others else None

    @property
    def over_cutoff(self) -> int:
        """Samples of any model longer than the cutoff. With none, the three policies are one."""
        return sum(score["none"].over_cutoff for score in self.scores.values())


def read_evaluation(
    folder: Path, benchmarks: Sequence[str] = (), cutoff_tokens: int = 12000, seed: int = 0
) -> Evaluation | None:
    """Whatever a run's eval folder holds; None where that is nothing. benchmarks: the order to show them in."""
    outcomes: dict[Key, list[Outcome]] = {}
    for model in order_models(folder):
        for benchmark, path in benchmark_files(folder / model):
            found = list(read_outcomes(path))
            if found:
                outcomes[model, benchmark] = found
    if not outcomes:
        return None
    names = dict.fromkeys(benchmark for _, benchmark in outcomes)
    return Evaluation(
        models=list(dict.fromkeys(model for model, _ in outcomes)),
        benchmarks=[*(name for name in benchmarks if name in names), *sorted(names.keys() - set(benchmarks))],
        cutoff_tokens=cutoff_tokens,
        outcomes=outcomes,
        scores={key: score_benchmark(found, cutoff_tokens, seed) for key, found in outcomes.items()},
        comparisons=_compare_all(outcomes, cutoff_tokens, seed),
    )


def order_models(folder: Path) -> list[str]:
    """Names of the models in an eval folder: base, drp, then the others by name."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(names, key=lambda name: (name != BASE, name != TRAINED, name))


def compare_models(
    before: tuple[Evaluation, str], after: tuple[Evaluation, str], benchmark: str, seed: int = 0
) -> Comparison | None:
    """Two models, each as (evaluation, name), on the problems of a benchmark that both were asked; None where there is
    none. The first's cutoff holds for both."""
    cutoff = before[0].cutoff_tokens
    found = [evaluation.outcomes.get((model, benchmark), ()) for evaluation, model in (before, after)]
    first, second = (_tally(outcomes, cutoff) for outcomes in found)
    return compare(first, second, seed)


def _tally(outcomes: Sequence[Outcome], cutoff_tokens: int) -> dict[str, ProblemMeans]:
    return means_by_problem(apply_policy(outcomes, HEADLINE, cutoff_tokens))


def _compare_all(outcomes: Mapping[Key, Sequence[Outcome]], cutoff_tokens: int, seed: int) -> dict[Key, Comparison]:
    tallies = {key: _tally(found, cutoff_tokens) for key, found in outcomes.items()}
    comparisons = {}
    for (model, benchmark), after in tallies.items():
        before = tallies.get((BASE, benchmark))
        if model != BASE and before is not None:
            comparison = compare(before, after, seed)
            if comparison is not None:
                comparisons[model, benchmark] = comparison
    return comparisons


def name_model(model: str) -> str:
    """As in the paper's tables: Base, +DRP, +others."""
    return {BASE: "Base", TRAINED: "+DRP"}.get(model, f"+{clean(model)}")


def captured(outcomes: Sequence[Outcome]) -> list[tuple[int, float]]:
    """(budget in tokens, share of the right answers that are no longer than it), rising; the paper's Figure 4."""
    lengths = sorted(outcome.n_tokens for outcome in outcomes if outcome.correct)
    return [(length, (rank + 1) / len(lengths)) for rank, length in enumerate(lengths)]


def describe_interval(interval: Interval | None, scale: float = 1, digits: int = 0) -> str:
    """`low–high`, or nothing where there is no interval."""
    if interval is None:
        return ""
    return f"{scale * interval.low:,.{digits}f}–{scale * interval.high:,.{digits}f}"


def describe_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def read_preferences(folder: Path) -> list[Preference]:
    """Every summary of a run's `judge` folder, by name; none where there is no such folder."""
    return [_read_preference(path) for path in sorted(folder.glob(f"*{SUMMARY_SUFFIX}"))]


def _read_preference(path: Path) -> Preference:
    with explain_os_errors(path):
        text = path.read_bytes()
    try:
        return Preference.model_validate_json(text)
    except ValidationError:
        raise InputError(f"{path}: not a summary of `drp judge`; delete it, or run `drp judge` again") from None


def judging_table(preferences: Sequence[Preference]) -> Table | None:
    """One comparison a row; None where nothing was judged."""
    if not preferences:
        return None
    return Table(
        key="judge",
        texts=2,
        title="Decompositions compared by a judge",
        columns=["Compared with", "Judge", "Pairs", "Preferred / not", "Ties", "Win rate", "p", "By position"],
        rows=[_judging_row(preference) for preference in preferences],
        caption=(
            "Each pair is shown in both orders; a preference counts where both agree. Win rate: share of the pairs "
            "with a winner, with the exact 95% interval. p: exact sign test. By position: pairs in which whatever "
            "stood first, or second, was preferred both times; they count as ties."
        ),
        notes=[f"{preference.b}: {warning}." for preference in preferences for warning in preference.warnings],
    )


def _judging_row(found: Preference) -> Row:
    return Row(
        [
            Cell(found.b),
            Cell(found.judge),
            Cell(number(found.n)),
            Cell(f"{found.a_wins} / {found.b_wins}"),
            Cell(number(found.ties)),
            Cell(percent(found.win_rate), note=describe_interval(found.win_rate_ci, 100, 1)),
            Cell(describe_p(found.p)),
            Cell(percent(found.position_bias)),
        ]
    )


# FOLDED DOC of reporting.evaluation:
# The evaluated models of a run: outcomes and scores of each on each benchmark, and what differs between two.
#
# Reads eval/MODEL/BENCHMARK.jsonl. Scores are worked out anew from the samples, so that any cutoff can be had after
# the fact.
#
