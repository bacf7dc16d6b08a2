"""The check of a machine with a GPU, with small sizes on a CPU: all that needs no GPU works, and the rest says so."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import REPOSITORY


def check(*arguments: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Results by check, and the last line."""
    command = [sys.executable, "scripts/check/gpu.py", "--cpu", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    *rows, last = done.stdout.strip().splitlines()
    summary = json.loads(last)
    assert done.returncode == (1 if summary["failed"] else 0), done.stderr
    return {row[:31].strip(): row[31:40].strip() for row in rows}, summary


def test_what_needs_a_gpu_is_not_run_without_one() -> None:
    results, summary = check("--only", "environment", "attention")
    assert results.pop("environment") == "ok"
    assert results.pop("attention 28/4 bfloat16") == "not run"
    assert set(results.values()) == {"not run"}
    assert sorted(summary["not_run"]) == sorted([*results, "attention 28/4 bfloat16"])


@pytest.mark.slow
def test_trainings_work_with_small_sizes() -> None:
    results, summary = check("--only", "layouts", "tiny", "wide", "stop", "merged")
    assert summary["failed"] == []
    for name in ("layouts wide", "train wide lora checkpointed", "train tiny full", "stop and resume"):
        assert results[name] == "ok"
    assert results["train wide lora liger"] == "not run"
    assert summary["figures"]["train tiny lora"]["tokens_per_s"] > 0


@pytest.mark.slow
@pytest.mark.vllm
def test_the_engine_is_checked_without_a_gpu() -> None:
    results, summary = check("--only", "stop", "engine", "kill")
    assert summary["failed"] == []
    for name in ("engine seeds", "engine second model", "engine adapter", "kill leaves no process"):
        assert results[name] == "ok"
    assert results["engine memory after closing"] == "not run"
