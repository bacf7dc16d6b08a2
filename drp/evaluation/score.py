"""Evaluations that differ by nothing but their seed, as one: means, deviations, and outcomes to compare.

    seeds = [list(read_outcomes(folder / "eval/drp/gsm8k.jsonl")) for folder in runs]
    score_seeds(seeds, "cap", 12000)      SeedsScore(seeds=3, problems=1319, accuracy=0.917, accuracy_sd=0.004, ...)
    pool_seeds(seeds)                     the samples of all seeds, for `score`, or for `tally` and a paired comparison

Two sources of chance, told apart: the deviation is between seeds (training and sampling), the interval between
problems. Its unit stays the problem: a problem's samples of all seeds are resampled together.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

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
from drp.evaluation.statistics import Interval, Tally, bootstrap_mean, bootstrap_share, wilson
from drp.grading import canonical
from drp.runs.jsonl import write_atomically


class Score(BaseModel):
    """A model on one benchmark under one policy. None: there was nothing to take a mean of."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    n: int
    """Samples counted."""
    problems: int
    accuracy: float | None
    """pass@1: the mean over problems of the share of right samples."""
    accuracy_ci: Interval | None
    """95%: Wilson's with one sample a problem, else a bootstrap over problems."""
    accuracy_sd: float | None
    """Standard deviation of the accuracy between the passes over the benchmark; None for a single pass."""
    mean_tokens: float | None
    tokens_ci: Interval | None
    """95%: bootstrap over problems."""
    mean_thinking_tokens: float | None
    truncated: int
    """Samples stopped by the engine's limit or, under `cap`, by the cutoff."""
    looping: int
    ungraded: int
    over_cutoff: int
    """Samples longer than the cutoff: counted as the cutoff by `cap`, left out by `exclude`."""
    cutoff_tokens: int | None
    pass_at: dict[int, float]
    """pass@k for k = 1, 2, 4 ... up to the samples a problem; empty for a single pass and for `exclude`."""
    majority_at: dict[int, float]
    """Accuracy of the most frequent answer of k samples, k = the samples a problem."""


class Summary(RootModel[dict[str, dict[Policy, Score]]]):
    """Benchmark -> policy -> score."""


def write_summary(model_dir: Path, cutoff_tokens: int, seed: int = 0) -> Summary:
    """Write `summary.json` beside a model's eval artifacts, and return it."""
    summary = summarize(model_dir, cutoff_tokens, seed)
    write_atomically(model_dir / "summary.json", lambda draft: draft.write_text(summary.model_dump_json(indent=2)))
    return summary


def summarize(folder: Path, cutoff_tokens: int, seed: int = 0) -> Summary:
    """Score every BENCHMARK.jsonl of a model's eval folder. Raises InputError on an unreadable line."""
    files = benchmark_files(folder)
    return Summary({name: score_benchmark(list(read_outcomes(path)), cutoff_tokens, seed) for name, path in files})


def score_benchmark(outcomes: Sequence[Outcome], cutoff_tokens: int, seed: int = 0) -> dict[Policy, Score]:
    """The scores of one benchmark under every policy."""
    return {policy: score(outcomes, policy, cutoff_tokens, seed) for policy in POLICIES}


def score(outcomes: Sequence[Outcome], policy: Policy, cutoff_tokens: int, seed: int = 0) -> Score:
    counted = apply_policy(outcomes, policy, cutoff_tokens)
    groups = group_by_problem(counted)
    tallies = tally(groups)
    return Score(
        n=len(counted),
        problems=len(groups),
        accuracy=_mean([problem.accuracy for problem in tallies.values()]),
        accuracy_ci=_accuracy_interval(tallies, seed),
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


def tally(groups: Mapping[str, Sequence[Outcome]]) -> dict[str, Tally]:
    """Accuracy and mean tokens of each problem."""
    return {
        problem: Tally(
            accuracy=sum(outcome.correct is True for outcome in group) / len(group),
            tokens=sum(outcome.n_tokens for outcome in group) / len(group),
            samples=len(group),
        )
        for problem, group in groups.items()
    }


def pass_at_powers(groups: Mapping[str, Sequence[Outcome]]) -> dict[int, float]:
    """Unbiased pass@k (Chen et al. 2021) for k = 1, 2, 4 ... and the samples a problem."""
    samples = samples_per_problem(groups)
    powers = {2**exponent for exponent in range(samples.bit_length()) if 2**exponent <= samples}
    full = [group for group in groups.values() if len(group) >= samples]
    if samples < 2:
        return {}
    return {k: sum(_pass_at(group, k) for group in full) / len(full) for k in sorted(powers | {samples})}


def _pass_at(group: Sequence[Outcome], k: int) -> float:
    wrong = sum(outcome.correct is not True for outcome in group)
    return 1 - math.comb(wrong, k) / math.comb(len(group), k)


def majority_at_all(groups: Mapping[str, Sequence[Outcome]]) -> dict[int, float]:
    """maj@k for k = the samples a problem."""
    samples = samples_per_problem(groups)
    full = [group for group in groups.values() if len(group) >= samples]
    return {samples: sum(_majority(group) for group in full) / len(full)} if samples > 1 else {}


def _majority(group: Sequence[Outcome]) -> float:
    """1 where the most frequent answer is right, 0 where not, the right share of the winners where several tie.

    Right answers are one answer however they are written, since each equals the gold; wrong ones go by `canonical`.
    """
    votes = Counter(
        (True, "") if outcome.correct else (False, canonical(outcome.predicted))
        for outcome in group
        if outcome.predicted is not None
    )
    most = max(votes.values(), default=0)
    winners = [right for (right, _), count in votes.items() if count == most]
    return sum(winners) / len(winners) if winners else 0.0


def samples_per_problem(groups: Mapping[str, Sequence[Outcome]]) -> int:
    """The commonest number of samples; problems with fewer (some failed) are left out of pass@k and maj@k."""
    sizes = Counter(len(group) for group in groups.values())
    return max(sizes, key=lambda size: (sizes[size], size), default=0)


def _accuracy_interval(tallies: Mapping[str, Tally], seed: int) -> Interval | None:
    if all(problem.samples == 1 for problem in tallies.values()):
        return wilson(round(sum(problem.accuracy for problem in tallies.values())), len(tallies))
    return bootstrap_share([[problem.accuracy] for problem in tallies.values()], seed)


def _deviation_between_passes(outcomes: Iterable[Outcome]) -> float | None:
    """Sample k of every problem is one pass over the benchmark."""
    passes: dict[str, list[bool]] = defaultdict(list)
    for outcome in outcomes:
        passes[outcome.id.rpartition("#")[2]].append(outcome.correct is True)
    full = max(map(len, passes.values()), default=0)
    means = [sum(right) / len(right) for right in passes.values() if len(right) == full]
    return deviation(means)


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


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


# FOLDED DOC of scores.score:
# Scores of a model: pass@1 and tokens of each benchmark, under three ways to treat overlong responses.
#
# Reads eval/MODEL/BENCHMARK.jsonl (`Sample` records), writes eval/MODEL/summary.json:
#
#     {"gsm8k": {"none": {"n": 1319, "accuracy": 0.917, "accuracy_ci": [0.9, 0.93], "mean_tokens": 917.0, ...},
#                "cap": {...}, "exclude": {...}}, "math500": {...}}
#
# The policies `none`, `cap` and `exclude` are described in `drp.evaluation.outcomes`.
#
# A response that could not be graded (`correct` is None) is in the denominator and not right; how many there were stands
# beside, as `ungraded`.
#
