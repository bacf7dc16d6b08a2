"""The teacher is asked about the traces that training draws, and about no others."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from drp.config.sections import Config
from drp.errors import ConfigError, TooManyFailures
from drp.runs.jsonl import read_records
from drp.runs.manifest import Counts, load_manifest
from drp.runs.rundir import RunDir
from drp.runs.stage import NOT_DRAWN, RunOptions
from drp.stages import decompose, prune
from drp.student.response import load_format
from drp.training.draw import UNCHANGED, draw_key
from drp.training.examples import TrainingRecord, select_examples
from tests.conftest import read_lines
from tests.loopback import LoopbackServer
from tests.stages.teaching import make_config, make_trace, read_artifact, write_traces
from tests.stages.test_storm_kill import kill_in_mid_run
from tests.teachers import competent

N_TRACES, N_WANTED = 40, 12
HOPELESS = range(0, N_TRACES, 4)
"""Traces about which a forgetful teacher has nothing useful to say."""

Answer = Callable[[Sequence[tuple[str, str]]], str]


def forgetful(messages: Sequence[tuple[str, str]], hopeless: Sequence[int] = HOPELESS) -> str:
    is_hopeless = any(make_trace(number)["question"] in messages[0][1] for number in hopeless)
    return "I have looked at this, and it is fine as it is." if is_hopeless else competent.answer(messages)


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(competent.answer) as server:
        yield server


def prepare(folder: Path, server: LoopbackServer, max_samples: int | None = N_WANTED, **train: Any) -> Config:
    """A run directory with its traces; `train` are settings of that section."""
    if not (folder / "traces.jsonl").exists():
        write_traces(folder, N_TRACES)
    config = make_config(folder, server, "openai", "spans", max_reasks=0)
    settings = config.train.model_copy(update={"max_samples": max_samples, **train})
    return config.model_copy(update={"train": settings})


def run_rounds(config: Config) -> int:
    """Decompose and prune as `drp run` does; returns the number of rounds."""
    n_rounds = 0
    while n_rounds == 0 or decompose.count_undecomposed(config, RunOptions()):
        decompose.run(config)
        prune.run(config)
        n_rounds += 1
    return n_rounds


def counts_of(path: Path) -> Counts:
    manifest = load_manifest(path)
    assert manifest is not None
    return manifest.counts


def train_on(config: Config, max_samples: int = N_WANTED) -> list[str]:
    """Ids of the examples that training draws, in order."""
    records = read_records(RunDir(config.run_dir).pruned, TrainingRecord)
    settings = config.train.model_copy(update={"max_samples": max_samples, "validation_split": 0.0})
    selection = select_examples(records, load_format(config.student), settings, config.seed)
    return [example.id for example in selection.train]


def asked_about(server: LoopbackServer) -> set[int]:
    """The traces whose question is in a request."""
    prompts = [request.question.messages[0][1] for request in server.requests]
    return {n for n in range(N_TRACES) if any(make_trace(n)["question"] in prompt for prompt in prompts)}


@pytest.mark.parametrize("answer", [competent.answer, forgetful], ids=["all-replies-accepted", "a-quarter-refused"])
def test_training_draws_the_same_examples_as_if_everything_had_been_bought(tmp_path: Path, answer: Answer) -> None:
    with LoopbackServer(answer) as server:
        everything = prepare(tmp_path / "all", server, None)
        run_rounds(everything)
        assert asked_about(server) == set(range(N_TRACES))
    with LoopbackServer(answer) as server:
        config = prepare(tmp_path / "drawn", server)
        run_rounds(config)
        n_lost = len(read_lines(tmp_path / "drawn" / "steps.failed.jsonl"))
        assert len(asked_about(server)) == N_WANTED + n_lost
        assert n_lost > 0 or answer is not forgetful
        n_requests = len(server.requests)
        assert run_rounds(config) == 1
        assert len(server.requests) == n_requests, "the second run has nothing left to ask"
    assert train_on(config) == train_on(everything)
    counts = counts_of(tmp_path / "drawn" / "steps.jsonl")
    assert counts.filtered == {NOT_DRAWN: N_TRACES - N_WANTED - n_lost}
    assert counts.read == N_TRACES == counts.written + counts.filtered.total() + counts.failed


def test_what_prune_refuses_leaves_alone_or_makes_too_long_is_replaced_from_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_order = sorted(range(N_TRACES), key=lambda number: draw_key(0, make_trace(number)["id"]))
    refused, unchanged, overlong = ([make_trace(number)["question"] for number in in_order[k::6]] for k in range(3))

    def answer(messages: Sequence[tuple[str, str]]) -> str:
        is_refused = "<steps" in messages[0][1] and any(question in messages[0][1] for question in refused)
        return "No." if is_refused else competent.answer(messages)

    real = prune.prune

    async def leave_some(teacher: Any, grader: Any, tokenizer: Any, record: Any) -> Any:
        done = await real(teacher, grader, tokenizer, record)
        if record.question in unchanged:
            return prune.Omission(id=record.id, reason=UNCHANGED)
        return done.model_copy(update={"n_tokens_pruned": 10**6}) if record.question in overlong else done

    monkeypatch.setattr(prune, "prune", leave_some)
    with LoopbackServer(answer) as server:
        config = prepare(tmp_path, server)
        run_rounds(config)
        usable = [n for n in in_order if make_trace(n)["question"] not in (*refused, *unchanged, *overlong)][:N_WANTED]
        assert asked_about(server) == set(in_order[: in_order.index(usable[-1]) + 1])
    pruned = {record["id"] for record in read_lines(tmp_path / "pruned.jsonl") if record["n_tokens_pruned"] < 10**6}
    assert pruned == {make_trace(number)["id"] for number in usable}


def test_an_interrupted_run_ends_with_the_same_traces(tmp_path: Path) -> None:
    with LoopbackServer(forgetful) as server:
        whole = prepare(tmp_path / "whole", server)
        run_rounds(whole)
        expected = asked_about(server)
    with LoopbackServer(forgetful) as server:
        config = prepare(tmp_path / "killed", server)
        decompose.run(config)
        # As a kill -9 in the middle of prune leaves it: nothing is known of what was refused.
        (tmp_path / "killed" / "steps.failed.jsonl").write_text("")
        run_rounds(config)
        assert asked_about(server) == expected
    for name in ("steps.jsonl", "pruned.jsonl"):
        killed, uninterrupted = (
            sorted(record["id"] for record in read_lines(tmp_path / folder / name)) for folder in ("killed", "whole")
        )
        assert killed == uninterrupted


def test_more_samples_are_bought_and_none_twice(tmp_path: Path, server: LoopbackServer) -> None:
    run_rounds(prepare(tmp_path, server))
    first, n_requests = asked_about(server), len(server.requests)
    config = prepare(tmp_path, server, 2 * N_WANTED)
    run_rounds(config)
    assert len(asked_about(server)) == 2 * N_WANTED
    assert first < asked_about(server)
    assert len(server.requests) == 2 * n_requests
    assert len(train_on(config, 2 * N_WANTED)) == 2 * N_WANTED


def test_new_traces_are_bought_as_far_as_training_draws_them(tmp_path: Path, server: LoopbackServer) -> None:
    write_traces(tmp_path, N_TRACES // 2)
    config = prepare(tmp_path, server)
    run_rounds(config)
    write_traces(tmp_path, N_TRACES)
    run_rounds(config)
    in_order = sorted(range(N_TRACES), key=lambda number: draw_key(0, make_trace(number)["id"]))
    assert train_on(config) == [make_trace(number)["id"] for number in in_order[:N_WANTED]]
    assert len(asked_about(server)) < 2 * N_WANTED


def test_a_limit_draws_from_the_first_traces_alone(tmp_path: Path, server: LoopbackServer) -> None:
    config = prepare(tmp_path, server)
    decompose.run(config, RunOptions(limit=20))
    assert asked_about(server) <= set(range(20))
    assert len(asked_about(server)) == N_WANTED
    decompose.run(config, RunOptions(limit=5))
    assert counts_of(tmp_path / "steps.jsonl").read == 5


def test_traces_decomposed_by_an_earlier_version_are_kept_and_pruned_as_far_as_they_are_drawn(
    tmp_path: Path, server: LoopbackServer
) -> None:
    decompose.run(prepare(tmp_path, server, None))
    n_requests = len(server.requests)
    config = prepare(tmp_path, server)
    assert decompose.run(config).written == N_TRACES
    assert prune.run(config).filtered == {NOT_DRAWN: N_TRACES - N_WANTED}
    assert len(server.requests) == n_requests + N_WANTED
    assert decompose.count_undecomposed(config, RunOptions()) == 0


def test_reparse_keeps_what_was_decomposed_beyond_the_draw(tmp_path: Path, server: LoopbackServer) -> None:
    decompose.run(prepare(tmp_path, server, 2 * N_WANTED))
    counts = decompose.run(prepare(tmp_path, server), RunOptions(reparse=True))
    assert (counts.written, counts.failed) == (2 * N_WANTED, 0)


def test_starting_again_draws_as_in_the_beginning(tmp_path: Path) -> None:
    with LoopbackServer(forgetful) as server:
        config = prepare(tmp_path, server)
        run_rounds(config)
    counts = decompose.run(config, RunOptions(overwrite=True))
    assert counts.written == N_WANTED


def test_wrong_traces_are_left_out_if_training_would_leave_them_out(tmp_path: Path, server: LoopbackServer) -> None:
    write_traces(tmp_path, N_TRACES, lambda number: make_trace(number) | {"correct": number % 2 == 0})
    config = prepare(tmp_path, server)
    config = config.model_copy(update={"decompose": config.decompose.model_copy(update={"only_correct": False})})
    decompose.run(config)
    assert {number % 2 for number in asked_about(server)} == {0}
    assert counts_of(tmp_path / "steps.jsonl").filtered["answer wrong"] == N_TRACES // 2


def test_a_run_that_reuses_another_pays_for_nothing_that_the_other_has_paid_for(tmp_path: Path) -> None:
    with LoopbackServer(forgetful) as server:
        main = prepare(tmp_path / "main", server)
        run_rounds(main)
        n_requests = len(server.requests)
        other = prepare(tmp_path / "other", server).model_copy(update={"reuse": main.run_dir})
        run_rounds(other)
        assert len(server.requests) == n_requests, "refused replies are not asked for again, either"
        for name in ("steps.jsonl", "steps.failed.jsonl", "pruned.jsonl"):
            assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "main" / name).read_bytes()
        assert not (tmp_path / "other" / "replies.jsonl").read_bytes()
        # Other steps are another ablation. Its traces are drawn by the same rule.
        settings = main.decompose.model_copy(update={"method": "default"})
        third = prepare(tmp_path / "third", server).model_copy(update={"reuse": main.run_dir, "decompose": settings})
        run_rounds(third)
        assert len(server.requests) > n_requests
    assert train_on(third) == train_on(main)


def test_a_run_that_reuses_another_pays_for_what_it_needs_beyond_that(tmp_path: Path, server: LoopbackServer) -> None:
    main = prepare(tmp_path / "main", server)
    run_rounds(main)
    n_requests, before = len(server.requests), (tmp_path / "main" / "steps.jsonl").read_bytes()
    other = prepare(tmp_path / "other", server, 2 * N_WANTED).model_copy(update={"reuse": main.run_dir})
    run_rounds(other)
    assert len(server.requests) == 2 * n_requests
    assert len(train_on(other, 2 * N_WANTED)) == 2 * N_WANTED
    assert (tmp_path / "main" / "steps.jsonl").read_bytes() == before


def test_a_run_to_reuse_that_does_not_exist_is_an_error(tmp_path: Path, server: LoopbackServer) -> None:
    config = prepare(tmp_path / "run", server).model_copy(update={"reuse": tmp_path / "mian"})
    with pytest.raises(ConfigError, match="mian does not exist; make that run first"):
        decompose.run(config)
    assert not server.requests


def test_prune_says_what_is_left_to_decompose(
    tmp_path: Path, server: LoopbackServer, capsys: pytest.CaptureFixture[str]
) -> None:
    config = prepare(tmp_path, server)
    decompose.run(config, RunOptions(limit=10))
    prune.run(config)
    in_order = sorted(range(N_TRACES), key=lambda number: draw_key(0, make_trace(number)["id"]))
    n_missing = len(set(in_order[:N_WANTED]) - set(range(10)))
    assert f"prune: {n_missing} traces that training draws are not decomposed yet" in capsys.readouterr().err
    run_rounds(config)
    assert "that training draws" not in capsys.readouterr().err


def test_the_share_of_failures_is_that_of_the_drawn_traces(tmp_path: Path) -> None:
    in_order = sorted(range(N_TRACES), key=lambda number: draw_key(0, make_trace(number)["id"]))
    with LoopbackServer(partial(forgetful, hopeless=in_order[:4])) as server:
        config = prepare(tmp_path, server).model_copy(update={"max_failures": 0.2})
        with pytest.raises(TooManyFailures, match=r"4 of 12 records failed, max_failures allows 0\.2"):
            decompose.run(config)


@pytest.mark.slow
def test_a_run_killed_in_each_stage_buys_what_an_uninterrupted_one_buys(tmp_path: Path) -> None:
    folders, asked = [tmp_path / "whole", tmp_path / "killed"], []
    for folder in folders:
        with LoopbackServer(forgetful, latency_s=0.03) as server:
            write_traces(folder, 3 * N_TRACES)
            config = prepare(folder, server, 4 * N_WANTED)
            config = config.model_copy(update={"teacher": config.teacher.model_copy(update={"concurrency": 4})})
            path = tmp_path / "config.json"
            path.write_text(config.model_dump_json())
            if folder.name == "killed":
                kill_in_mid_run("decompose", path, server, 0.02)
                kill_in_mid_run("decompose", path, server, 0.05)
                decompose.run(config)
                kill_in_mid_run("prune", path, server, 0.02)
            run_rounds(config)
            asked.append({json.dumps(request.body) for request in server.requests})
            assert len(read_lines(folder / "pruned.jsonl")) == 4 * N_WANTED
    assert asked[0] == asked[1]
    for verb in ("decompose", "prune"):
        assert read_artifact(folders[0], verb).keys() == read_artifact(folders[1], verb).keys()
