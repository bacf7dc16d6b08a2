"""kill -9 at random moments of a storm: no stored reply is lost or asked again, and all ends as in one run."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drp.config.sections import Config
from tests.conftest import REPOSITORY
from tests.loopback import LoopbackServer, chance, faults
from tests.stages import mistakes, teaching

N_TRACES = 120
N_KILLS = {"decompose": 4, "prune": 2}
"""A process for pruning takes longer to start."""
PROGRAM = """
import sys
from pathlib import Path
from tests.stages import teaching
teaching.work(sys.argv[1], Path(sys.argv[2]))
"""
STRUCK = [
    faults.RATE_LIMIT.after(0.02),
    faults.SERVER_ERROR,
    faults.UNAVAILABLE,
    faults.RESET,
    faults.CUT,
    faults.EMPTY,
]


def start(verb: str, config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, verb, str(config)], cwd=REPOSITORY)


def kill_in_mid_run(verb: str, config: Path, server: LoopbackServer, wait_s: float) -> None:
    """Let it have some replies, and a moment more."""
    enough = server.n_completed + 8
    child = start(verb, config)
    while server.n_completed < enough and child.poll() is None:
        time.sleep(0.001)
    time.sleep(wait_s)
    child.kill()
    assert child.wait() == -9, "it had ended by itself"
    time.sleep(0.1)  # what the server still has in its hands


def storm(verb: str, config: Config, path: Path, server: LoopbackServer) -> None:
    """Kill a stage again and again, then let it end; each run asks only for what was not stored before it."""
    folder, draw = Path(config.run_dir), random.Random(verb)
    stored: set[str] = set()
    for kill in range(N_KILLS[verb] + 1):
        n_before = len(server.requests)
        if kill < N_KILLS[verb]:
            kill_in_mid_run(verb, path, server, draw.uniform(0, 0.05))
            assert teaching.read_manifest(folder, verb).state == "running"
        else:
            assert start(verb, path).wait(60) == 0
        asked = {teaching.hash_of(request, config) for request in server.requests[n_before:]}
        assert not asked & stored, "a stored reply was asked for again"
        now = {reply["id"] for reply in teaching.read_store(folder) if reply["finish_reason"] != "empty"}
        assert now > stored, "a stored reply was lost"
        stored = now


@pytest.mark.slow
@pytest.mark.parametrize(("provider", "form"), [("openai", "text"), ("gemini", "spans")])
def test_stages_killed_in_a_storm_end_as_if_they_had_not_been(tmp_path: Path, provider: str, form: str) -> None:
    answer = mistakes.make_mistakes(dict.fromkeys(mistakes.ALL, 0.04))
    with LoopbackServer(answer, latency_s=0.03) as server:
        whole = teaching.make_config(tmp_path / "whole", server, provider, form, concurrency=6)
        killed = teaching.make_config(tmp_path / "killed", server, provider, form, concurrency=6)
        path = tmp_path / "config.json"
        path.write_text(killed.model_dump_json())
        for config in (whole, killed):
            teaching.write_traces(Path(config.run_dir), N_TRACES)
        teaching.run_both(whole)
        server.pick = chance(dict.fromkeys(STRUCK, 0.04), seed=7)
        for verb in teaching.VERBS:
            storm(verb, killed, path, server)
            one, other = Path(whole.run_dir), Path(killed.run_dir)
            assert teaching.read_artifact(other, verb) == teaching.read_artifact(one, verb)
            assert teaching.read_failures(other, verb) == teaching.read_failures(one, verb)
        teaching.check_run(other, N_TRACES)
