"""Intervals for one model and paired tests between two, on scipy.

The unit is the problem, not the sample: several samples of a problem are not independent, so they are resampled, and
compared, together.

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
SMALL_N = 100
"""Below so many problems a comparison carries a warning."""

# Values resampled at once: a bound on memory (8 bytes each), whatever the number of problems.
_BATCH_VALUES = 4_000_000


class Interval(NamedTuple):
    """A 95% confidence interval, both ends included."""

    low: float
    high: float


class Tally(NamedTuple):
    """One model on one problem: means over the problem's samples."""

    accuracy: float
    tokens: float
    samples: int


class Comparison(BaseModel):
    """Two models on the same problems, the second against the first. Changes are second minus first."""

    model_config = ConfigDict(frozen=True)

    n: int
    """Problems that both have."""
    accuracy_change: float
    """In shares of one: 0.01 is one point."""
    accuracy_ci: Interval | None
    gained: int
    """Problems more often right after than before."""
    lost: int
    accuracy_p: float
    """Exact McNemar with one sample a problem; Wilcoxon's signed-rank test on the problems' means with several."""
    accuracy_test: str
    tokens_change: float | None
    """Relative: -0.6 is 60% fewer. None where the first model has no tokens."""
    tokens_ci: Interval | None
    tokens_p: float
    """Wilcoxon's signed-rank test on the problems' mean tokens."""
    warning: str | None
    """What so few problems cannot tell; None where there are enough."""


def wilson(successes: int, n: int) -> Interval | None:
    """Wilson's score interval for a share; None where n is 0."""
    from scipy.stats import binomtest

    if n == 0:
        return None
    found = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def clopper_pearson(successes: int, n: int) -> Interval | None:
    """The exact interval for a share, never too narrow; None where n is 0."""
    from scipy.stats import binomtest

    if n == 0:
        return None
    found = binomtest(successes, n).proportion_ci(CONFIDENCE, method="exact")
    return Interval(float(found.low), float(found.high))


def bootstrap_mean(clusters: Sequence[Sequence[float]], seed: int = 0) -> Interval | None:
    """Bootstrap interval (BCa) of the mean over all values, whole clusters resampled; None for fewer than two."""
    filled = [cluster for cluster in clusters if cluster]
    sums, counts = [float(sum(cluster)) for cluster in filled], [float(len(cluster)) for cluster in filled]
    return _bootstrap_ratio(sums, counts, seed)


def bootstrap_share(clusters: Sequence[Sequence[float]], seed: int = 0) -> Interval | None:
    """`bootstrap_mean` of values between 0 and 1. Where all of them are 0, or all are 1, a bootstrap sees no spread and
    would be a point: then Wilson's interval, as if each cluster were one value."""
    values = {value for cluster in clusters for value in cluster}
    if values not in ({0.0}, {1.0}):
        return bootstrap_mean(clusters, seed)
    n = sum(1 for cluster in clusters if cluster)
    return wilson(n if values == {1.0} else 0, n)


