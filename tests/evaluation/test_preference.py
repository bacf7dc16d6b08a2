"""From verdicts to a win rate: the paper's own figures, ties, position bias, warnings."""

from pathlib import Path

import pytest
from scipy.stats import binomtest

from drp.errors import InputError
from drp.evaluation.preference import Preference, followed_position, summarize, write_preference
from drp.records import Judgement, Usage, Verdict

Winner = str


def judgement(number: int, when_a_first: Winner, when_b_first: Winner, sample: int = 0) -> Judgement:
    winner = when_a_first if when_a_first == when_b_first else "tie"
    said = [("a", when_a_first), ("b", when_b_first)]
    return Judgement.model_validate(
        {
            "id": f"p-{number}#{sample}",
            "winner": winner,
            "verdicts": [Verdict.model_validate({"first": f, "winner": w, "reason": None}) for f, w in said],
            "judge": "judge-1",
            "teacher_a": "gpt-4o",
            "teacher_b": "rules",
            "n_steps_a": 12,
            "n_steps_b": 8,
            "usage": Usage(calls=2, input_tokens=900, output_tokens=40, cost_usd=0.001),
        }
    )


def judge_pairs(a_wins: int, b_wins: int, ties: int = 0) -> Preference:
    said = ["a"] * a_wins + ["b"] * b_wins + ["tie"] * ties
    return summarize(judgement(number, winner, winner) for number, winner in enumerate(said))


def test_the_papers_figures_are_just_significant() -> None:
    found = judge_pairs(33, 17)
    assert found.win_rate == 0.66
    # By hand: p = 2 * sum of C(50, k) for k = 33 to 50, over 2^50.
    assert found.p == pytest.approx(0.0328392, abs=1e-6)
    assert found.win_rate_ci == pytest.approx((0.512, 0.788), abs=1e-3)
    assert found.win_rate_ci == binomtest(33, 50).proportion_ci(0.95, "exact")
    assert found.warnings == ["50 pairs with a winner: a side needs at least 33 wins (66%) to be significant"]
    assert (found.steps_a, found.steps_b, found.usage.calls) == (12, 8, 100)
    assert found.usage.cost_usd == pytest.approx(0.05)


def test_ties_do_not_change_the_win_rate_and_count_as_half_with_ties() -> None:
    found = judge_pairs(30, 10, 60)
    assert (found.n, found.ties, found.win_rate, found.win_rate_with_ties) == (100, 60, 0.75, 0.6)
    assert found.win_rate_ci == binomtest(30, 40).proportion_ci(0.95, "exact")
    assert found.p == binomtest(30, 40).pvalue
    assert found.win_rate_with_ties_ci is not None
    # Normal approximation by hand: variance 0.3 * 0.4^2 + 0.1 * 0.6^2 + 0.6 * 0.1^2 = 0.09.
    assert found.win_rate_with_ties_ci == pytest.approx((0.6 - 0.0588, 0.6 + 0.0588), abs=0.015)


@pytest.mark.parametrize(
    ("when_a_first", "when_b_first", "expected"),
    [
        ("a", "b", "first"),
        ("b", "a", "second"),
        ("a", "a", None),
        ("tie", "tie", None),
        ("a", "tie", None),
        ("tie", "a", None),
    ],
)
def test_a_verdict_followed_the_position_if_it_changes_with_the_order(
    when_a_first: str, when_b_first: str, expected: str | None
) -> None:
    assert followed_position(judgement(0, when_a_first, when_b_first)) == expected


def test_position_bias_is_a_share_of_all_pairs() -> None:
    said = [("a", "b")] * 3 + [("b", "a")] + [("a", "a")] * 3 + [("tie", "a")]
    found = summarize(judgement(number, *pair) for number, pair in enumerate(said))
    assert (found.position_first, found.position_second, found.position_bias) == (3, 1, 0.5)
    assert (found.a_wins, found.ties) == (3, 5)


def test_several_traces_of_a_problem_have_a_warning() -> None:
    found = summarize(judgement(number // 4, "a", "a", number % 4) for number in range(120))
    assert (found.n, found.problems) == (120, 30)
    assert found.warnings[0].startswith("120 pairs come from 30 problems; p and win_rate_ci treat them as independent")


def test_without_judgements_there_is_no_win_rate() -> None:
    found = judge_pairs(0, 0)
    assert (found.win_rate, found.win_rate_ci, found.position_bias, found.steps_a, found.p) == (None,) * 4 + (1.0,)
    assert found.describe() == "a preferred in 0 of 0 pairs, b in 0, ties 0"


def test_an_unreadable_line_is_named(tmp_path: Path) -> None:
    target = tmp_path / "plain.jsonl"
    target.write_text(judgement(0, "a", "a").model_dump_json() + "\n{}\n")
    with pytest.raises(InputError, match=r"plain.jsonl:2: field `id`: .*--overwrite"):
        write_preference(target, "a", "b")
