"""Published lengths and speeds."""

from typing import get_args

import pytest

from drp.config.sections import EstimateSettings
from drp.estimate.published import LENGTHS, SPEEDS, find_billions, find_length, find_speed
from drp.problems import BENCHMARKS


def test_every_known_benchmark_has_a_length_for_both_students_and_both_models() -> None:
    for name in BENCHMARKS:
        for billions in (1.5, 7):
            for model in ("base", "drp"):
                length = find_length(name, billions, model)
                assert length is not None
                assert (length.billions, length.model) == (billions, model)
    assert find_length("my-own", 7) is None


def test_lengths_are_the_papers_with_its_cutoff_and_without() -> None:
    length = find_length("aime24", 7)
    assert length is not None
    assert [length.expect_tokens(limit) for limit in (1000, 12_000, 131_072)] == [1000, 8674, 54339]
    assert 8674 < length.expect_tokens(16_384) < 12_000
    assert length.finished < length.capped


def test_a_student_between_the_papers_sizes_goes_by_the_nearest() -> None:
    assert [find_length("gsm8k", size).capped for size in (0.6, 3, 4, 32, None)] == [1443, 1443, 917, 917, 917]  # type: ignore[union-attr]


def test_responses_that_are_no_loops_are_shorter_than_the_mean() -> None:
    assert all(0 < length.finished <= length.capped <= length.uncapped for length in LENGTHS)


@pytest.mark.parametrize("gpu", get_args(EstimateSettings.model_fields["gpu"].annotation))
def test_every_gpu_has_the_speeds_of_a_whole_run(gpu: str) -> None:
    assert all(find_speed(task, gpu, 1.5) for task in ("sampling", "single", "training"))


def test_every_figure_says_where_it_comes_from() -> None:
    assert all(len(row.source) > 20 for row in [*SPEEDS, *LENGTHS])


def test_speeds_are_scaled_to_other_sizes_and_say_so() -> None:
    exact, scaled = find_speed("training", "a100-80gb", 7), find_speed("training", "a100-80gb", 14)
    assert exact is not None
    assert scaled is not None
    assert scaled.tokens_per_second == exact.tokens_per_second / 2
    assert scaled.source.startswith("estimate")
    assert find_speed("training", "a100-80gb", None) is None


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1.5),
        ("/models/7b/QwQ-32B", 32),
        ("Qwen/Qwen3-0.6B", 0.6),
        ("data/tiny/model", None),
        ("mistralai/Magistral-Small-2506", None),
    ],
)
def test_the_size_is_read_from_the_name(model: str, billions: float | None) -> None:
    assert find_billions(model) == billions
