"""Scores of an evaluated model: pass@1 and tokens on each benchmark, under the three policies for overlong responses.

Reads eval/MODEL/BENCHMARK.jsonl, writes eval/MODEL/summary.json:

    {"gsm8k": {"none": {"n": 1319, "accuracy": 0.917, "accuracy_ci": [0.9, 0.93], "mean_tokens": 917.0, ...},
               "cap": {...}, "exclude": {...}}, "math500": {...}}

The policies are described in `drp.evaluation.outcomes`. A response that could not be graded (`correct` is None) counts
as not correct; `ungraded` says how many there are.

Evaluations that differ only in their seed are scored together by `score_seeds`, or pooled by `pool_seeds` for a paired
comparison:

    seeds = [list(read_outcomes(folder / "eval/drp/gsm8k.jsonl")) for folder in runs]
    score_seeds(seeds, "cap", 12000)      SeedsScore(seeds=3, problems=1319, accuracy=0.917, accuracy_sd=0.004, ...)
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict, RootModel

from drp.evaluation.outcomes import (
    POLICIES,
    Outcome,
    Policy,
    apply_policy,
    benchmark_files,
    group_by_problem,
    read_outcomes,
)
from drp.evaluation.statistics import Interval, ProblemMeans, bootstrap_mean, bootstrap_share, wilson
from drp.grading import canonical
from drp.runs.jsonl import write_atomically


class Score(BaseModel):
    """A model on one benchmark under one policy. A field is None if there are no samples to compute it from."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    n: int
    """Samples counted."""
    problems: int
    accuracy: float | None
    """pass@1: the mean over problems of the share of correct samples."""
    accuracy_ci: Interval | None
    """95%: Wilson's interval for one sample per problem, else a bootstrap over problems."""
    accuracy_sd: float | None
    """Standard deviation of the accuracy between passes over the benchmark, where a pass is the samples of one number;
    None for a single pass."""
    mean_tokens: float | None
    tokens_ci: Interval | None
    """95%: bootstrap over problems."""
    mean_thinking_tokens: float | None
    truncated: int
    """Samples stopped by the engine's limit or, under `cap`, by the cutoff."""
    looping: int
    """Samples that end in degenerate repetition."""
    ungraded: int
    """Samples that could not be graded; they count as not correct."""
    over_cutoff: int
    """Samples longer than the cutoff: counted at the cutoff by `cap`, left out by `exclude`."""
    cutoff_tokens: int | None
    """None under `none`."""
    pass_at: dict[int, float]
    """pass@k for k = 1, 2, 4 ... and the number of samples per problem; empty for a single pass and for `exclude`."""
    majority_at: dict[int, float]
    """maj@k, the accuracy of the most frequent answer, for k = the number of samples per problem; empty likewise."""


class EvalSummary(RootModel[dict[str, dict[Policy, Score]]]):
    """Benchmark -> policy -> score."""


def write_summary(model_dir: Path, cutoff_tokens: int, seed: int = 0) -> EvalSummary:
    """Score every BENCHMARK.jsonl in a model's eval folder and write `summary.json` there.

    seed: of the bootstrap. Raises InputError on an unreadable line.
    """
    files = benchmark_files(model_dir)
    summary = EvalSummary(
        {name: score_benchmark(list(read_outcomes(path)), cutoff_tokens, seed) for name, path in files}
    )
    write_atomically(model_dir / "summary.json", lambda draft: draft.write_text(summary.model_dump_json(indent=2)))
    return summary


def score_benchmark(outcomes: Sequence[Outcome], cutoff_tokens: int, seed: int = 0) -> dict[Policy, Score]:
    """One benchmark's scores under every policy."""
    return {policy: score(outcomes, policy, cutoff_tokens, seed) for policy in POLICIES}


def score(outcomes: Sequence[Outcome], policy: Policy, cutoff_tokens: int, seed: int = 0) -> Score:
    """One benchmark's score under one policy."""
    counted = apply_policy(outcomes, policy, cutoff_tokens)
    groups = group_by_problem(counted)
    means = means_by_problem(counted)
    return Score(
        n=len(counted),
        problems=len(groups),
        accuracy=_mean([problem.accuracy for problem in means.values()]),
        accuracy_ci=_accuracy_interval(means, seed),
        accuracy_sd=_deviation_between_passes(counted),
        mean_tokens=_mean([outcome.n_tokens for outcome in counted]),
        tokens_ci=bootstrap_mean([[outcome.n_tokens for outcome in group] for group in groups.values()], seed),
        mean_thinking_tokens=_mean([outcome.n_thinking_tokens for outcome in counted]),
        truncated=sum(outcome.truncated for outcome in counted),
        looping=sum(outcome.looping for outcome in counted),
        ungraded=sum(outcome.correct is None for outcome in counted),
        over_cutoff=sum(outcome.n_tokens > cutoff_tokens for outcome in outcomes),
        cutoff_tokens=None if policy == "none" else cutoff_tokens,
        pass_at={} if policy == "exclude" else pass_at_powers(groups),
        majority_at={} if policy == "exclude" else majority_at_all(groups),
    )


def means_by_problem(outcomes: Iterable[Outcome]) -> dict[str, ProblemMeans]:
    """Problem id -> accuracy and mean tokens over its samples."""
    return {
        problem: ProblemMeans(
            accuracy=sum(outcome.correct is True for outcome in group) / len(group),
            tokens=sum(outcome.n_tokens for outcome in group) / len(group),
            samples=len(group),
        )
        for problem, group in group_by_problem(outcomes).items()
    }


