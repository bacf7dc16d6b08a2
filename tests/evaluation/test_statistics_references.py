"""Statistics compared with statsmodels and scipy, and with the enumeration of every case."""

import random
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats
from statsmodels.genmod.cov_struct import Independence
from statsmodels.genmod.generalized_estimating_equations import GEE
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from drp.evaluation.outcomes import Outcome
from drp.evaluation.score import pass_at_powers
from drp.evaluation.statistics import (
    ProblemMeans,
    bootstrap_mean,
    clopper_pearson,
    compare,
    holm,
    mcnemar,
    signed_rank,
    wilson,
)


@pytest.mark.parametrize("n", [1, 30, 500, 1319])
def test_intervals_of_a_share_equal_statsmodels(n: int) -> None:
    for successes in {0, 1, n // 2, n - 1, n}:
        assert wilson(successes, n) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)
        exact = proportion_confint(successes, n, method="beta")
        assert clopper_pearson(successes, n) == pytest.approx(exact, abs=1e-9)


def test_mcnemar_equals_statsmodels_on_every_small_table() -> None:
    for gained, lost in product(range(13), repeat=2):
        table = [[40, lost], [gained, 5]]
        assert mcnemar(gained, lost) == pytest.approx(reference_mcnemar(table, exact=True).pvalue)


def test_signed_rank_equals_every_assignment_of_signs() -> None:
    before, after = [0.0] * 8, [0.25, 0.25, -0.25, 0.5, 0.5, 0.75, 1.0, -0.5]
    ranks = stats.rankdata(np.abs(after))
    sums = [sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) for signs in product([0, 1], repeat=8)]
    observed = sum(rank for rank, change in zip(ranks, after, strict=True) if change > 0)
    upper = sum(one >= observed for one in sums) / len(sums)
    lower = sum(one <= observed for one in sums) / len(sums)
    assert signed_rank(before, after) == pytest.approx(2 * min(upper, lower))


def test_signed_rank_equals_scipys_on_continuous_lengths() -> None:
    draw = np.random.default_rng(11)
    before, after = draw.lognormal(6, 1, 300), draw.lognormal(5.9, 1, 300)
    assert signed_rank(before.tolist(), after.tolist()) == pytest.approx(stats.wilcoxon(after, before).pvalue)


def test_holm_equals_statsmodels() -> None:
    draw = random.Random(12)
    for size in (1, 2, 5, 20):
        values = [draw.random() ** 4 for _ in range(size)]
        assert holm(values) == pytest.approx(multipletests(values, method="holm")[1])


def test_the_bootstrap_equals_scipys_where_every_cluster_is_one_value() -> None:
    values = np.random.default_rng(13).lognormal(6, 0.8, 120)
    reference = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(14))
    found = bootstrap_mean([[float(value)] for value in values])
    assert found is not None
    width = reference.confidence_interval.high - reference.confidence_interval.low
    assert found == pytest.approx(tuple(reference.confidence_interval), abs=0.06 * width)


@pytest.mark.parametrize("sizes", [(4, 4), (1, 8)])
def test_the_cluster_bootstrap_is_as_wide_as_gees_robust_interval(sizes: tuple[int, int]) -> None:
    """Problems with equal and with unequal numbers of samples, correlated within a problem."""
    draw = np.random.default_rng(15)
    clusters = [draw.normal(draw.normal(100, 20), 10, draw.integers(sizes[0], sizes[1] + 1)) for _ in range(300)]
    values, groups = np.concatenate(clusters), np.repeat(np.arange(300), [len(cluster) for cluster in clusters])
    reference = GEE(values, np.ones_like(values), groups=groups, cov_struct=Independence()).fit()
    found = bootstrap_mean([cluster.tolist() for cluster in clusters])
    assert found is not None
    [[low, high]] = reference.conf_int()
    assert found == pytest.approx((low, high), abs=0.06 * (high - low))
    naive = 1.96 * values.std() / len(values) ** 0.5
    assert found.high - found.low > 2.4 * naive, "samples of a problem were taken for independent ones"


def test_a_comparison_without_any_change_has_tangos_interval() -> None:
    tallies = {f"p{number}": ProblemMeans(number % 2, 100, 1) for number in range(30)}
    found = compare(tallies, tallies)
    assert found is not None
    # z^2 / (n + z^2) with z = 1.959964 and n = 30.
    assert found.accuracy_ci == pytest.approx((-0.113513, 0.113513), abs=1e-6)


def test_pass_at_k_equals_drawing_every_subset() -> None:
    draw = random.Random(16)
    right = {f"p{number}": [draw.random() < 0.3 for _ in range(6)] for number in range(7)}
    groups = {
        problem: [Outcome(f"{problem}#{n}", "1", is_right, 1, 1, False, False) for n, is_right in enumerate(marks)]
        for problem, marks in right.items()
    }
    for k, found in pass_at_powers(groups).items():
        drawn = [any(subset) for marks in right.values() for subset in combinations(marks, k)]
        assert found == pytest.approx(sum(drawn) / len(drawn))
