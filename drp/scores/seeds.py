"""Evaluations that differ by nothing but their seed, as one: means, deviations, and outcomes to compare.

    seeds = [list(read_outcomes(folder / "eval/drp/gsm8k.jsonl")) for folder in runs]
    score_seeds(seeds, "cap", 12000)      SeedsScore(seeds=3, problems=1319, accuracy=0.917, accuracy_sd=0.004, ...)
    pool_seeds(seeds)                     the samples of all seeds, for `score`, or for `tally` and a paired comparison

Two sources of chance, told apart: the deviation is between seeds (training and sampling), the interval between
problems. Its unit stays the problem: a problem's samples of all seeds are resampled together.
"""

from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from drp.scores.outcomes import Outcome, Policy, apply_policy, group_by_problem
from drp.scores.score import deviation, tally
from drp.statistics import Interval, bootstrap_mean, bootstrap_share


class SeedsScore(BaseModel):
    """A model on one benchmark under one policy, over several seeds. None: there was nothing to take a mean of."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    seeds: int
    problems: int
    """Those that every seed was asked and, under `exclude`, has a response to."""
    accuracy: float | None
    """pass@1, mean over seeds."""
    accuracy_sd: float | None
    """Sample standard deviation between seeds; None for a single one."""
    accuracy_ci: Interval | None
    """95%: bootstrap over problems, each with its mean over seeds."""
    mean_tokens: float | None
    tokens_sd: float | None
    tokens_ci: Interval | None


def pool_seeds(seeds: Sequence[Sequence[Outcome]]) -> list[Outcome]:
    """All seeds' samples of the problems that all of them have; the ids become `{problem}#{seed}.{sample}`."""
    return [
        outcome._replace(id=f"{outcome.problem_id}#{number}.{outcome.id.rpartition('#')[2]}")
        for number, outcomes in enumerate(_share_problems(seeds))
        for outcome in outcomes
    ]


def score_seeds(seeds: Sequence[Sequence[Outcome]], policy: Policy, cutoff_tokens: int, seed: int = 0) -> SeedsScore:
    """Each seed is scored by itself, on the problems that all of them have. seed: of the bootstrap."""
    shared = _share_problems([apply_policy(outcomes, policy, cutoff_tokens) for outcomes in seeds])
    tallies = [tally(group_by_problem(outcomes)) for outcomes in shared]
    problems = list(tallies[0]) if tallies else []
    right = [[one[problem].accuracy for one in tallies] for problem in problems]
    tokens = [[one[problem].tokens for one in tallies] for problem in problems]
    return SeedsScore(
        seeds=len(seeds),
        problems=len(problems),
        accuracy=_mean_of_all(right),
        accuracy_sd=_deviation_of_means(right),
        accuracy_ci=bootstrap_share(right, seed),
        mean_tokens=_mean_of_all(tokens),
        tokens_sd=_deviation_of_means(tokens),
        tokens_ci=bootstrap_mean(tokens, seed),
    )


def _share_problems(seeds: Sequence[Sequence[Outcome]]) -> list[list[Outcome]]:
    asked = [{outcome.problem_id for outcome in outcomes} for outcomes in seeds]
    shared = set.intersection(*asked) if asked else set()
    return [[outcome for outcome in outcomes if outcome.problem_id in shared] for outcomes in seeds]


def _mean_of_all(rows: Sequence[Sequence[float]]) -> float | None:
    """rows: a value a seed, of each problem."""
    return sum(map(fmean, rows)) / len(rows) if rows else None


def _deviation_of_means(rows: Sequence[Sequence[float]]) -> float | None:
    return deviation([fmean(of_seed) for of_seed in zip(*rows, strict=True)])
