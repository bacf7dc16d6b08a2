"""Confidence intervals for one model and paired tests between two, computed by scipy.

The unit is the problem, not the sample: several samples of a problem are not independent, so they are resampled and
compared together.

    wilson(90, 100)                        Interval(low=0.826, high=0.945)
    bootstrap_mean([[310, 290], [1200]])   Interval(...) of the mean over all samples
    compare(base, drp)                     Comparison(n=200, accuracy_change=0.01, tokens_change=-0.6, ...)
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

CONFIDENCE = 0.95
RESAMPLES = 2000
"""Draws of a bootstrap."""
SMALL_N = 100
"""A comparison over fewer problems than this carries a warning."""

# Values resampled at once, 8 bytes each: bounds the memory of a bootstrap over many problems.
_BATCH_VALUES = 4_000_000


class Interval(NamedTuple):
    """A 95% confidence interval, both ends included."""

    low: float
    high: float


class ProblemMeans(NamedTuple):
    """One model on one problem: means over the problem's samples."""

    accuracy: float
    tokens: float
    samples: int
    """How many samples the means are over."""


class Comparison(BaseModel):
    """Two models on the same problems, compared problem by problem. Changes are from the first to the second."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    n: int
    """Problems that both models have."""
    accuracy_change: float
    """Second minus first, as a share: 0.01 is one point."""
    accuracy_ci: Interval | None
    gained: int
    """Problems that the second model solves more often than the first."""
    lost: int
    """Problems that it solves less often."""
    accuracy_p: float
    """Exact McNemar test for one sample per problem, else Wilcoxon's signed-rank test on the problems' means."""
    accuracy_test: str
    """Which of the two."""
    tokens_change: float | None
    """Relative: -0.6 is 60% fewer. None if the first model has no tokens."""
    tokens_ci: Interval | None
    tokens_p: float
    """Wilcoxon's signed-rank test on the problems' mean tokens."""
    warning: str | None
    """The smallest significant change for so few problems; None for SMALL_N problems or more."""


def wilson(successes: int, n: int) -> Interval | None:
    """Wilson's score interval for a share; None if n is 0."""
    from scipy.stats import binomtest

    if n == 0:
        return None
    found = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def clopper_pearson(successes: int, n: int) -> Interval | None:
    """Clopper and Pearson's exact interval for a share, which covers at least 95%; None if n is 0."""
    from scipy.stats import binomtest

    if n == 0:
        return None
    found = binomtest(successes, n).proportion_ci(CONFIDENCE, method="exact")
    return Interval(float(found.low), float(found.high))


def bootstrap_mean(clusters: Sequence[Sequence[float]], seed: int = 0) -> Interval | None:
    """BCa bootstrap interval of the mean over all values, resampling whole clusters; None for fewer than two."""
    filled = [cluster for cluster in clusters if cluster]
    sums, counts = [float(sum(cluster)) for cluster in filled], [float(len(cluster)) for cluster in filled]
    return _bootstrap_ratio(sums, counts, seed)


def bootstrap_share(clusters: Sequence[Sequence[float]], seed: int = 0) -> Interval | None:
    """`bootstrap_mean` for values between 0 and 1. If all are 0 or all are 1, a bootstrap would give a single point, so
    that Wilson's interval is returned instead, with each cluster as one value."""
    values = {value for cluster in clusters for value in cluster}
    if values not in ({0.0}, {1.0}):
        return bootstrap_mean(clusters, seed)
    n = sum(1 for cluster in clusters if cluster)
    return wilson(n if values == {1.0} else 0, n)


