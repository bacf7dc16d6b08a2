"""Traces of 30,000 tokens through both stages, with a server that cuts every reply at the output limit."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import trace
from tests.loopback import LoopbackServer
from tests.stages import teaching
from tests.teachers import competent
from tests.teachers.llm.cases import write_thinking

N_TOKENS, LIMIT = 30_000, 4096
SUMMARY = "The answer is \\boxed{26}."


def make_long_trace(number: int) -> dict[str, Any]:
    thinking = write_thinking(N_TOKENS, seed=number)
    response = f"{thinking}\n</think>\n\n{SUMMARY}"
    changes = {"thinking": thinking, "summary": SUMMARY, "response": response, "answer": "26", "predicted": "26"}
    return trace(id=f"long-{number}#0", problem_id=f"long-{number}", question="How many slices are left?", **changes)


@pytest.mark.parametrize(("limit", "n_traces"), [(LIMIT, 2), (1000, 1)])
@pytest.mark.parametrize(("provider", "form"), [("openai", "text"), ("gemini", "spans")])
def test_every_long_trace_is_pruned_within_the_output_limit(
    tmp_path: Path, provider: str, form: str, limit: int, n_traces: int
) -> None:
    """limit: where the server cuts; it may be lower than the one that was asked for."""

    def count(text: str) -> int:
        return competent.count_tokens(text) * LIMIT // limit

    with LoopbackServer(competent.answer, count=count) as server:
        # This teacher deletes less than is expected; the limit that it must keep to is the maximum.
        limits = {"max_output_tokens": LIMIT, "reply_headroom": None}
        config = teaching.make_config(tmp_path, server, provider, form, **limits)
        teaching.write_traces(tmp_path, n_traces, make_long_trace)
        counts = teaching.run_both(config)
        assert [count.written for count in counts.values()] == [n_traces, n_traces]
        n_cut = sum(request.fault is not None for request in server.requests)
        assert (n_cut == 0) == (limit == LIMIT), "parts are planned to fit, and divided where they do not"
        assert teaching.find_paid_twice(server) == {}
    teaching.check_run(tmp_path, n_traces)
    for record in teaching.read_artifact(tmp_path, "prune").values():
        assert len(record["steps"]) > 100
        assert len(re.findall(r"\S+", record["pruned_thinking"])) > N_TOKENS // 5
