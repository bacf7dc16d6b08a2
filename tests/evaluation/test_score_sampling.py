"""Several samples, several seeds and any cutoff, compared with plain enumeration."""

import itertools
import random
from statistics import fmean, stdev

import pytest

from drp.evaluation.outcomes import Outcome, apply_policy, group_by_problem
from drp.evaluation.score import (
    majority_at_all,
    means_by_problem,
    pass_at_powers,
    pool_seeds,
    score,
    score_benchmark,
    score_seeds,
)
from drp.evaluation.statistics import compare
from drp.report.figures import captured_shares
from tests.evaluation.test_outcomes import make_outcome

CUTOFF = 1000


def draw_outcomes(random_: random.Random, problems: int, samples: int) -> list[Outcome]:
    """Correct, incorrect, ungraded, truncated and looping outcomes of different lengths."""
    return [
        make_outcome(
            f"p{problem}#{k}",
            random_.choice([True, True, False, None]),
            n_tokens := random_.choice([10, 200, 999, 1000, 1001, 4000]),
            random_.choice(["1", "2", "3", None]),
            n_thinking_tokens=random_.randint(0, n_tokens),
            truncated=n_tokens == 4000,
            looping=random_.random() < 0.2,
        )
        for problem in range(problems)
        for k in range(samples)
    ]


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_pass_at_k_is_the_share_of_all_subsets_with_a_right_one(samples: int) -> None:
    outcomes = draw_outcomes(random.Random(samples), 6, samples)
    groups = group_by_problem(outcomes)
    found = pass_at_powers(groups)
    assert sorted(found) == sorted({1, 2, *([4] if samples > 3 else []), samples})
    for k, value in found.items():
        subsets = [itertools.combinations([o.correct is True for o in group], k) for group in groups.values()]
        assert value == pytest.approx(fmean(fmean(any(subset) for subset in many) for many in subsets))


def test_pass_at_k_is_not_given_for_more_than_the_samples() -> None:
    outcomes = draw_outcomes(random.Random(0), 4, 3)
    assert max(pass_at_powers(group_by_problem(outcomes))) == 3
    assert max(score(outcomes, "cap", CUTOFF).pass_at) == 3


def test_majority_is_the_mean_over_every_way_to_break_a_tie() -> None:
    for votes in itertools.product(
        [("7", True), ("1,200", False), ("1200", False), ("8", None), (None, False)], repeat=4
    ):
        outcomes = [make_outcome(f"a#{k}", right, 10, said) for k, (said, right) in enumerate(votes)]
        heard = [{"1,200": "1200"}.get(said, said) for said, _ in votes if said is not None]
        winners = [said for said in set(heard) if heard.count(said) == max(map(heard.count, heard))]
        expected = fmean(said == "7" for said in winners) if winners else 0.0
        assert majority_at_all(group_by_problem(outcomes)) == {4: pytest.approx(expected)}


@pytest.mark.parametrize("cutoff", [1, 10, 200, 999, 1000, 1001, 3999, 4000, 10**6])
def test_any_cutoff_after_the_fact_equals_a_calculation_by_hand(cutoff: int) -> None:
    outcomes = draw_outcomes(random.Random(5), 9, 1)
    scores = score_benchmark(outcomes, cutoff)
    short = [o for o in outcomes if o.n_tokens <= cutoff]
    right = sum(o.correct is True for o in short)
    assert scores["none"].accuracy == pytest.approx(sum(o.correct is True for o in outcomes) / 9)
    assert scores["none"].mean_tokens == fmean(o.n_tokens for o in outcomes)
    cap, exclude = scores["cap"], scores["exclude"]
    assert cap.accuracy == pytest.approx(right / 9)
    assert cap.mean_tokens == pytest.approx(fmean(min(o.n_tokens, cutoff) for o in outcomes))
    assert cap.mean_thinking_tokens == pytest.approx(fmean(min(o.n_thinking_tokens, cutoff) for o in outcomes))
    assert cap.truncated == sum(o.truncated or o.n_tokens > cutoff for o in outcomes)
    assert cap.ungraded == sum(o.correct is None for o in short)
    assert exclude.n == len(short)
    assert exclude.accuracy == (pytest.approx(right / len(short)) if short else None)
    assert exclude.mean_tokens == (pytest.approx(fmean(o.n_tokens for o in short)) if short else None)
    assert {s.over_cutoff for s in scores.values()} == {9 - len(short)}
    assert {s.looping for s in (scores["none"], cap)} == {sum(o.looping for o in outcomes)}


