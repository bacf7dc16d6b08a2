"""Traces by source, sampled and expected ones."""

from pathlib import Path

from drp.config.loading import load_config
from drp.config.sections import Config
from drp.estimate.traces import make_typical_trace, plan_traces, survey_traces
from drp.records import Failure, Trace
from drp.teachers.llm.division import estimate_tokens
from tests.conftest import trace


def load(tmp_path: Path, *overrides: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(f"run_dir: {tmp_path}\nstudent: {{model: R1-Distill-Qwen-7B}}\n")
    return load_config(path, overrides)


def sample(problem_id: str, **fields: object) -> Trace:
    return Trace.model_validate(trace(id=f"{problem_id}#0", problem_id=problem_id, **fields))


def test_traces_without_a_source_belong_to_the_one_that_their_id_begins_with(tmp_path: Path) -> None:
    planned = plan_traces(load(tmp_path, "generate.problems=[{name: gsm8k}, {name: gsm8k-train}]"), None)
    traces = [sample("gsm8k-train-7"), sample("gsm8k-7"), sample("gsm8k-8"), sample("mine-1")]
    survey_traces(planned, traces, lambda _: None)
    assert {name: one.n_sampled for name, one in planned.items()} == {"gsm8k": 2, "gsm8k-train": 1, "unknown": 1}
    assert planned["gsm8k-train"].n_missing == 7472


def test_a_source_goes_by_its_own_traces_as_soon_as_there_are_some(tmp_path: Path) -> None:
    planned = plan_traces(load(tmp_path, "generate.problems=[{name: gsm8k-train}, {name: prm12k}]"), None)
    assert [(one.mean_tokens, one.mean_usable_tokens) for one in planned.values()] == [(917, 917), (2595, 2244)]
    traces = [sample("prm12k-1", n_tokens=100), sample("prm12k-2", n_tokens=700), sample("prm12k-3", n_tokens=300)]
    failure = Failure(id="prm12k-4#0", error="Broken", message="a broken line", attempts=1)
    defects = survey_traces(
        planned, [*traces, failure], lambda one: "answer wrong" if (one.n_tokens or 0) > 500 else None
    )
    assert dict(defects) == {"answer wrong": 1, "broken": 1}
    prm = planned["prm12k"]
    assert (prm.mean_tokens, prm.mean_usable_tokens) == (367, 200)
    assert (prm.n_missing, prm.n_usable_missing) == (11997, 7998)
    assert planned["gsm8k-train"].mean_tokens == 917


def test_traces_that_nobody_counted_are_measured(tmp_path: Path) -> None:
    planned = plan_traces(load(tmp_path), None)
    survey_traces(planned, [sample("mine-1", response=100 * "So 12 apples. ", n_tokens=None)], lambda _: None)
    assert 300 < planned["unknown"].mean_tokens < 700


def test_a_limit_is_shared_by_the_sources_in_order(tmp_path: Path) -> None:
    config = load(
        tmp_path, "generate.problems=[{name: gsm8k-train, limit: 60}, {name: prm12k}]", "generate.sampling.n=2"
    )
    assert [one.n_planned for one in plan_traces(config, 100).values()] == [120, 80]
    assert [one.n_planned for one in plan_traces(config, None).values()] == [120, 24000]


def test_a_typical_trace_has_the_teachers_tokens_of_the_students_length() -> None:
    typical = make_typical_trace(2200)
    assert 1900 < estimate_tokens(typical.thinking + typical.summary) < 2100
