"""How often a 95% interval contains the true value, by simulation: 100 problems of 4 samples, 30 problems of one.

Seeds are fixed. A simulation of 600 has a standard error of 0.9 points around 95%.
"""

from collections.abc import Callable

import numpy as np
import pytest

from drp.evaluation.statistics import Interval, bootstrap_mean, bootstrap_share, clopper_pearson, wilson

pytestmark = pytest.mark.slow

ROUNDS = 600


def cover(draw: Callable[[], Interval | None], truth: float) -> float:
    """Share of the rounds whose interval contains the true value."""
    intervals = [interval for interval in (draw() for _ in range(ROUNDS)) if interval is not None]
    assert len(intervals) == ROUNDS
    return sum(low - 1e-9 <= truth <= high + 1e-9 for low, high in intervals) / ROUNDS


@pytest.mark.parametrize("truth", [0.5, 0.9])
def test_accuracy_over_several_samples_per_problem(truth: float) -> None:
    generator = np.random.default_rng(21)

    def draw() -> Interval | None:
        chances = generator.beta(2 * truth, 2 - 2 * truth, 100)  # some problems are hard in every sample
        return bootstrap_share([[share] for share in generator.binomial(4, chances) / 4])

    assert 0.93 <= cover(draw, truth) <= 0.97


def test_tokens_over_several_samples_per_problem() -> None:
    generator = np.random.default_rng(22)

    def draw() -> Interval | None:
        lengths = 900 + generator.normal(0, 300, (100, 1)) + generator.normal(0, 200, (100, 4))
        return bootstrap_mean(lengths.tolist())

    assert 0.93 <= cover(draw, 900) <= 0.97


def test_samples_taken_for_independent_would_cover_far_too_little() -> None:
    generator = np.random.default_rng(22)

    def draw() -> Interval | None:
        lengths = 900 + generator.normal(0, 300, (40, 1)) + generator.normal(0, 200, (40, 4))
        return bootstrap_mean([[length] for length in lengths.ravel()])

    assert cover(draw, 900) < 0.85


@pytest.mark.parametrize("n", [30, 100])
def test_an_accuracy_near_one_is_not_taken_for_certain(n: int) -> None:
    generator = np.random.default_rng(23)

    def draw() -> Interval | None:
        chances = generator.beta(1.98, 0.02, n)
        return bootstrap_share([[share] for share in generator.binomial(4, chances) / 4])

    assert cover(draw, 0.99) >= 0.95


def test_a_paired_change_of_accuracy() -> None:
    generator = np.random.default_rng(24)

    def draw() -> Interval | None:
        return bootstrap_mean([[change] for change in generator.choice([1.0, 0.0, -1.0], 200, p=[0.08, 0.87, 0.05])])

    assert 0.93 <= cover(draw, 0.03) <= 0.97


@pytest.mark.parametrize("truth", [0.5, 0.66, 0.95])
def test_intervals_of_single_answers(truth: float) -> None:
    generator = np.random.default_rng(25)
    counts = generator.binomial(30, truth, ROUNDS)
    shares, exact = iter(counts), iter(counts)
    assert cover(lambda: wilson(int(next(shares)), 30), truth) >= 0.92
    assert cover(lambda: clopper_pearson(int(next(exact)), 30), truth) >= 0.95 - 0.01, "exact: never too narrow"
