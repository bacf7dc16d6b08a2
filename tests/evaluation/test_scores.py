"""Scores against calculations by hand; policies, loops, several samples a problem."""

import json
import math
import time
from pathlib import Path

import pytest

from drp.errors import InputError
from drp.evaluation.outcomes import (
    Outcome,
    apply_policy,
    benchmark_files,
    ends_in_loop,
    group_by_problem,
    read_outcomes,
)
from drp.evaluation.score import majority_at_all, pass_at_powers, score, score_benchmark, write_summary
from drp.records import Sample


def make_outcome(id: str, correct: bool | None, n_tokens: int, predicted: str | None = "1", **changes) -> Outcome:
    fields = {"n_thinking_tokens": n_tokens - 10, "truncated": False, "looping": False, **changes}
    return Outcome(id=id, predicted=predicted, correct=correct, n_tokens=n_tokens, **fields)


def make_sample(id: str, correct: bool | None, n_tokens: int, response: str = "x", finish: str = "stop") -> Sample:
    return Sample(
        id=id,
        question="q",
        answer="1",
        response=response,
        predicted="1",
        correct=correct,
        n_tokens=n_tokens,
        n_thinking_tokens=n_tokens - 10,
        finish_reason=finish,
    )


def write_samples(path: Path, *samples: Sample) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(sample.model_dump_json() + "\n" for sample in samples))


# Right at 100, right at the cutoff itself, right but over it, wrong, not graded.
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


def test_a_response_cut_by_the_cutoff_is_wrong_and_not_ungraded() -> None:
    counted = apply_policy([make_outcome("a#0", None, 5000)], "cap", 1000)
    assert [(outcome.correct, outcome.predicted, outcome.truncated) for outcome in counted] == [(False, None, True)]


def test_ungraded_counts_as_not_right_and_stands_apart() -> None:
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


def test_a_torn_last_line_is_skipped_and_any_other_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.jsonl"
    write_samples(path, make_sample("a#0", True, 100))
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    assert [outcome.id for outcome in read_outcomes(path)] == ["a#0"]
    for broken in (whole + "{}\n", "nonsense\n" + whole):
        path.write_text(broken)
        with pytest.raises(InputError, match=r"gsm8k\.jsonl:\d"):
            list(read_outcomes(path))


def test_a_summary_and_failures_are_no_benchmarks(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "a.failed.jsonl", "summary.json", "a.jsonl.manifest.json"):
        (tmp_path / name).touch()
    assert [name for name, _ in benchmark_files(tmp_path)] == ["a", "b"]


SENTENCE = "Wait, let me compute 12 + 30 once more, to be sure. "


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("", False),
        ("The answer is 42.", False),
        ("So x = 4.\n" + SENTENCE * 12, True),
        ("So x = 4.\n" + SENTENCE * 12 + SENTENCE[:20], True),
        ("So x = 4. " + (SENTENCE + "\n\n") * 12, True),
        (
            SENTENCE * 12 + "\n</think>\n\nSo, after all of that, the answer is simply 42, as I said at the start.",
            False,
        ),
        ("A long start. " * 3 + SENTENCE * 2, False),
        ("9" * 250, True),
        ("9" * 150, False),
        (("First a. " * 9 + "Then b. ") * 6, True),
        (" ".join(f"{n} squared is {n * n}." for n in range(200)), False),
    ],
)
def test_a_loop_is_three_copies_at_the_end(text: str, loops: bool) -> None:
    assert ends_in_loop(text) is loops


def test_a_long_period_is_found() -> None:
    paragraph = " ".join(f"Step {n} gives {math.sqrt(n):.3f}." for n in range(120))
    assert ends_in_loop("Okay. " + f"{paragraph} " * 4)
    assert not ends_in_loop("Okay. " + f"{paragraph} " * 2)


def test_loop_detection_takes_linear_time() -> None:
    started = time.perf_counter()
    # The probe stands everywhere, and no period holds.
    assert not ends_in_loop(("a" * 500 + "b") * 4000 + "a" * 90 + "c" + "a" * 90)
    assert time.perf_counter() - started < 2
