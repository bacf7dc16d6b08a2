"""`teacher.mode: batch` from the command line: the stages, Ctrl-C, and `drp batches`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chat.batches import read_journal
from tests.chat.conftest import KEY
from tests.conftest import REPOSITORY, Ended, read_lines
from tests.loopback import BatchPlan, LoopbackServer, chance, faults
from tests.teachers import competent
from tests.test_pipeline import STUDENT, make_traces

N_TRACES = 12


@pytest.fixture
def config(tmp_path: Path, write_lines: Callable[..., Path]) -> Path:
    traces = [{**trace, "question": f"{trace['question']} ({i})"} for i, trace in enumerate(make_traces(N_TRACES))]
    write_lines("run/traces.jsonl", *traces)
    path = tmp_path / "config.yaml"
    path.write_text(f"run_dir: {tmp_path}/run\nmax_failures: 0\nstudent: {{model: {STUDENT}}}\n")
    return path


def teacher_at(server: LoopbackServer, mode: str = "batch") -> str:
    keys = "prices: {input: 2, output: 8}, batch: {quiet_s: 0.1, poll_s: 0.05}"
    return f"teacher={{provider: openai, mode: {mode}, model: judge-1, base_url: '{server.openai_url}', {keys}}}"


def read_but_cost(path: Path) -> list[str]:
    """An artifact's lines, sorted by id, without the cost of each record."""
    records = sorted(read_lines(path), key=lambda record: str(record["id"]))
    return [json.dumps({**record, "usage": {**record["usage"], "cost_usd": None}}) for record in records]


def test_batches_make_the_artifacts_that_direct_calls_make(
    drp: Callable[..., Ended], config: Path, tmp_path: Path
) -> None:
    shares = {faults.EXPIRED: 0.1, faults.SERVER_ERROR: 0.1}
    plans = [BatchPlan(n_polls=1, shuffled=True, doubled=True) for _ in range(40)]
    with LoopbackServer(competent.answer, faults=chance(shares), plans=plans) as server:
        teacher = teacher_at(server)
        for verb in ("decompose", "prune"):
            assert drp(verb, config, "--set", teacher, "--set", "teacher.batch.max_requests=5").status == 0
        assert not server.requests, "a request was sent directly"
        n_paid = server.n_completed
    with LoopbackServer(competent.answer) as server:
        inputs = ["--input", tmp_path / "run/traces.jsonl"], []
        for verb, input in zip(("decompose", "prune"), inputs, strict=True):
            direct = ["--set", teacher_at(server, "direct"), "--set", f"run_dir={tmp_path}/direct"]
            assert drp(verb, config, *input, *direct).status == 0
        assert n_paid == server.n_completed
    for name in ("steps.jsonl", "pruned.jsonl"):
        batched, direct = tmp_path / "run" / name, tmp_path / "direct" / name
        assert read_but_cost(batched) == read_but_cost(direct)
        costs = zip(_costs(batched), _costs(direct), strict=True)
        assert all(half == pytest.approx(whole / 2) for half, whole in costs)


def _costs(path: Path) -> list[float]:
    return [record["usage"]["cost_usd"] for record in sorted(read_lines(path), key=lambda record: str(record["id"]))]


