"""`drp eval --regrade`: verdicts are brought up to date, responses stay as they are."""

import json
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, Ended, read_lines


def sample(id: str, said: str, gold: str, predicted: str | None, correct: bool | None, **more: Any) -> dict[str, Any]:
    record = {"id": id, "question": "q", "answer": gold, "response": f"Hm.</think>So \\boxed{{{said}}}."}
    record |= {"predicted": predicted, "correct": correct, "n_tokens": 9, "n_thinking_tokens": 2}
    return {**record, "finish_reason": "stop", **more}


RIGHT = sample("a#0", "18", "18", "18", True, note="kept")
STALE = sample("b#0", r"\frac{2}{4}", "0.5", r"\frac{2}{4}", False)
UNREAD = sample("c#0", "1,200", "1200", None, None)
OTHERWISE = sample("d#0", "7", "7", "7.", True)
CUT_OFF = sample("e#0", "7", "7", "7", True, response="It is \\boxed{7}, or not", finish_reason="length")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"run_dir: {tmp_path}/run\nstudent: {{model: {tmp_path}/no-model}}\n"
        "engine: {backend: vllm, max_model_len: 77}\neval: {benchmarks: [{name: toy}, {name: not-sampled-yet}]}\n"
    )
    return path


@pytest.fixture
def stored(write_lines: Callable[..., Path]) -> Path:
    """A benchmark of the base with every kind of change, and its manifest."""
    write_lines(
        "run/eval/base/toy.jsonl.manifest.json",
        {"stage": "eval base toy", "state": "complete", "fingerprint": {"seed": 0}, "inputs": {}}
        | {"versions": {"torch": "1", "math-verify": "0.1"}},
    )
    return write_lines("run/eval/base/toy.jsonl", RIGHT, STALE, UNREAD, OTHERWISE, CUT_OFF)


def verdicts(path: Path) -> list[tuple[str | None, bool | None]]:
    return [(record["predicted"], record["correct"]) for record in read_lines(path)]


NEW = [("18", True), (r"\frac{2}{4}", True), ("1,200", True), ("7", True), (None, False)]


def test_verdicts_summary_and_manifest_follow_the_present_grader(
    drp: Callable[..., Ended], config: Path, stored: Path
) -> None:
    before = stored.read_bytes().splitlines()
    ended = drp("eval", config, "--regrade")
    assert ended.status == 0
    assert verdicts(stored) == NEW
    assert stored.read_bytes().splitlines()[0] == before[0], "what did not change was written anew"
    for old, new in zip(map(json.loads, before), read_lines(stored), strict=True):
        assert {**old, "predicted": None, "correct": None} == {**new, "predicted": None, "correct": None}
    score = json.loads((stored.parent / "summary.json").read_text())["toy"]["none"]
    assert (score["n"], score["accuracy"], score["ungraded"]) == (5, 0.8, 0)
    manifest = json.loads(stored.with_name("toy.jsonl.manifest.json").read_text())
    assert manifest["versions"]["torch"] == "1", "the responses are still those of the old engine"
    assert manifest["versions"]["math-verify"] != "0.1"
    assert manifest["state"] == "complete"


def test_changes_are_counted_and_the_first_ten_listed(
    drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path]
) -> None:
    stale = [sample(f"p{n}#0", "5", "5", "5", False) for n in range(12)]
    write_lines("run/eval/base/toy.jsonl", *stale, OTHERWISE, CUT_OFF)
    out = drp("eval", config, "--regrade").out
    assert "14 graded again, 13 verdicts changed (wrong to right 12, right to wrong 1), 1 answer read otherwise" in out
    assert out.count(": wrong -> right, ") + out.count(": right -> wrong, ") == 10
    assert "and 3 more" in out
    assert "0 verdicts changed, 0 answers read otherwise" in drp("eval", config, "--regrade").out


