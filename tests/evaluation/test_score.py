"""Scores compared with calculations by hand: the policies, pass@k, majorities, summary.json."""

import json
from pathlib import Path

import pytest

from drp.evaluation.outcomes import group_by_problem
from drp.evaluation.score import majority_at_all, pass_at_powers, score, score_benchmark, write_summary
from tests.evaluation.test_outcomes import make_outcome, make_sample, write_samples

# Correct at 100 tokens, correct at the cutoff itself, correct but longer, incorrect, not graded.
FIVE = [
    make_outcome("a#0", True, 100),
    make_outcome("b#0", True, 1000),
    make_outcome("c#0", True, 4000, truncated=True, looping=True),
    make_outcome("d#0", False, 300),
    make_outcome("e#0", None, 600, predicted=None),
]


def test_the_three_policies_equal_a_calculation_by_hand() -> None:
    scores = score_benchmark(FIVE, cutoff_tokens=1000)
    assert (scores["none"].n, scores["none"].accuracy, scores["none"].mean_tokens) == (5, 3 / 5, 6000 / 5)
    assert (scores["cap"].n, scores["cap"].accuracy, scores["cap"].mean_tokens) == (5, 2 / 5, 3000 / 5)
    assert (scores["exclude"].n, scores["exclude"].accuracy, scores["exclude"].mean_tokens) == (4, 2 / 4, 2000 / 4)
    assert scores["none"].mean_thinking_tokens == (90 + 990 + 3990 + 290 + 590) / 5
    assert scores["cap"].mean_thinking_tokens == (90 + 990 + 1000 + 290 + 590) / 5
    assert [scores[policy].over_cutoff for policy in ("none", "cap", "exclude")] == [1, 1, 1]
    assert [scores[policy].truncated for policy in ("none", "cap", "exclude")] == [1, 1, 0]
    assert [scores[policy].looping for policy in ("none", "cap", "exclude")] == [1, 1, 0]
    assert scores["none"].cutoff_tokens is None
    assert scores["cap"].cutoff_tokens == 1000


def test_ungraded_counts_as_not_correct_and_is_counted_separately() -> None:
    found = score(FIVE, "none", 1000)
    assert found.ungraded == 1
    assert found.accuracy == 0.6


def test_without_any_response_left_there_is_no_mean() -> None:
    found = score([make_outcome("a#0", True, 500)], "exclude", 100)
    assert (found.n, found.accuracy, found.accuracy_ci, found.mean_tokens, found.tokens_ci) == (
        0,
        None,
        None,
        None,
        None,
    )


def test_pass_at_1_is_averaged_over_the_samples_of_each_problem() -> None:
    outcomes = [make_outcome(f"a#{k}", k < 1, 100) for k in range(4)]
    outcomes += [make_outcome(f"b#{k}", True, 100) for k in range(4)]
    found = score(outcomes, "none", 1000)
    assert (found.n, found.problems, found.accuracy) == (8, 2, (1 / 4 + 1) / 2)
    # The passes scored 1, 1/2, 1/2, 1/2.
    assert found.accuracy_sd == pytest.approx(0.25)


def test_pass_at_k_is_unbiased() -> None:
    groups = group_by_problem([make_outcome(f"a#{k}", k < 2, 100) for k in range(5)])
    assert pass_at_powers(groups) == pytest.approx({1: 0.4, 2: 1 - 3 / 10, 4: 1.0, 5: 1.0})


def test_pass_at_k_leaves_out_problems_with_missing_samples() -> None:
    outcomes = [make_outcome(f"{name}#{k}", name == "a", 100) for name in "ab" for k in range(2)]
    outcomes.append(make_outcome("c#0", True, 100))
    assert pass_at_powers(group_by_problem(outcomes)) == {1: 0.5, 2: 0.5}


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([("12", True), ("12.0", True), ("13", False)], 1.0),
        ([("13", False), ("13", False), ("12", True)], 0.0),
        ([("13", False), ("12", True), (None, False)], 0.5),
        ([(None, False), (None, None)], 0.0),
    ],
)
def test_majority_groups_right_answers_and_shares_ties(votes: list, expected: float) -> None:
    outcomes = [make_outcome(f"a#{k}", correct, 100, predicted) for k, (predicted, correct) in enumerate(votes)]
    assert majority_at_all(group_by_problem(outcomes)) == {len(votes): expected}


def test_a_single_sample_has_no_pass_at_k() -> None:
    assert score(FIVE, "none", 1000).pass_at == {}


def test_summary_has_the_declared_form(tmp_path: Path) -> None:
    folder = tmp_path / "eval" / "base"
    write_samples(
        folder / "gsm8k.jsonl", make_sample("a#0", True, 100), make_sample("b#0", False, 300, finish="length")
    )
    (folder / "gsm8k.failed.jsonl").write_text('{"id": "c#0", "error": "E", "message": "m", "attempts": 1}\n')
    write_summary(folder, 12000)
    found = json.loads((folder / "summary.json").read_text())
    assert list(found) == ["gsm8k"]
    assert list(found["gsm8k"]) == ["none", "cap", "exclude"]
    cap = found["gsm8k"]["cap"]
    assert (cap["n"], cap["accuracy"], cap["mean_tokens"], cap["truncated"], cap["looping"]) == (2, 0.5, 200.0, 1, 0)
    assert len(cap["accuracy_ci"]) == len(cap["tokens_ci"]) == 2
