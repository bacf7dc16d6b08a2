"""Statistics compared with calculations by hand and with scipy; the coverage of the intervals by simulation."""

import random

import pytest

from drp.evaluation.statistics import (
    ProblemMeans,
    bootstrap_mean,
    bootstrap_share,
    compare,
    describe_power,
    describe_sign_test,
    holm,
    mcnemar,
    signed_rank,
    wilson,
)


def test_wilson_equals_the_formula() -> None:
    # z = 1.959964: (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), with p = 0.9, n = 100.
    assert wilson(90, 100) == pytest.approx((0.825634, 0.944771), abs=1e-5)
    assert wilson(0, 0) is None
    interval = wilson(30, 30)
    assert interval is not None
    assert interval.high == 1.0
    assert 0.88 < interval.low < 0.89


def test_mcnemar_equals_the_binomial_by_hand() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(6, 0) == pytest.approx(2 / 2**6)
    assert mcnemar(1, 4) == pytest.approx(2 * (1 + 5) / 2**5)


def test_signed_rank_ignores_ties_and_equals_the_exact_distribution() -> None:
    # Six differences, all of one sign: 2 / 2**6.
    assert signed_rank([1, 2, 3, 4, 5, 6, 9], [2, 4, 6, 8, 10, 12, 9]) == pytest.approx(2 / 2**6)
    assert signed_rank([5, 5], [5, 5]) == 1.0


def test_the_bootstrap_resamples_problems_and_not_samples() -> None:
    random_ = random.Random(0)
    problems = [random_.gauss(100, 30) for _ in range(60)]
    once = bootstrap_mean([[value] for value in problems])
    copied = bootstrap_mean([[value] * 8 for value in problems])
    assert once is not None
    assert copied is not None
    assert copied == pytest.approx(once)


def test_the_bootstrap_depends_on_its_seed_alone() -> None:
    values = [[float(value)] for value in range(30)]
    assert bootstrap_mean(values, 1) == bootstrap_mean(values, 1)
    assert bootstrap_mean(values, 1) != bootstrap_mean(values, 2)


def test_the_bootstrap_of_equal_values_is_a_point() -> None:
    assert bootstrap_mean([[5.0], [5.0], [5.0]]) == (5.0, 5.0)
    assert bootstrap_mean([[5.0]]) is None
    assert bootstrap_mean([]) is None


def test_the_bootstrap_covers_the_mean_of_skewed_lengths() -> None:
    """95% nominal; lognormal lengths, 60 problems, 2 samples each with a problem's own length in common."""
    random_ = random.Random(1)
    truth, hits, rounds = 2.718281828**0.25, 0, 150
    for turn in range(rounds):
        clusters = []
        for _ in range(60):
            shared = random_.gauss(0, 0.5)
            clusters.append([2.718281828 ** (shared + random_.gauss(0, 0.5)) for _ in range(2)])
        interval = bootstrap_mean(clusters, turn)
        assert interval is not None
        hits += interval.low <= truth <= interval.high
    # Three standard errors of a simulation of 150 around 95%.
    assert 0.89 <= hits / rounds <= 1.0


def test_wilson_covers_the_share_of_few_problems() -> None:
    random_ = random.Random(2)
    rounds, hits = 400, 0
    for _ in range(rounds):
        interval = wilson(sum(random_.random() < 0.5 for _ in range(30)), 30)
        assert interval is not None
        hits += interval.low <= 0.5 <= interval.high
    assert 0.92 <= hits / rounds <= 0.99


def make_means(answers: list[int], tokens: list[float], samples: int = 1) -> dict[str, ProblemMeans]:
    return {
        f"p{n}": ProblemMeans(right, length, samples)
        for n, (right, length) in enumerate(zip(answers, tokens, strict=True))
    }


def test_a_comparison_is_paired_by_problem() -> None:
    before = make_means([1, 1, 0, 0], [100, 200, 300, 400])
    after = make_means([1, 0, 1, 1], [50, 100, 150, 200])
    after["p9"] = ProblemMeans(1, 10, 1)
    found = compare(before, after)
    assert found is not None
    assert (found.n, found.gained, found.lost, found.accuracy_change) == (4, 2, 1, 0.25)
    assert found.accuracy_p == mcnemar(2, 1)
    assert found.tokens_change == -0.5
    assert found.tokens_ci == pytest.approx((-0.5, -0.5))
    assert found.accuracy_test == "McNemar, exact"
    assert found.warning is not None


def test_several_samples_per_problem_are_compared_by_their_means() -> None:
    before = make_means([0.25, 0.5, 0.5, 0.75, 0.0, 0.0], [100] * 6, samples=4)
    after = make_means([0.5, 0.75, 1.0, 1.0, 0.25, 0.5], [100] * 6, samples=4)
    found = compare(before, after)
    assert found is not None
    assert found.accuracy_test == "Wilcoxon"
    assert found.gained == 6
    assert found.tokens_p == 1.0


def test_models_without_common_problems_are_not_compared() -> None:
    assert compare(make_means([1], [1]), {"other": ProblemMeans(1, 1, 1)}) is None


def test_thirty_problems_have_a_warning() -> None:
    warning = describe_power(30)
    assert "3.3 points" in warning
    # Six changes, all in one direction, are the least with p below 0.05.
    assert "6 of them (20 points)" in warning
    assert mcnemar(6, 0) < 0.05 < mcnemar(5, 0)
    large = compare(make_means([1, 0] * 60, [10] * 120), make_means([1, 1] * 60, [9] * 120))
    assert large is not None
    assert large.warning is None


def test_with_several_samples_the_warning_counts_problems_and_not_points() -> None:
    one, other = ({f"p{n}": ProblemMeans(accuracy, 10, 4) for n in range(30)} for accuracy in (0.25, 0.5))
    found = compare(one, other)
    assert found is not None
    assert found.warning == describe_power(30, single=False)
    assert "change is 6 of them, all" in found.warning
    # Six of them, each by one sample of four: 5 points, not 20.
    assert signed_rank([0.0] * 6, [0.25] * 6) < 0.05 < signed_rank([0.0] * 5, [0.25] * 5)


def test_a_sign_test_says_how_many_wins_it_needs() -> None:
    assert "at least 33 wins (66%)" in describe_sign_test(50)
    assert mcnemar(33, 17) < 0.05 < mcnemar(32, 18)
    assert "at least 6 wins (100%)" in describe_sign_test(6)
    assert describe_sign_test(5) == "5 pairs with a winner: too few for any result to be significant"


def test_a_share_of_equal_values_has_wilsons_interval() -> None:
    assert bootstrap_share([[1.0, 1.0]] * 30) == wilson(30, 30)
    assert bootstrap_share([[0.0]] * 30) == wilson(0, 30)
    assert bootstrap_share([[0.0], [1.0]] * 15) == bootstrap_mean([[0.0], [1.0]] * 15)
    assert bootstrap_share([]) is None


def test_holm_corrects_for_several_comparisons() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