def test_what_a_model_wrote_does_not_reach_the_terminal_as_a_command(
    drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path]
) -> None:
    write_lines("run/eval/base/toy.jsonl", sample("a#0", "\x1b[31m5\x1b[0m\n", "6", "6", True))
    out = drp("eval", config, "--regrade").out
    assert 'a#0: right -> wrong, "5' in out
    assert "\x1b" not in out


def test_a_dry_run_tells_the_changes_and_writes_nothing(drp: Callable[..., Ended], config: Path, stored: Path) -> None:
    before = {path: path.read_bytes() for path in stored.parent.iterdir()}
    ended = drp("eval", config, "--regrade", "--dry-run")
    assert "nothing written; 5 graded again, 3 verdicts changed" in ended.out
    assert 'b#0: wrong -> right, "\\frac{2}{4}" against "0.5"' in ended.out
    assert {path: path.read_bytes() for path in stored.parent.iterdir()} == before


def test_a_limit_leaves_the_rest_as_it_is(drp: Callable[..., Ended], config: Path, stored: Path) -> None:
    assert "2 graded again" in drp("eval", config, "--regrade", "--limit", 2).out
    assert verdicts(stored)[:2] == NEW[:2]
    assert verdicts(stored)[2:] == [(None, None), ("7.", True), ("7", True)]
    assert '"math-verify": "0.1"' in stored.with_name("toy.jsonl.manifest.json").read_text()


def test_a_torn_last_line_is_left_out_and_any_other_bad_line_is_named(
    drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path]
) -> None:
    path = write_lines("run/eval/base/toy.jsonl", STALE, '{"id": "torn')
    assert drp("eval", config, "--regrade").status == 0
    assert verdicts(path) == [NEW[1]]
    broken = write_lines("run/eval/base/toy.jsonl", STALE, "{}\n", RIGHT).read_bytes()
    ended = drp("eval", config, "--regrade")
    assert ended.status == 2
    assert f"{path}:2: field `id`" in ended.err
    assert path.read_bytes() == broken


def test_nothing_to_grade_and_contradicting_options_are_the_users_mistakes(
    drp: Callable[..., Ended], config: Path, stored: Path, tmp_path: Path
) -> None:
    nowhere = drp("eval", config, "--regrade", "--output", tmp_path / "nowhere")
    assert (nowhere.status, "run `drp eval` first" in nowhere.err) == (2, True)
    both = drp("eval", config, "--regrade", "--overwrite")
    assert (both.status, "leave out --overwrite" in both.err) == (2, True)
    assert verdicts(stored)[1] == (r"\frac{2}{4}", False)


def test_no_model_library_is_loaded(config: Path, stored: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from drp.cli import main

        if __name__ == "__main__":
            try:
                main()
            finally:
                print(sorted({"torch", "transformers", "vllm", "datasets"} & set(sys.modules)))
        """
    )
    script = config.with_name("program.py")
    script.write_text(program)
    command = [sys.executable, str(script), "eval", str(config), "--regrade"]
    done = subprocess.run(command, cwd=REPOSITORY, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"[]"
    assert verdicts(stored) == NEW


@pytest.mark.slow
def test_a_kill_leaves_the_old_file_or_the_new_one(
    drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_lines("run/eval/base/toy.jsonl", *(sample(f"p{n}#0", "5", "5", "5", False) for n in range(20_000)))
    old = path.read_bytes()
    assert drp("eval", config, "--regrade").status == 0
    new = path.read_bytes()
    assert old != new
    draw = random.Random(3)
    for _ in range(4):
        path.write_bytes(old)
        command = [sys.executable, "-m", "drp", "eval", str(config), "--regrade"]
        child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list(path.parent.glob(".toy.jsonl.*")) and child.poll() is None:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.2))
        child.kill()
        child.wait()
        assert path.read_bytes() in (old, new)
        for draft in path.parent.glob(".toy.jsonl.*"):
            draft.unlink()
    assert drp("eval", config, "--regrade").status == 0
    assert path.read_bytes() == new