def _bootstrap_ratio(over: Sequence[float], under: Sequence[float], seed: int) -> Interval | None:
    """BCa bootstrap interval of sum(over) / sum(under), resampling pairs; None for fewer than two pairs."""
    import numpy as np
    from scipy.stats import bootstrap

    if len(over) < 2 or sum(under) == 0:
        return None
    ratios = np.asarray(over) / np.maximum(np.asarray(under), 1e-12)
    if np.ptp(ratios) == 0:
        return Interval(float(ratios[0]), float(ratios[0]))  # BCa would divide by the spread, which is zero
    drawn = bootstrap(
        (np.asarray(over), np.asarray(under)),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH_VALUES // len(over)),
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = drawn.confidence_interval
    # BCa fails if nearly all values are equal: fall back to the percentile interval.
    if math.isnan(low) or math.isnan(high):
        low, high = np.quantile(drawn.bootstrap_distribution, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def _ratio(over: Any, under: Any, axis: int) -> Any:
    return over.sum(axis=axis) / under.sum(axis=axis)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p of McNemar's exact test, which is a sign test of `gained` against `lost`."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def signed_rank(before: Sequence[float], after: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on pairs, leaving out pairs that are equal; 1 if all are."""
    from scipy.stats import wilcoxon

    pairs = zip(before, after, strict=True)
    differences = [second - first for first, second in pairs if abs(second - first) > 1e-12]
    return float(wilcoxon(differences).pvalue) if differences else 1.0


def compare(before: Mapping[str, ProblemMeans], after: Mapping[str, ProblemMeans], seed: int = 0) -> Comparison | None:
    """Compare two models on the problems that both have; None if there are none. seed: of the bootstrap."""
    shared = [problem for problem in before if problem in after]
    if not shared:
        return None
    first, second = [before[problem] for problem in shared], [after[problem] for problem in shared]
    differences = [b.accuracy - a.accuracy for a, b in zip(first, second, strict=True)]
    gained, lost = sum(change > 0 for change in differences), sum(change < 0 for change in differences)
    single = all(problem.samples == 1 for problem in (*first, *second))
    accuracy_p = (
        mcnemar(gained, lost) if single else signed_rank([a.accuracy for a in first], [b.accuracy for b in second])
    )
    change, interval = _relative_change([a.tokens for a in first], [b.tokens for b in second], seed)
    return Comparison(
        n=len(shared),
        accuracy_change=sum(differences) / len(shared),
        accuracy_ci=_difference_interval(differences, seed),
        gained=gained,
        lost=lost,
        accuracy_p=accuracy_p,
        accuracy_test="McNemar, exact" if single else "Wilcoxon",
        tokens_change=change,
        tokens_ci=interval,
        tokens_p=signed_rank([a.tokens for a in first], [b.tokens for b in second]),
        warning=describe_power(len(shared), single) if len(shared) < SMALL_N else None,
    )


def _difference_interval(differences: Sequence[float], seed: int) -> Interval | None:
    """Bootstrap over problems. If no problem differs, a bootstrap would give a single point, so that Tango's score
    interval for a paired difference (Statistics in Medicine 17, 1998) is returned instead. It reaches z^2 / (n + z^2)
    to either side, as far as Wilson's interval for 0 of n."""
    if len(differences) > 1 and not any(differences):
        reach = wilson(0, len(differences))
        return reach and Interval(-reach.high, reach.high)
    return bootstrap_mean([[difference] for difference in differences], seed)


def _relative_change(
    first: Sequence[float], second: Sequence[float], seed: int
) -> tuple[float | None, Interval | None]:
    """(change of the sum from first to second, its interval); None, None if the first sum is 0."""
    if sum(first) == 0:
        return None, None
    interval = _bootstrap_ratio(second, first, seed)
    moved = None if interval is None else Interval(interval.low - 1, interval.high - 1)
    return sum(second) / sum(first) - 1, moved


def describe_power(n: int, single: bool = True) -> str:
    """The smallest significant result of a paired test over `n` problems, as a sentence without its full stop.

    single: one sample per problem, so that a problem's accuracy is 0 or 1.
    """
    # k changes, all in the same direction, have p = 2 / 2^k.
    needed = math.ceil(1 - math.log2(1 - CONFIDENCE))
    if n < needed:
        return f"{n} problems: too few for any change to be significant"
    if not single:
        return f"{n} problems: the smallest significant change is {needed} of them, all in the same direction"
    return (
        f"{n} problems: one of them is {100 / n:.1f} points; the smallest significant change is {needed} of them "
        f"({100 * needed / n:.0f} points), all in the same direction"
    )


def describe_sign_test(n: int) -> str:
    """How many of `n` wins and losses one side needs for a significant result, as a sentence without its full stop."""
    from scipy.stats import binom

    needed = int(binom.isf((1 - CONFIDENCE) / 2, n, 0.5)) + 1
    if needed > n:
        return f"{n} pairs with a winner: too few for any result to be significant"
    return f"{n} pairs with a winner: a side needs at least {needed} wins ({100 * needed / n:.0f}%) to be significant"


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values after Holm's correction for several comparisons, in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted
