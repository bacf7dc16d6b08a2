"""The stages one after the other, as a user runs them: with an LLM teacher over HTTP, and killed at random moments."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, THINKING, Ended, read_lines, trace
from tests.loopback import LoopbackServer
from tests.teachers import competent

STUDENT = REPOSITORY / "data" / "tiny" / "model"
LONG_SUMMARY = "Let me say it all again: Ann has 3 bags of 4 apples, 3 x 4 = 12. So the answer is \\boxed{12}."
VERBOSE = (
    "Okay, so I need to find how many apples Ann has. She has 3 bags. Each bag has 4 apples.\n\n"
    "First, I need to find the apples in all the bags. That is 3 x 4 = 12 apples.\n\n"
    "Hmm, let me think about whether that is right. Wait, let me double-check: 3 x 4 = 12. Yes.\n\n"
    "So Ann has 12 apples."
)


def make_traces(n: int) -> list[dict[str, Any]]:
    texts = [THINKING, VERBOSE]
    return [
        trace(
            id=f"p-{number}#0",
            problem_id=f"p-{number}",
            thinking=texts[number % 2],
            summary=LONG_SUMMARY,
            response=f"{texts[number % 2]}\n</think>\n\n{LONG_SUMMARY}",
        )
        for number in range(n)
    ]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"run_dir: {tmp_path}/run\nmax_failures: 0\nstudent: {{model: {STUDENT}}}\n")
    return path


@pytest.mark.parametrize("format", ["text", "spans"])
@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_an_llm_teacher_makes_the_artifacts_that_the_rules_make(
    drp: Callable[..., Ended],
    config: Path,
    write_lines: Callable[..., Path],
    tmp_path: Path,
    provider: str,
    format: str,
) -> None:
    source = write_lines("traces.jsonl", *make_traces(12))
    with LoopbackServer(answer=competent.answer) as server:
        url = server.openai_url if provider == "openai" else server.gemini_url
        teacher = f"teacher={{provider: {provider}, model: judge-1, base_url: '{url}', format: {format}}}"
        assert drp("decompose", config, "--input", source, "--set", teacher).status == 0
        assert drp("prune", config, "--set", teacher).status == 0
        asked = len(server.requests)
        assert drp("prune", config, "--set", teacher, "--overwrite").status == 0
        assert len(server.requests) == asked, "a stored reply was paid for again"
    llm = read_lines(tmp_path / "run" / "pruned.jsonl")
    assert drp("decompose", config, "--input", source, "--set", f"run_dir={tmp_path}/rules").status == 0
    assert drp("prune", config, "--set", f"run_dir={tmp_path}/rules").status == 0
    rules = read_lines(tmp_path / "rules" / "pruned.jsonl")
    assert sorted(record["id"] for record in llm) == sorted(record["id"] for record in rules)
    assert {frozenset(record) for record in llm + rules} == {frozenset(rules[0])}
    assert {edit["action"] for record in llm for edit in record["edits"]} == {"keep", "delete", "rewrite", "merge"}
    for record in llm:
        assert "".join(step["text"] for step in record["steps"]) == record["thinking"]
        assert "12" in record["pruned_summary"]
        assert len(record["pruned_response"]) < len(record["response"])
        assert record["teacher"] == "judge-1"
        assert record["usage"]["calls"] > 0


def kill_and_rerun(arguments: list[str], target: Path, n_kills: int) -> None:
    """Kill a stage with SIGKILL at random moments after it has begun to write, then let it finish."""
    draw, command = random.Random(7), [sys.executable, "-m", "drp", *arguments]
    for _ in range(n_kills):
        before = _size(target)
        child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while _size(target) == before and child.poll() is None:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.3))
        child.kill()
        child.wait()
    manifest = json.loads(target.with_name(f"{target.name}.manifest.json").read_text())
    assert manifest["state"] == "running", "it was done before the last kill; give it more records"
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def sorted_lines(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines(), key=lambda line: str(json.loads(line)["id"]))


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "n"), [("decompose", 6000), ("prune", 2000)])
def test_a_teacher_stage_killed_five_times_ends_with_the_same_bytes(
    drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path], tmp_path: Path, verb: str, n: int
) -> None:
    source, whole = write_lines("traces.jsonl", *make_traces(n)), tmp_path / "whole.jsonl"
    target = tmp_path / "run" / ("steps.jsonl" if verb == "decompose" else "pruned.jsonl")
    if verb == "prune":
        assert drp("decompose", config, "--input", source).status == 0
        source = tmp_path / "run" / "steps.jsonl"
    kill_and_rerun([verb, str(config), "--input", str(source)], target, n_kills=5)
    assert drp(verb, config, "--input", source, "--output", whole).status == 0
    assert sorted_lines(target) == sorted_lines(whole)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["generate", "eval"])
def test_a_sampling_stage_killed_five_times_ends_with_the_same_records(
    drp: Callable[..., Ended], config: Path, tmp_path: Path, verb: str
) -> None:
    # Greedy, in float32: the responses of an interrupted run are then those of a whole one.
    problems = f"[{{name: tiny-test, path: {REPOSITORY}/data/tiny/test.jsonl, limit: 48}}]"
    config.write_text(
        config.read_text()
        + "engine: {backend: transformers, dtype: float32, batch_size: 4}\n"
        + f"generate: {{problems: {problems}, sampling: {{temperature: 0, max_new_tokens: 40}}}}\n"
        + f"eval: {{benchmarks: {problems}, models: {{base: {{model: {STUDENT}}}}}, "
        + "sampling: {temperature: 0, max_new_tokens: 40}}\n"
    )
    name = "traces.jsonl" if verb == "generate" else "eval/base/tiny-test.jsonl"
    kill_and_rerun([verb, str(config)], tmp_path / "run" / name, n_kills=5)
    assert drp(verb, config, "--set", f"run_dir={tmp_path}/whole").status == 0
    killed, whole = sorted_lines(tmp_path / "run" / name), sorted_lines(tmp_path / "whole" / name)
    assert [json.loads(line)["id"] for line in killed] == [json.loads(line)["id"] for line in whole]
    assert killed == whole