def _bootstrap_ratio(over: Sequence[float], under: Sequence[float], seed: int) -> Interval | None:
    """Interval of sum(over) / sum(under), resampled in pairs."""
    import numpy as np
    from scipy.stats import bootstrap

    if len(over) < 2 or sum(under) == 0:
        return None
    ratios = np.asarray(over) / np.maximum(np.asarray(under), 1e-12)
    if np.ptp(ratios) == 0:
        return Interval(float(ratios[0]), float(ratios[0]))  # nothing varies: BCa would divide by zero
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
    if math.isnan(low) or math.isnan(high):
        low, high = np.quantile(drawn.bootstrap_distribution, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def _ratio(over: Any, under: Any, axis: int) -> Any:
    return over.sum(axis=axis) / under.sum(axis=axis)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p of McNemar's test, a sign test: are changed answers as often gained as lost?"""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def signed_rank(before: Sequence[float], after: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on pairs, ties with zero left out; 1 where no pair differs."""
    from scipy.stats import wilcoxon

    pairs = zip(before, after, strict=True)
    differences = [second - first for first, second in pairs if abs(second - first) > 1e-12]
    return float(wilcoxon(differences).pvalue) if differences else 1.0


def compare(before: Mapping[str, Tally], after: Mapping[str, Tally], seed: int = 0) -> Comparison | None:
    """Paired comparison on the problems that both have; None where there is none."""
    shared = [problem for problem in before if problem in after]
    if not shared:
        return None
    first, second = [before[problem] for problem in shared], [after[problem] for problem in shared]
    gained = sum(b.accuracy > a.accuracy for a, b in zip(first, second, strict=True))
    lost = sum(b.accuracy < a.accuracy for a, b in zip(first, second, strict=True))
    single = all(tally.samples == 1 for tally in (*first, *second))
    change, interval = _relative_change([a.tokens for a in first], [b.tokens for b in second], seed)
    return Comparison(
        n=len(shared),
        accuracy_change=sum(b.accuracy - a.accuracy for a, b in zip(first, second, strict=True)) / len(shared),
        accuracy_ci=_difference_interval([b.accuracy - a.accuracy for a, b in zip(first, second, strict=True)], seed),
        gained=gained,
        lost=lost,
        accuracy_p=mcnemar(gained, lost) if single else signed_rank(*_accuracies(first, second)),
        accuracy_test="McNemar, exact" if single else "Wilcoxon",
        tokens_change=change,
        tokens_ci=interval,
        tokens_p=signed_rank([a.tokens for a in first], [b.tokens for b in second]),
        warning=describe_power(len(shared), single) if len(shared) < SMALL_N else None,
    )


def _difference_interval(differences: Sequence[float], seed: int) -> Interval | None:
    """Bootstrap over problems. Where none differs it would be a point: then Tango's score interval for a paired
    difference (Statistics in Medicine 17, 1998), which is z^2 / (n + z^2) to either side and so Wilson's for 0 of n."""
    if len(differences) > 1 and not any(differences):
        reach = wilson(0, len(differences))
        return reach and Interval(-reach.high, reach.high)
    return bootstrap_mean([[difference] for difference in differences], seed)


def _accuracies(first: Sequence[Tally], second: Sequence[Tally]) -> tuple[list[float], list[float]]:
    return [tally.accuracy for tally in first], [tally.accuracy for tally in second]


def _relative_change(
    first: Sequence[float], second: Sequence[float], seed: int
) -> tuple[float | None, Interval | None]:
    if sum(first) == 0:
        return None, None
    interval = _bootstrap_ratio(second, first, seed)
    moved = None if interval is None else Interval(interval.low - 1, interval.high - 1)
    return sum(second) / sum(first) - 1, moved


def describe_power(n: int, single: bool = True) -> str:
    """What a paired test over `n` problems can tell at best: its p with every change in one direction.

    single: one sample a problem, so that a problem changes as a whole.
    """
    needed = math.ceil(1 - math.log2(1 - CONFIDENCE))
    if n < needed:
        return f"{n} problems: no change whatever could be told from chance"
    if not single:
        return (
            f"{n} problems: only a change in {needed} or more of them with none the other way can be told from chance"
        )
    return (
        f"{n} problems: one of them is {100 / n:.1f} points, and only a change of {needed} or more "
        f"({100 * needed / n:.0f} points) with none the other way can be told from chance"
    )


def describe_sign_test(n: int) -> str:
    """What `n` wins and losses can tell: from how many wins on they are not chance."""
    from scipy.stats import binom

    needed = int(binom.isf((1 - CONFIDENCE) / 2, n, 0.5)) + 1
    if needed > n:
        return f"{n} pairs with a winner: no result whatever could be told from chance"
    share = 100 * needed / n
    return f"{n} pairs with a winner: only {needed} wins or more ({share:.0f}%) on one side can be told from chance"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction for several comparisons, in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted
