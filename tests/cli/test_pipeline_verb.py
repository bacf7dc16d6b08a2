"""`drp run`: what it asks before it pays, and what it runs once and what once per seed."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from drp.cli import pipeline
from drp.runs.manifest import load_manifest
from tests.conftest import REPOSITORY, Ended, read_lines
from tests.loopback import LoopbackServer
from tests.stages.teaching import make_trace
from tests.teachers import competent

PRICES = {"input": 2.5, "output": 10}
Drp = Callable[..., Ended]


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(competent.answer) as server:
        yield server


@pytest.fixture
def config(tmp_path: Path, server: LoopbackServer) -> Path:
    """A run of eight problems with a teacher that has a price."""
    questions = [{"question": make_trace(n)["question"], "answer": make_trace(n)["answer"]} for n in range(8)]
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps(question) + "\n" for question in questions))
    tree = {
        "run_dir": str(tmp_path / "run"),
        "student": {"model": str(REPOSITORY / "data" / "tiny" / "model")},
        "engine": {"backend": "transformers", "max_model_len": 1024},
        "generate": {"problems": [{"name": "apples", "path": str(problems)}]},
        "teacher": {"provider": "openai", "model": "m", "base_url": server.openai_url, "prices": PRICES},
    }
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(tree))
    return path


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that `drp run` would start; they are not started."""
    commands: list[list[str]] = []
    monkeypatch.setattr(pipeline, "_run_verb", lambda arguments: commands.append(list(arguments)))
    return commands


def test_a_paid_teacher_is_not_asked_before_somebody_agrees(drp: Drp, config: Path, verbs: list[list[str]]) -> None:
    ended = drp("run", config)
    assert ended.status == 2
    assert "decompose" in ended.out, "the estimate is shown"
    assert "Nothing is sent before you agree" in ended.err
    assert "--yes" in ended.err
    assert "teacher.max_cost_usd" in ended.err
    assert verbs == []


@pytest.mark.parametrize("agreement", [["--yes"], ["--set", "teacher.max_cost_usd=1"]])
def test_a_paid_teacher_is_asked_once_somebody_agrees(
    drp: Drp, config: Path, verbs: list[list[str]], agreement: list[str]
) -> None:
    ended = drp("run", config, *agreement)
    assert ended.status == 0
    assert "decompose" in ended.out, "the estimate is shown"
    assert [verb for verb, *_ in verbs] == ["generate", "decompose", "prune", "train", "eval", "report"]


@pytest.mark.parametrize(
    "teacher",
    [{"provider": "rules"}, {"prices": {"input": 0, "output": 0}}, {"prices": None}],
    ids=["offline", "free", "own-server-without-prices"],
)
def test_a_free_teacher_is_asked_at_once(
    drp: Drp, config: Path, verbs: list[list[str]], teacher: dict[str, Any]
) -> None:
    settings = [part for key, value in teacher.items() for part in ("--set", f"teacher.{key}={json.dumps(value)}")]
    assert drp("run", config, *settings).status == 0
    assert len(verbs) == len(pipeline.PIPELINE)


def test_a_provider_whose_price_is_unknown_is_not_asked_before_somebody_agrees(
    drp: Drp, config: Path, verbs: list[list[str]]
) -> None:
    own = ["--set", "teacher.base_url=null", "--set", "teacher.prices=null", "--set", "teacher.model=gpt-unheard-of"]
    ended = drp("run", config, *own)
    assert (ended.status, verbs) == (2, [])
    assert "an unknown amount" in ended.err


def test_a_dry_run_needs_no_agreement(drp: Drp, config: Path, verbs: list[list[str]]) -> None:
    assert drp("run", config, "--dry-run").status == 0
    assert all("--dry-run" in command for command in verbs)


@pytest.mark.parametrize("seeds", ["", "1,1", "1;2", "one"])
def test_seeds_that_are_no_different_numbers_are_refused(drp: Drp, config: Path, seeds: str) -> None:
    ended = drp("run", config, "--yes", "--seeds", seeds)
    assert ended.status == 2
    assert "such as 1,2,3" in ended.err