def test_each_budget_captures_the_share_of_right_answers_within_it() -> None:
    outcomes = draw_outcomes(random.Random(6), 40, 1)
    right = [o.n_tokens for o in outcomes if o.correct]
    shares = dict(captured_shares(outcomes))
    assert shares == {budget: pytest.approx(sum(n <= budget for n in right) / len(right)) for budget in set(right)}
    assert max(shares.values()) == 1


def test_several_seeds_are_the_mean_and_the_deviation_of_their_scores() -> None:
    random_ = random.Random(8)
    seeds = [draw_outcomes(random_, 30, 2) for _ in range(3)]
    found = score_seeds(seeds, "cap", CUTOFF)
    alone = [score(outcomes, "cap", CUTOFF) for outcomes in seeds]
    assert (found.seeds, found.problems) == (3, 30)
    assert found.accuracy == pytest.approx(fmean(one.accuracy or 0 for one in alone))
    assert found.accuracy_sd == pytest.approx(stdev(one.accuracy or 0 for one in alone))
    assert found.mean_tokens == pytest.approx(fmean(one.mean_tokens or 0 for one in alone))
    assert found.tokens_sd == pytest.approx(stdev(one.mean_tokens or 0 for one in alone))
    pooled = score(pool_seeds(seeds), "cap", CUTOFF)
    assert (pooled.n, pooled.problems, pooled.accuracy) == (180, 30, pytest.approx(found.accuracy))
    assert tuple(pooled.accuracy_ci or ()) == pytest.approx(tuple(found.accuracy_ci or ()), abs=0.01)


def test_more_seeds_do_not_make_more_problems() -> None:
    """The same evaluation repeated three times has the same intervals as once."""
    once = draw_outcomes(random.Random(3), 40, 1)
    found = score_seeds([once] * 3, "none", CUTOFF)
    assert (found.accuracy_sd, found.tokens_sd) == pytest.approx((0, 0))
    assert tuple(found.tokens_ci or ()) == pytest.approx(tuple(score(once, "none", CUTOFF).tokens_ci or ()))
    after = [o._replace(correct=True) for o in once]
    pairs = [means_by_problem(pool_seeds([outcomes] * 3)) for outcomes in (once, after)]
    comparison = compare(*pairs)
    assert comparison is not None
    assert comparison.n == 40


def test_problems_that_one_seed_lacks_are_left_out_of_all() -> None:
    first, second = draw_outcomes(random.Random(1), 5, 1), draw_outcomes(random.Random(2), 4, 1)
    assert {o.problem_id for o in pool_seeds([first, second])} == {"p0", "p1", "p2", "p3"}
    assert score_seeds([first, second], "none", CUTOFF).mean_tokens == fmean(o.n_tokens for o in [*first[:4], *second])
    over = [o.problem_id for outcomes in (first, second) for o in outcomes if o.n_tokens > CUTOFF]
    assert score_seeds([first, second], "exclude", CUTOFF).problems == 4 - len(set(over) & {"p0", "p1", "p2", "p3"})


def test_one_seed_and_none_have_no_deviation() -> None:
    assert score_seeds([draw_outcomes(random.Random(1), 5, 1)], "none", CUTOFF).accuracy_sd is None
    empty = score_seeds([], "none", CUTOFF)
    assert (empty.seeds, empty.problems, empty.accuracy, empty.accuracy_ci) == (0, 0, None, None)
    assert apply_policy([], "cap", CUTOFF) == []
