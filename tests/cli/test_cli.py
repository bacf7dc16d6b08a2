"""What a user sees when something is wrong: one message that names the place and the fix, and the exit status."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drp.cli import PIPELINE
from tests.conftest import REPOSITORY, THINKING, Ended, read_lines, trace


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"run_dir: {tmp_path}/run\nstudent: {{model: {tmp_path}/no-model}}\n")
    return path


@pytest.mark.parametrize("verb", [*PIPELINE, "run", "import", "judge", "estimate", "batches", "view", "doctor"])
def test_every_verb_has_help(drp: Callable[..., Ended], verb: str) -> None:
    ended = drp(verb, "--help")
    assert ended.status == 0
    assert "Usage" in ended.out


def test_doctor_names_a_missing_key_and_how_to_set_it(
    drp: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", "secret")
    lines = {line.split()[0]: line for line in drp("doctor").out.splitlines()}
    assert "export OPENAI_API_KEY=" in lines["openai"]
    assert "GEMINI_API_KEY is set" in lines["gemini"]
    assert "secret" not in lines["gemini"]
    assert lines["python"].endswith("ok")


def test_a_typo_in_the_configuration(drp: Callable[..., Ended], config: Path) -> None:
    ended = drp("decompose", config, "--set", "teacher.provder=rules")
    assert ended.status == 2
    assert "unknown key `teacher.provder`; did you mean `provider`?" in ended.err


@pytest.mark.parametrize("verb", ["decompose", "prune", "train"])
def test_a_missing_input(drp: Callable[..., Ended], config: Path, verb: str) -> None:
    ended = drp(verb, config)
    assert ended.status == 2
    assert "is missing; run" in ended.err


def test_a_dry_run_of_everything_says_what_would_wait(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "drp", "run", "configs/demo.yaml", "--dry-run", "--set", f"run_dir={tmp_path}/run"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "problems would work on 1200 records" in done.stdout
    assert f"decompose would wait for {tmp_path}/run/traces.jsonl" in done.stdout
    assert f"train would wait for {tmp_path}/run/pruned.jsonl" in done.stdout
    assert not (tmp_path / "run").exists()


def test_no_problems_to_sample(drp: Callable[..., Ended], config: Path) -> None:
    ended = drp("generate", config)
    assert ended.status == 2
    assert "`generate.problems` is empty" in ended.err


def test_an_unknown_model(drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path]) -> None:
    problems = write_lines("p.jsonl", {"id": "p-0", "question": "1+1?", "answer": "2", "source": "t"})
    ended = drp("generate", config, "--input", problems)
    assert ended.status == 2
    assert "no-model" in ended.err


def test_traces_with_every_defect_are_each_accounted_for(
    drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path]
) -> None:
    whole = json.dumps(trace(id="last#0"))
    source = write_lines(
        "traces.jsonl",
        trace(),
        trace(id="no-question#0", question=""),
        {key: value for key, value in trace(id="lacks-question#0").items() if key != "question"},
        trace(id="empty#0", thinking="  ", response="</think>12"),
        trace(id="open#0", response=THINKING, summary="", predicted=None, correct=False),
        trace(id="wrong#0", correct=False, predicted="13"),
        trace(id="ungraded#0", correct=None),
        trace(),
        whole[: len(whole) // 2],
    )
    ended = drp("decompose", config, "--input", source)
    assert ended.status == 1
    assert (
        "read 9 = written 1 + filtered 4 (answer not graded 1, answer wrong 1, empty thinking 1, thinking not closed 1)"
        " + failed 4"
    ) in ended.out
    failures = read_lines(config.with_name("run") / "steps.failed.jsonl")
    assert [failure["id"] for failure in failures] == ["traces.jsonl:2", "traces.jsonl:3", "p-0#0", "traces.jsonl:9"]


def test_a_missing_key_is_named(
    drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    source = write_lines("traces.jsonl", trace())
    ended = drp("decompose", config, "--input", source, "--set", "teacher={provider: openai, model: gpt-4o}")
    assert ended.status == 2
    assert "OPENAI_API_KEY" in ended.err


def test_a_folder_that_cannot_be_made(
    drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("a file stands here")
    ended = drp("decompose", config, "--input", write_lines("traces.jsonl", trace()))
    assert ended.status == 2
    assert "expected a folder, got a file" in ended.err


def test_a_trace_that_is_concise_already_is_left_out_and_counted(
    drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path]
) -> None:
    thinking, summary = "I need to find how many apples Ann has.\n\nSo 3 * 4 = 12 apples.", "The answer is \\boxed{12}."
    concise = trace(thinking=thinking, summary=summary, response=f"{thinking}\n</think>\n\n{summary}")
    student = f"student.model={REPOSITORY}/data/tiny/model"
    assert drp("decompose", config, "--input", write_lines("traces.jsonl", concise)).status == 0
    ended = drp("prune", config, "--set", student)
    assert ended.status == 0
    assert "filtered 1 (nothing to prune 1) + failed 0" in ended.out


def test_a_stale_artifact(drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path]) -> None:
    source = write_lines("traces.jsonl", trace())
    assert drp("decompose", config, "--input", source).status == 0
    ended = drp("decompose", config, "--input", source, "--set", "decompose.method=sentence")
    assert ended.status == 2
    assert 'decompose.method: "skill" -> "sentence"' in ended.err
    assert drp("decompose", config, "--input", source, "--set", "decompose.method=sentence", "--overwrite").status == 0


def test_results_go_to_stdout_and_progress_to_stderr(
    drp: Callable[..., Ended], config: Path, write_lines: Callable[..., Path], tmp_path: Path
) -> None:
    ended = drp("decompose", config, "--input", write_lines("traces.jsonl", trace()), "--output", tmp_path / "s.jsonl")
    assert ended.out.startswith("decompose: read 1 = written 1")
    assert ended.out.count("\n") == 1
    assert "rec/s" in ended.err
    [record] = read_lines(tmp_path / "s.jsonl")
    assert "".join(step["text"] for step in record["steps"]) == THINKING


RUN_A_VERB = """
import signal, sys
from drp.cli import _interrupt, pipeline
signal.signal(signal.SIGTERM, _interrupt)
pipeline._run_verb(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("program", "way"),
    [
        (["-m", "drp"], signal.SIGINT),
        (["-m", "drp"], signal.SIGTERM),
        # As `drp run` starts it, which alone receives the signal.
        (["-c", RUN_A_VERB], signal.SIGTERM),
    ],
    ids=["SIGINT", "SIGTERM", "SIGTERM of run"],
)
def test_an_interrupt_ends_with_130_and_keeps_what_is_finished(
    config: Path, write_lines: Callable[..., Path], tmp_path: Path, program: list[str], way: signal.Signals
) -> None:
    source = write_lines("traces.jsonl", *(trace(id=f"p-{n}#0", thinking=THINKING * 40) for n in range(3000)))
    command = [sys.executable, *program, "decompose", str(config), "--input", str(source)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    target = tmp_path / "run" / "steps.jsonl"
    while not target.exists() or target.stat().st_size == 0:
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(way)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "the same command resumes from there" in err
    assert "Traceback" not in err, err[-3000:]
    manifest = json.loads((tmp_path / "run" / "steps.jsonl.manifest.json").read_text())
    assert manifest["state"] == "interrupted"
    assert 0 < len(read_lines(target)) < 3000