def test_seeds_share_the_stages_up_to_prune(drp: Drp, config: Path, verbs: list[list[str]], tmp_path: Path) -> None:
    assert drp("run", config, "--yes", "--seeds", "1,2").status == 0
    where = [next((part for part in command if "run_dir=" in part), None) for command in verbs]
    first, second = (f'run_dir="{tmp_path}/run-seed-{seed}"' for seed in (1, 2))
    assert where == [None] * 3 + [first] * 6 + [second] * 6 + [None]
    assert verbs[-1] == [
        "report",
        f"{tmp_path}/run-seed-1",
        f"{tmp_path}/run-seed-2",
        "--output",
        f"{tmp_path}/run/report",
    ]
    assert f'reuse="{tmp_path}/run"' in verbs[3]
    assert {"seed=1", "generate.seed=0"} <= set(verbs[3])
    assert {"seed=2", "generate.seed=0"} <= set(verbs[-2])


DEMO = (
    *(
        "engine.backend=transformers",
        "train.epochs=1",
        "train.max_samples=24",
        "eval.sampling.n=1",
        "train.batch_size=4",
    ),
    *("eval.benchmarks=[{name: tiny-test, path: data/tiny/test.jsonl, limit: 8}]", "eval.sampling.max_new_tokens=100"),
    *("generate.problems=[{name: tiny-train, path: data/tiny/train.jsonl, limit: 40}]", "grading.workers=1"),
)


def run_demo(folder: Path, *arguments: str, **settings: Any) -> None:
    own = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    changes = [part for override in (*DEMO, f"run_dir={folder}", *own) for part in ("--set", override)]
    command = [sys.executable, "-m", "drp", "run", "configs/demo.yaml", *changes, *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_paid_run_buys_as_many_prunings_as_training_draws_and_a_second_run_buys_none(tmp_path: Path) -> None:
    def answer(messages: Sequence[tuple[str, str]]) -> str:
        """A fifth of all prompts has no useful reply, however often it is asked."""
        is_refused = hashlib.sha256(messages[0][1].encode()).digest()[0] % 5 == 0
        return "I have looked at this, and it is fine as it is." if is_refused else competent.answer(messages)

    with LoopbackServer(answer) as server:
        settings = {"provider": "openai", "model": "m", "base_url": server.openai_url, "prices": PRICES}
        teacher = {"teacher": json.dumps(settings), "max_failures": 0.5}
        run_demo(tmp_path, "--yes", **teacher, train__max_samples=15)
        counts = {name: load_manifest(tmp_path / f"{name}.jsonl").counts for name in ("steps", "pruned")}  # type: ignore[union-attr]
        assert counts["pruned"].written == len(read_lines(tmp_path / "train" / "sft.jsonl")) == 15
        assert counts["steps"].failed + counts["pruned"].failed > 0, "something was refused"
        assert counts["steps"].written == 15 + counts["pruned"].failed + counts["pruned"].filtered.total()
        assert counts["steps"].filtered["not drawn for training"] > 0
        n_requests = len(server.requests)
        run_demo(tmp_path, **teacher, train__max_samples=15)  # there is nothing left to agree to
        assert len(server.requests) == n_requests


def find_start(artifact: Path) -> str:
    """When the first run of its stage started, wherever that was."""
    manifest = load_manifest(artifact)
    assert manifest is not None
    return manifest.started


@pytest.mark.slow
def test_seeds_and_ablations_make_again_only_what_differs(tmp_path: Path) -> None:
    run_demo(tmp_path / "main", "--seeds", "1,2")
    main, first, second = tmp_path / "main", tmp_path / "main-seed-1", tmp_path / "main-seed-2"
    shared = [f"{name}.jsonl" for name in ("problems", "traces", "steps", "pruned")]
    for name in shared:
        assert (first / name).read_bytes() == (second / name).read_bytes() == (main / name).read_bytes()
    assert not (main / "train").exists()
    assert (first / "train" / "log.jsonl").read_bytes() != (second / "train" / "log.jsonl").read_bytes()
    assert len(read_lines(first / "train" / "sft.jsonl")) == 24
    assert (main / "report" / "index.html").exists()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    run_demo(tmp_path / "main", "--seeds", "1,2")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")} == before, "the second run does nothing"

    # An ablation of the run with seed 1: other steps, so another training; the same traces and the same base.
    run_demo(tmp_path / "other", reuse=first, seed=1, generate__seed=0, decompose__method="sentence")
    other = tmp_path / "other"
    for name in ("problems.jsonl", "traces.jsonl", "benchmarks/tiny-test.jsonl", "eval/base/tiny-test.jsonl"):
        assert (other / name).read_bytes() == (first / name).read_bytes()
        assert find_start(other / name) == find_start(first / name)
    for name in ("steps.jsonl", "pruned.jsonl", "train", "eval/drp/tiny-test.jsonl"):
        assert find_start(other / name) > find_start(first / name)
