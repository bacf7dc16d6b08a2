"""Outcomes: the policies, reading samples, degenerate repetition; and the makers of outcomes that other tests use."""

import math
import time
from pathlib import Path

import pytest

from drp.errors import InputError
from drp.evaluation.outcomes import Outcome, apply_policy, benchmark_files, ends_in_loop, read_outcomes
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


def test_a_response_cut_by_the_cutoff_is_wrong_and_not_ungraded() -> None:
    counted = apply_policy([make_outcome("a#0", None, 5000)], "cap", 1000)
    assert [(outcome.correct, outcome.predicted, outcome.truncated) for outcome in counted] == [(False, None, True)]


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
    # The probe occurs everywhere, and no period fits.
    assert not ends_in_loop(("a" * 500 + "b") * 4000 + "a" * 90 + "c" + "a" * 90)
    assert time.perf_counter() - started < 10
