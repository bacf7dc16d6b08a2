"""What `decompose` and `prune` pay, what they say failed, and how stored replies are read again for nothing."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drp.runs.manifest import Manifest, load_manifest
from drp.teachers.llm import spans
from tests.conftest import REPOSITORY, Ended, read_lines, trace
from tests.loopback import LoopbackServer
from tests.loopback.faults import CONTENT_FILTER, TOO_LONG
from tests.teachers import competent

Drp = Callable[..., Ended]
THINKING = (
    "Okay, so I need to find how many apples Ann has. She has 3 bags. Each bag has 4 apples.\n\n"
    "First, that is 3 x 4 = 12 apples.\n\nWait, let me double-check: 3 x 4 = 12. Yes.\n\nSo Ann has 12 apples."
)


@pytest.fixture
def config(tmp_path: Path, write_lines: Callable[..., Path]) -> Path:
    write_lines("run/traces.jsonl", *(trace(id=f"p-{n}#0", thinking=f"{n} it is. {THINKING}") for n in range(4)))
    path = tmp_path / "config.yaml"
    student = REPOSITORY / "data" / "tiny" / "model"
    path.write_text(
        f"run_dir: {tmp_path}/run\nmax_failures: 99\nstudent: {{model: {student}}}\n"
        "teacher: {provider: openai, model: judge-1, format: spans, prices: {input: 1000000, output: 0}}\n"
    )
    return path


def at(server: LoopbackServer) -> tuple[str, str]:
    return "--set", f"teacher.base_url={server.openai_url}"


def manifest_of(config: Path, name: str) -> Manifest:
    manifest = load_manifest(config.parent / "run" / name)
    assert manifest is not None
    return manifest


def stored(config: Path) -> list[dict[str, Any]]:
    return read_lines(config.parent / "run" / "replies.jsonl")


def nonsense_for(number: int) -> Callable[[list[tuple[str, str]]], str]:
    """A competent teacher that never understands one of the records."""

    def answer(messages: list[tuple[str, str]]) -> str:
        return "I would rather not." if f"{number} it is." in messages[0][1] else competent.answer(messages)

    return answer


def test_money_spent_on_failed_records_is_counted_and_stored_replies_are_not(drp: Drp, config: Path) -> None:
    with LoopbackServer(nonsense_for(2)) as server:
        assert drp("decompose", config, *at(server)).status == 0
        manifest = manifest_of(config, "steps.jsonl")
        assert manifest.usage is not None
        assert manifest.paid is not None
        assert (manifest.usage.calls, manifest.paid.calls) == (3, 6)
        assert manifest.paid.cost_usd == pytest.approx(sum(reply["usage"]["cost_usd"] for reply in stored(config)))
        ended = drp("decompose", config, *at(server))
        assert "spent=$" in ended.err
        assert manifest_of(config, "steps.jsonl").paid == manifest.paid, "a stored reply was counted twice"
        assert drp("prune", config, *at(server)).status == 0
    pruning = manifest_of(config, "pruned.jsonl")
    assert pruning.paid is not None
    assert pruning.paid.calls == len(stored(config)) - 6 == 3


def test_what_a_killed_run_paid_is_counted(drp: Drp, config: Path) -> None:
    with LoopbackServer(competent.answer) as server:
        assert drp("decompose", config, *at(server)).status == 0
        paid = manifest_of(config, "steps.jsonl").paid
        # As a kill -9 leaves it: replies on disk, no record written yet, a manifest that knows nothing of them.
        (config.parent / "run" / "steps.jsonl").unlink()
        (config.parent / "run" / "steps.jsonl.manifest.json").unlink()
        assert drp("decompose", config, *at(server)).status == 0
    assert manifest_of(config, "steps.jsonl").paid == paid


def test_an_unknown_price_is_unknown_in_bar_and_manifest(drp: Drp, config: Path) -> None:
    with LoopbackServer(competent.answer) as server:
        ended = drp("decompose", config, *at(server), "--set", "teacher.prices=null")
    assert "spent=unknown" in ended.err
    paid = manifest_of(config, "steps.jsonl").paid
    assert paid is not None
    assert (paid.calls, paid.cost_usd) == (4, None)


def test_a_stage_ends_with_its_failures_by_reason(drp: Drp, config: Path) -> None:
    with LoopbackServer(nonsense_for(3), faults=[TOO_LONG, CONTENT_FILTER]) as server:
        ended = drp("decompose", config, *at(server), "--set", "teacher.concurrency=1")
    assert re.search(r"decompose: 3 failed: .*; see ", ended.err)
    assert "replies to 2 of them were refused" in ended.err
    assert "run again to retry the other 1" in ended.err
    for reason in ("request refused 1", "withheld 1", "unreadable reply 1"):
        assert reason in ended.err
    failures = read_lines(config.parent / "run" / "steps.failed.jsonl")
    assert {failure["reason"] for failure in failures} == {"request refused", "withheld", "unreadable reply"}
    [nonsense] = [failure for failure in failures if failure["reason"] == "unreadable reply"]
    assert (nonsense["attempts"], nonsense["raw"]) == (3, "I would rather not.")


def test_replies_that_a_bug_refused_are_read_again_for_nothing(
    drp: Drp, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LoopbackServer(competent.answer) as server:
        with monkeypatch.context() as bug:
            bug.setattr(spans, "_check_ranges", lambda ranges, n_clauses: ["no step has clause 1"])
            assert "clauses left out or repeated 4" in drp("decompose", config, *at(server)).err
        n_asked, paid = len(server.requests), manifest_of(config, "steps.jsonl").paid
        assert n_asked == 4 * 3
        ended = drp("decompose", config, *at(server), "--reparse")
        assert ended.status == 0
        assert "read 4 = written 4" in ended.out
        assert len(server.requests) == n_asked, "a request was made"
    assert len(stored(config)) == n_asked
    assert manifest_of(config, "steps.jsonl").paid == paid
    assert read_lines(config.parent / "run" / "steps.failed.jsonl") == []


@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_reading_again_needs_neither_key_nor_server(
    drp: Drp, config: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    with LoopbackServer(competent.answer) as server:
        url = server.openai_url if provider == "openai" else server.gemini_url
        teacher = ("--set", f"teacher.provider={provider}", "--set", f"teacher.base_url={url}")
        variable = {"openai": "OPENAI_API_KEY", "gemini": "GEMINI_API_KEY"}[provider]
        monkeypatch.setenv("TEACHERS_KEY", "sk-loopback-0123456789")
        monkeypatch.delenv(variable, raising=False)
        teacher += ("--set", "teacher.api_key_env=TEACHERS_KEY")
        for verb in ("decompose", "prune"):
            assert drp(verb, config, *teacher).status == 0
        before = {name: (config.parent / "run" / name).read_text() for name in ("steps.jsonl", "pruned.jsonl")}
    monkeypatch.delenv("TEACHERS_KEY")
    for verb, name in (("decompose", "steps.jsonl"), ("prune", "pruned.jsonl")):
        assert drp(verb, config, *teacher, "--reparse").status == 0
        path = config.parent / "run" / name
        assert sorted(path.read_text().splitlines()) == sorted(before[name].splitlines())
        assert path.with_name(f"{name}.before").read_text() == before[name]


def test_a_record_without_a_stored_reply_is_left_with_a_reason(drp: Drp, config: Path) -> None:
    with LoopbackServer(competent.answer) as server:
        assert drp("decompose", config, *at(server), "--limit", 3).status == 0
        ended = drp("decompose", config, *at(server), "--reparse")
        assert "read 4 = written 3 + filtered 0 + failed 1" in ended.out
        assert "1 failed: no stored reply 1" in ended.err
        assert len(server.requests) == 3
        assert drp("decompose", config, *at(server)).status == 0
        assert len(server.requests) == 4, "the next run asks for what is missing, and for no more"


def test_an_artifact_is_not_given_up_for_an_empty_one(drp: Drp, config: Path) -> None:
    steps = config.parent / "run" / "steps.jsonl"
    with LoopbackServer(competent.answer) as server:
        assert drp("decompose", config, *at(server)).status == 0
        before = steps.read_text()
        ended = drp("decompose", config, *at(server), "--set", "teacher.model=judge-2", "--reparse")
        assert ended.status == 2
        assert "steps.jsonl: not replaced" in ended.err
        assert "(no stored reply 4)" in ended.err
        assert steps.read_text() == before
        assert "written 4" in drp("decompose", config, *at(server)).out


def test_an_artifact_survives_a_reading_that_is_interrupted(
    drp: Drp, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config.parent / "run"
    with LoopbackServer(competent.answer) as server:
        assert drp("decompose", config, *at(server)).status == 0
        before = {path.name: path.read_bytes() for path in run.glob("steps.*") if path.suffix != ".lock"}

        def interrupt(*_: object) -> list[str]:
            raise KeyboardInterrupt

        monkeypatch.setattr(spans, "_check_ranges", interrupt)
        assert drp("decompose", config, *at(server), "--reparse").status == 130
    assert {path.name: path.read_bytes() for path in run.glob("steps.*") if path.suffix != ".lock"} == before
    assert not [path for path in run.iterdir() if path.is_dir()]
    assert json.loads(before["steps.jsonl.manifest.json"])["state"] == "complete"
