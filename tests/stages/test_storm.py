"""Both teacher stages in a storm of faults: every record ends, what is written is right, nothing is paid twice."""

import json
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from drp.stages import decompose, prune
from tests.loopback import Fault, LoopbackServer, chance, faults
from tests.stages import mistakes, teaching
from tests.teachers import competent

N_TRACES = 60
SHARE = 0.2
PASSING = [
    faults.RATE_LIMIT,
    faults.RATE_LIMIT.after(0.02),
    faults.SERVER_ERROR,
    faults.UNAVAILABLE,
    faults.HANG,
    faults.RESET,
    faults.CUT,
    faults.EMPTY,
    faults.PAGE,
    faults.ERROR_BODY,
]
LASTING = [faults.REFUSAL, faults.CONTENT_FILTER]
ROUTES = [("openai", "text"), ("gemini", "spans"), ("openai", "spans"), ("gemini", "text")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drp.chat.factory.RetryPolicy", teaching.QuickRetries)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a teacher without faults makes, by format."""
    folders = {}
    with LoopbackServer(competent.answer) as server:
        for form in ("text", "spans"):
            folders[form] = tmp_path_factory.mktemp(form)
            teaching.write_traces(folders[form], N_TRACES)
            counts = teaching.run_both(teaching.make_config(folders[form], server, "openai", form))
            assert [count.written for count in counts.values()] == [N_TRACES, N_TRACES]
            teaching.check_run(folders[form], N_TRACES)
    return folders


def name(fault: Fault) -> str:
    return f"{fault.code or fault.kind}{'-retry-after' if fault.retry_after else ''}"


def routed(cases: list[Any]) -> list[Any]:
    """Each case over one provider and format, in turn."""
    return [(*route, case) for route, case in zip(cycle(ROUTES), cases, strict=False)]


def heal(server: LoopbackServer) -> None:
    server.pick, server.answer = lambda _content, _seen: None, competent.answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("provider", "form", "fault"), routed(PASSING), ids=lambda v: v if isinstance(v, str) else name(v)
)
def test_what_a_storm_of_passing_faults_fails_the_next_run_finishes(
    tmp_path: Path, healthy: dict[str, Path], provider: str, form: str, fault: Fault
) -> None:
    limits = {"max_retries": 1, "timeout_s": 1.5 if fault.kind == "hang" else 20}
    with LoopbackServer(competent.answer, latency_s=0.001, faults=chance({fault: SHARE}, seed=3)) as server:
        config = teaching.make_config(tmp_path, server, provider, form, **limits)
        teaching.write_traces(tmp_path, N_TRACES)
        first = teaching.run_both(config)
        teaching.check_run(tmp_path, N_TRACES)
        n_struck = sum(request.fault is not None for request in server.requests)
        n_failed = sum(counts.failed for counts in first.values())
        assert n_struck > 10
        assert n_failed > 0
        heal(server)
        n_before = len(server.requests)
        second = teaching.run_both(config)
        assert len(server.requests) - n_before <= 2 * n_failed, "only what failed is asked again"
        assert teaching.find_paid_twice(server) == {}
        assert len(teaching.read_store(tmp_path)) == server.n_completed
    assert [counts.written for counts in second.values()] == [N_TRACES, N_TRACES]
    teaching.check_run(tmp_path, N_TRACES)
    for verb in teaching.VERBS:
        assert teaching.read_artifact(tmp_path, verb) == teaching.read_artifact(healthy[form], verb)


@pytest.mark.parametrize(
    ("provider", "form", "fault"), routed(LASTING * 2), ids=lambda v: v if isinstance(v, str) else name(v)
)
def test_what_a_provider_withholds_fails_with_that_reason_and_is_not_paid_again(
    tmp_path: Path, healthy: dict[str, Path], provider: str, form: str, fault: Fault
) -> None:
    with LoopbackServer(competent.answer, latency_s=0.001, faults=chance({fault: SHARE}, seed=4)) as server:
        config = teaching.make_config(tmp_path, server, provider, form)
        teaching.write_traces(tmp_path, N_TRACES)
        first = teaching.run_both(config)
        teaching.check_run(tmp_path, N_TRACES)
        heal(server)
        n_before = len(server.requests)
        assert teaching.run_both(config) == first
        assert len(server.requests) == n_before
    for verb in teaching.VERBS:
        failed, written = teaching.read_failures(tmp_path, verb), teaching.read_artifact(tmp_path, verb)
        assert {failure["reason"] for failure in failed.values()} == {"withheld"}
        whole = teaching.read_artifact(healthy[form], verb)
        assert written == {id: whole[id] for id in written}


