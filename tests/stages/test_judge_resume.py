"""`drp judge` killed in the middle, and over texts that would not fit into memory."""

import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from drp.stages.judge import DecompositionPair, read_pairs
from tests.conftest import REPOSITORY, THINKING, read_lines
from tests.loopback import LoopbackServer
from tests.stages.judging import ORDERS, cut, paragraphs, prefer_fewer, sentences


def test_killed_and_run_again_it_pays_nothing_twice(tmp_path: Path, write_lines: Callable[..., Path]) -> None:
    n, in_flight, verdicts = 60, 4, tmp_path / "fine" / "judge" / "plain.jsonl"
    config = tmp_path / "config.yaml"
    config.write_text(f"run_dir: {tmp_path}/fine\nmax_failures: 0\nstudent: {{model: m}}\n")
    write_lines("fine/steps.jsonl", *map(paragraphs, range(n)))
    write_lines("plain/steps.jsonl", *map(sentences, range(n)))
    with LoopbackServer(prefer_fewer, latency_s=0.03) as server:
        teacher = f"{{provider: openai, model: judge-1, base_url: '{server.openai_url}', concurrency: {in_flight}}}"
        command = [sys.executable, "-m", "drp", "judge", str(config), str(tmp_path / "plain")]
        command += ["--set", f"judge.teacher={teacher}"]
        child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while server.n_completed < 40 and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        child.kill()
        child.wait()
        time.sleep(0.2)  # what the server still had in its hands
        n_before = len(read_lines_that_are_whole(verdicts))
        assert 0 < n_before < n
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
        asked = Counter(str(request.question.messages) for request in server.requests)
    assert len(asked) == ORDERS * n
    assert asked.total() - ORDERS * n <= in_flight, "only what was in flight at the kill is asked again"
    records = read_lines(verdicts)
    assert sorted(record["id"] for record in records) == sorted(f"p-{number}#0" for number in range(n))
    assert {record["winner"] for record in records} == {"a"}


def read_lines_that_are_whole(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def test_memory_does_not_grow_with_the_texts(write_lines: Callable[..., Path]) -> None:
    long = THINKING * 1000
    ours = write_lines("a.jsonl", *(paragraphs(n, thinking=long, steps=cut(long, "\n\n")[:3]) for n in range(60)))
    theirs = write_lines("b.jsonl", *(sentences(n, thinking=long, steps=cut(long, ".")[:3]) for n in range(60)))
    assert ours.stat().st_size > 10_000_000
    tracemalloc.start()
    n_pairs = sum(isinstance(pair, DecompositionPair) for pair in read_pairs(ours, theirs))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_pairs == 60
    assert peak < 5_000_000