def pass_at_powers(groups: Mapping[str, Sequence[Outcome]]) -> dict[int, float]:
    """Unbiased pass@k (Chen et al. 2021) for k = 1, 2, 4 ... and the number of samples per problem.

    Problems with missing samples are left out. Empty for one sample per problem.
    """
    samples = _samples_per_problem(groups)
    if samples < 2:
        return {}
    powers = {2**exponent for exponent in range(samples.bit_length())}
    full = [group for group in groups.values() if len(group) >= samples]
    return {k: sum(_pass_at(group, k) for group in full) / len(full) for k in sorted(powers | {samples})}


def _pass_at(group: Sequence[Outcome], k: int) -> float:
    wrong = sum(outcome.correct is not True for outcome in group)
    return 1 - math.comb(wrong, k) / math.comb(len(group), k)


def majority_at_all(groups: Mapping[str, Sequence[Outcome]]) -> dict[int, float]:
    """maj@k for k = the number of samples per problem. Problems with missing samples are left out."""
    samples = _samples_per_problem(groups)
    full = [group for group in groups.values() if len(group) >= samples]
    return {samples: sum(_majority(group) for group in full) / len(full)} if samples > 1 else {}


def _majority(group: Sequence[Outcome]) -> float:
    """1 if the most frequent answer is correct, 0 if not; for a tie, the share of the tied answers that are correct.

    All correct answers count as one, however they are written; incorrect ones are compared by `canonical`.
    """
    votes = Counter(
        (True, "") if outcome.correct else (False, canonical(outcome.predicted))
        for outcome in group
        if outcome.predicted is not None
    )
    most = max(votes.values(), default=0)
    winners = [correct for (correct, _), count in votes.items() if count == most]
    return sum(winners) / len(winners) if winners else 0.0


def _samples_per_problem(groups: Mapping[str, Sequence[Outcome]]) -> int:
    """The most common number of samples; the larger one of a tie."""
    sizes = Counter(len(group) for group in groups.values())
    return max(sizes, key=lambda size: (sizes[size], size), default=0)


def _accuracy_interval(means: Mapping[str, ProblemMeans], seed: int) -> Interval | None:
    if all(problem.samples == 1 for problem in means.values()):
        return wilson(round(sum(problem.accuracy for problem in means.values())), len(means))
    return bootstrap_share([[problem.accuracy] for problem in means.values()], seed)


def _deviation_between_passes(outcomes: Iterable[Outcome]) -> float | None:
    """Standard deviation of the accuracy over complete passes; sample k of every problem is one pass."""
    passes: dict[str, list[bool]] = defaultdict(list)
    for outcome in outcomes:
        passes[outcome.id.rpartition("#")[2]].append(outcome.correct is True)
    full = max(map(len, passes.values()), default=0)
    return _deviation([sum(correct) / len(correct) for correct in passes.values() if len(correct) == full])


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


class SeedsScore(BaseModel):
    """A model on one benchmark under one policy, over several seeds. A field is None if there is nothing to compute it
    from.

    The deviations are between seeds: training and sampling. The intervals are between problems; all seeds' samples of a
    problem are resampled together, so that more seeds do not count as more problems.
    """

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    seeds: int
    problems: int
    """Problems for which every seed has a sample and, under `exclude`, one within the cutoff."""
    accuracy: float | None
    """pass@1, the mean over seeds."""
    accuracy_sd: float | None
    """Sample standard deviation between seeds; None for a single one."""
    accuracy_ci: Interval | None
    """95%: bootstrap over problems."""
    mean_tokens: float | None
    tokens_sd: float | None
    tokens_ci: Interval | None
    """95%: bootstrap over problems."""


def score_seeds(seeds: Sequence[Sequence[Outcome]], policy: Policy, cutoff_tokens: int, seed: int = 0) -> SeedsScore:
    """Score each seed on the problems that all of them have, then take means and deviations. seed: of the bootstrap."""
    shared = _restrict_to_shared([apply_policy(outcomes, policy, cutoff_tokens) for outcomes in seeds])
    means = [means_by_problem(outcomes) for outcomes in shared]
    problems = list(means[0]) if means else []
    # A row for each problem, a column for each seed.
    accuracies = [[one[problem].accuracy for one in means] for problem in problems]
    tokens = [[one[problem].tokens for one in means] for problem in problems]
    return SeedsScore(
        seeds=len(seeds),
        problems=len(problems),
        accuracy=_mean([fmean(row) for row in accuracies]),
        accuracy_sd=_deviation_between_columns(accuracies),
        accuracy_ci=bootstrap_share(accuracies, seed),
        mean_tokens=_mean([fmean(row) for row in tokens]),
        tokens_sd=_deviation_between_columns(tokens),
        tokens_ci=bootstrap_mean(tokens, seed),
    )


def _deviation_between_columns(rows: Sequence[Sequence[float]]) -> float | None:
    return _deviation([fmean(column) for column in zip(*rows, strict=True)])


def pool_seeds(seeds: Sequence[Sequence[Outcome]]) -> list[Outcome]:
    """The samples of all seeds for the problems that all of them have; ids become `{problem}#{seed}.{sample}`."""
    return [
        outcome._replace(id=f"{outcome.problem_id}#{number}.{outcome.id.rpartition('#')[2]}")
        for number, outcomes in enumerate(_restrict_to_shared(seeds))
        for outcome in outcomes
    ]


def _restrict_to_shared(seeds: Sequence[Sequence[Outcome]]) -> list[list[Outcome]]:
    """The outcomes of the problems that every seed has."""
    asked = [{outcome.problem_id for outcome in outcomes} for outcomes in seeds]
    shared = set.intersection(*asked) if asked else set()
    return [[outcome for outcome in outcomes if outcome.problem_id in shared] for outcomes in seeds]
