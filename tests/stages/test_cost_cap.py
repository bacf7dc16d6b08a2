"""The cap on dollars through the stages, where one record takes several calls: re-asks, and parts of long traces."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ended
from tests.loopback import LoopbackServer
from tests.loopback.shapes import count_tokens
from tests.stages import mistakes, teaching

N_TRACES = 40
MAX_OUTPUT = 120
"""Of the tokens that a reply takes: so few that a trace is worked on in several parts."""


def find_worst_usd(server: LoopbackServer) -> float:
    """What the dearest request may cost, with input counted on the safe side."""
    longest = max(sum(len(text) // 3 + 4 for _, text in r.question.messages) for r in server.requests)
    return (longest * 2.5 + MAX_OUTPUT * 10) / 1e6


def find_spent_usd(server: LoopbackServer) -> float:
    """What the provider charges for the whole replies that it sent."""
    paid = [request.question.messages for request in server.requests if request.completed]
    read = sum(count_tokens(text) for messages in paid for _, text in messages)
    wrote = sum(count_tokens(server.answer(messages)) for messages in paid)
    return (read * 2.5 + wrote * 10) / 1e6


@pytest.mark.parametrize("concurrency", [1, 10, 100])
def test_spending_stops_at_the_cap_and_goes_on_with_a_higher_one(
    drp: Callable[..., Ended], tmp_path: Path, concurrency: int
) -> None:
    def run(verb: str, cap_usd: float) -> Ended:
        return drp(verb, path, "--set", f"teacher.max_cost_usd={cap_usd}")

    answer = mistakes.make_mistakes({mistakes.skip_step: 0.1, mistakes.lose_marker: 0.1})
    with LoopbackServer(answer, latency_s=0.005) as server:
        limits = {"concurrency": concurrency, "max_output_tokens": MAX_OUTPUT}
        config = teaching.make_config(tmp_path, server, "openai", "text", **limits)
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(config.model_dump(mode="json", exclude_none=True)))
        teaching.write_traces(tmp_path, N_TRACES)
        for verb in teaching.VERBS:
            cap_usd = round(find_spent_usd(server) + 0.1, 4)
            ended = run(verb, cap_usd)
            assert ended.status == 2
            assert f"teacher.max_cost_usd is {cap_usd:g}" in ended.err
            assert "run this again to continue" in ended.err
            assert cap_usd - find_worst_usd(server) <= find_spent_usd(server) <= cap_usd
            assert len(teaching.read_artifact(tmp_path, verb)) < N_TRACES
            n_before = server.n_completed
            assert len(teaching.read_store(tmp_path)) == n_before, "all that was paid for is kept"
            assert run(verb, cap_usd).status == 2
            assert server.n_completed - n_before <= 1, "what earlier runs spent counts"
            assert run(verb, 10).status == 0
        assert teaching.find_paid_twice(server) == {}
        assert max(len(request.question.messages) for request in server.requests) > 1, "something was asked again"
        assert server.n_completed > 3 * N_TRACES, "traces were worked on in parts"
    teaching.check_run(tmp_path, N_TRACES)