@pytest.mark.parametrize(("provider", "form"), ROUTES)
def test_replies_that_end_at_the_output_limit_divide_the_task(tmp_path: Path, provider: str, form: str) -> None:
    with LoopbackServer(competent.answer, latency_s=0.001, faults=chance({faults.LENGTH: SHARE}, seed=5)) as server:
        config = teaching.make_config(tmp_path, server, provider, form)
        teaching.write_traces(tmp_path, N_TRACES)
        teaching.run_both(config)
        teaching.check_run(tmp_path, N_TRACES)
        assert teaching.find_paid_twice(server) == {}
        assert Counter(json.dumps(request.body) for request in server.requests).most_common(1)[0][1] == 1
    cut = [failure for verb in teaching.VERBS for failure in teaching.read_failures(tmp_path, verb).values()]
    assert {failure["reason"] for failure in cut} <= {"cut off", "answer changed", "not shorter"}
    assert len(cut) < N_TRACES // 5


@pytest.mark.parametrize(
    ("provider", "form", "mistake"),
    [(*route, mistake) for mistake, route in zip(mistakes.ALL * 2, cycle(ROUTES), strict=False)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_teachers_mistakes_never_reach_an_artifact(
    tmp_path: Path, provider: str, form: str, mistake: mistakes.Mistake
) -> None:
    answer = mistakes.make_mistakes({mistake: SHARE})
    with LoopbackServer(answer, latency_s=0.001) as server:
        config = teaching.make_config(tmp_path, server, provider, form, max_reasks=1)
        teaching.write_traces(tmp_path, N_TRACES)
        first = teaching.run_both(config)
        teaching.check_run(tmp_path, N_TRACES)
        n_wrong = sum(answer(r.question.messages) != competent.answer(r.question.messages) for r in server.requests)
        assert n_wrong > 5
        n_before = len(server.requests)
        assert teaching.run_both(config) == first
        assert len(server.requests) == n_before, "the stored replies are as wrong as they were, and cost nothing"
        finish_with_more_reasks(config, server)


def finish_with_more_reasks(config: Any, server: LoopbackServer) -> None:
    """More re-asks put right what failed, and pay for these re-asks alone."""
    heal(server)
    teacher = config.teacher.model_copy(update={"max_reasks": 4})
    patient = config.model_copy(update={"teacher": teacher})
    for stage in (decompose, prune):
        counts = stage.run(patient)
        assert counts.written == N_TRACES
    assert teaching.find_paid_twice(server) == {}
    teaching.check_run(Path(config.run_dir), N_TRACES)


@pytest.mark.slow
@pytest.mark.parametrize(("provider", "form"), ROUTES)
def test_with_all_of_it_at_once_every_record_ends(tmp_path: Path, provider: str, form: str) -> None:
    struck = dict.fromkeys([*PASSING, *LASTING, faults.LENGTH], 0.03)
    answer = mistakes.make_mistakes(dict.fromkeys(mistakes.ALL, 0.04))
    with LoopbackServer(answer, latency_s=0.002, faults=chance(struck, seed=6)) as server:
        config = teaching.make_config(tmp_path, server, provider, form, timeout_s=1.5, max_retries=2, max_reasks=1)
        teaching.write_traces(tmp_path, N_TRACES)
        teaching.run_both(config)
        teaching.check_run(tmp_path, N_TRACES)
        heal(server)
        teaching.run_both(config)
        teaching.check_run(tmp_path, N_TRACES)
        assert teaching.find_paid_twice(server) == {}
        assert len(teaching.read_store(tmp_path)) == server.n_completed
    written = teaching.read_artifact(tmp_path, "prune")
    assert len(written) > N_TRACES // 2