def interrupt_decompose(config: Path, server: LoopbackServer, teacher: str) -> subprocess.CompletedProcess[str]:
    """Run the stage until its batch is in progress, then send Ctrl-C."""
    command = [sys.executable, "-m", "drp", "decompose", str(config), "--set", teacher]
    environ = {**os.environ, "OPENAI_API_KEY": KEY}
    child = subprocess.Popen(command, cwd=REPOSITORY, env=environ, text=True, stdout=-1, stderr=-1)
    deadline = time.monotonic() + 60
    while not any(batch["status"] == "in_progress" for batch in server.batches.by_id.values()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def test_ctrl_c_leaves_the_batches_running_and_the_rerun_waits_for_them(
    drp: Callable[..., Ended], config: Path, tmp_path: Path
) -> None:
    plan = BatchPlan(n_polls=10**6)
    with LoopbackServer(competent.answer, plans=[plan]) as server:
        ended = interrupt_decompose(config, server, teacher_at(server))
        assert ended.returncode == 130, ended.stderr
        assert "1 batch continues at the provider, with 12 requests" in ended.stderr
        assert "drp batches CONFIG --cancel" in ended.stderr
        assert ended.stderr.count("batch_0: in_progress") == 1, "one line for a change, not for each poll"
        listed = drp("batches", config, "--set", teacher_at(server))
        assert listed.status == 0
        assert listed.out.split()[:6] == ["batch_0", "decompose", "judge-1", "12", "requests", "in_progress"]
        plan.n_polls = 0
        assert drp("decompose", config, "--set", teacher_at(server)).status == 0
        assert set(server.batches.sent.values()) == {1}
    assert len(read_lines(tmp_path / "run" / "steps.jsonl")) == N_TRACES
    written = "".join(path.read_text() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert f"Bearer {KEY}" in server.batches.keys_seen
    assert KEY not in written + ended.stdout + ended.stderr


def test_direct_calls_are_refused_while_the_same_requests_are_in_a_batch(
    drp: Callable[..., Ended], config: Path
) -> None:
    with LoopbackServer(competent.answer, plans=[BatchPlan(n_polls=10**6)]) as server:
        interrupt_decompose(config, server, teacher_at(server))
        ended = drp("decompose", config, "--set", teacher_at(server, "direct"))
        assert ended.status == 2
        assert "12 requests of this stage are in batches at the provider" in ended.err
        assert not server.requests
        estimated = drp("estimate", config, "--set", teacher_at(server))
        assert "12 of the calls are already in batches under way" in estimated.out
        assert drp("batches", config, "--cancel", "--set", teacher_at(server)).status == 0
        assert drp("decompose", config, "--set", teacher_at(server, "direct")).status == 0
        assert len(server.requests) == N_TRACES


def test_batches_of_the_judge_are_followed_with_its_own_settings(drp: Callable[..., Ended], config: Path) -> None:
    with LoopbackServer(competent.answer, plans=[BatchPlan(n_polls=10**6)]) as server:
        interrupt_decompose(config, server, teacher_at(server))
        refused = drp("batches", config, "--cancel")
        assert refused.status == 2
        assert "judge-1 has open batches, but the configuration's teacher is `rules`" in refused.err
        assert "cancelled" in drp("batches", config, "--cancel", "--set", f"judge.{teacher_at(server)}").out


def test_cancel_keeps_what_was_done_and_the_rerun_asks_only_for_the_rest(
    drp: Callable[..., Ended], config: Path, tmp_path: Path
) -> None:
    with LoopbackServer(competent.answer, plans=[BatchPlan(n_polls=10**6, n_done=5)]) as server:
        interrupt_decompose(config, server, teacher_at(server))
        cancelled = drp("batches", config, "--cancel", "--set", teacher_at(server, "direct"))
        assert cancelled.status == 0
        assert "5 replies stored" in cancelled.err
        assert "cancelled" in cancelled.out
        assert "settled" in cancelled.out
        reply, *_ = read_lines(tmp_path / "run" / "replies.jsonl")
        usage: dict[str, Any] = reply["usage"]
        assert usage["cost_usd"] == pytest.approx((usage["input_tokens"] * 2 + usage["output_tokens"] * 8) / 2e6)
        assert reply["stage"] == "decompose"
        assert drp("decompose", config, "--set", teacher_at(server)).status == 0
        assert server.batches.sizes == [12, 7]
    assert len(read_lines(tmp_path / "run" / "steps.jsonl")) == N_TRACES


def test_cancel_removes_a_batch_that_the_provider_has_forgotten(
    drp: Callable[..., Ended], config: Path, tmp_path: Path
) -> None:
    with LoopbackServer(competent.answer, plans=[BatchPlan(n_polls=10**6)]) as server:
        interrupt_decompose(config, server, teacher_at(server))
        server.batches.by_id.clear()
        ended = drp("decompose", config, "--set", teacher_at(server))
        assert ended.status == 2
        assert "does not know the batch batch_0" in ended.err
        assert "--cancel" in ended.err
        assert drp("batches", config, "--cancel", "--set", teacher_at(server)).status == 0
        assert [batch.status for batch in read_journal(tmp_path / "run" / "replies.jsonl")] == ["lost"]
        assert drp("decompose", config, "--set", teacher_at(server)).status == 0


def test_the_cost_cap_ends_a_stage_with_everything_kept(
    drp: Callable[..., Ended], config: Path, tmp_path: Path
) -> None:
    with LoopbackServer(competent.answer) as server:
        capped = ["--set", "teacher.max_cost_usd=0.008", "--set", "teacher.max_output_tokens=4000"]
        ended = drp("decompose", config, "--set", teacher_at(server), *capped)
        assert ended.status == 2
        assert "teacher.max_cost_usd is 0.008" in ended.err
        assert ended.err.count("later batches follow") == 1
        n_kept = len(read_lines(tmp_path / "run" / "replies.jsonl"))
        assert 1 <= n_kept == server.n_completed < N_TRACES
        assert drp("decompose", config, "--set", teacher_at(server), *capped[2:]).status == 0
        assert set(server.batches.sent.values()) == {1}


@pytest.mark.parametrize("provider", ["gemini", "rules"])
def test_other_providers_have_no_batch_mode(drp: Callable[..., Ended], config: Path, provider: str) -> None:
    ended = drp("decompose", config, "--set", f"teacher={{provider: {provider}, model: m, mode: batch}}")
    assert ended.status == 2
    assert f"teacher.mode `batch` needs teacher.provider `openai`, got `{provider}`" in ended.err


def test_a_run_without_batches_says_so(drp: Callable[..., Ended], config: Path) -> None:
    ended = drp("batches", config)
    assert ended.status == 0
    assert "no batches" in ended.out
