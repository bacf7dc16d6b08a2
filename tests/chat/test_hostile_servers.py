"""Wrong addresses, redirects, replies without end and echoed credentials, for both providers."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from drp.chat.limits import RetryPolicy
from drp.chat.wire import Reply
from drp.errors import DrpError, RecordError, UserError
from tests.chat.batches import ask_in_batches
from tests.chat.conftest import KEY, ask, ask_one, echo, open_teacher, read_store
from tests.conftest import REPOSITORY
from tests.loopback import Fault, LoopbackServer, always, faults
from tests.loopback.batches import BatchPlan
from tests.stages import teaching

PASSWORD = "correct-horse-7"


def read_folder(path: Path) -> str:
    """Every file beside the store, whatever its name."""
    return "".join(file.read_text() for file in path.parent.rglob("*") if file.is_file())


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_its_target_is_named(provider: str, path: Path, status: int) -> None:
    with LoopbackServer(echo) as other:
        redirect = Fault("status", status, location=f"{other.gemini_url}/v1/chat/completions")
        with LoopbackServer(faults=always(redirect)) as server:
            error = ask_one(server, path, provider)
        assert isinstance(error, UserError), error
        assert f"redirects to {other.gemini_url}" in str(error)
        assert "teacher.base_url" in str(error)
        assert len(server.requests) == 1
        assert other.requests == []


def test_a_batch_is_not_sent_on_to_another_address(path: Path) -> None:
    with LoopbackServer(echo) as other:
        redirect = Fault("status", 307, location=f"{other.openai_url}/files")
        with LoopbackServer(echo, plans=[BatchPlan(upload=redirect)]) as server:
            [error] = ask_in_batches(server, path, ["a"])
        assert isinstance(error, UserError), error
        assert f"redirects to {other.openai_url}/files" in str(error)
        assert not other.batches.files


def test_a_gzip_bomb_fails_its_record_with_little_memory(provider: str, path: Path) -> None:
    with LoopbackServer(echo, faults=[None, faults.BOMB]) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        good, bad = ask(lambda: open_teacher(server, path, provider, concurrency=1), ["good", "bad"])
        grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert isinstance(good, Reply)
    assert isinstance(bad, RecordError), bad
    assert bad.reason == "oversized reply"
    assert "teacher.max_reply_mib (16)" in str(bad)
    assert len(server.requests) == 2
    assert grown_mib < 120, "256 MiB decompressed would not fit"


@pytest.mark.parametrize("step", ["upload", "create", "poll"])
def test_a_gzip_bomb_between_the_steps_of_a_batch_is_not_read(path: Path, step: str) -> None:
    with LoopbackServer(echo, plans=[BatchPlan(**{step: faults.BOMB})]) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        [reply] = ask_in_batches(server, path, ["a"])
        grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert isinstance(reply, Reply), reply
    assert grown_mib < 120, "256 MiB decompressed would not fit"
    assert sum(server.batches.sent.values()) == 1


def test_a_batch_result_that_is_too_large_ends_the_run(path: Path) -> None:
    with LoopbackServer(lambda _: "word " * 600_000, count=lambda _: 1) as server:
        [error] = ask_in_batches(server, path, ["a"], max_reply_mib=1)
    assert isinstance(error, UserError), error
    assert "teacher.max_reply_mib (1)" in str(error)


def test_the_largest_reply_is_a_setting(provider: str, path: Path) -> None:
    with LoopbackServer(lambda _: "word " * 300_000, count=lambda _: 1) as server:
        assert isinstance(ask_one(server, path, provider, max_reply_mib=1), RecordError)
        assert isinstance(ask_one(server, path, provider, max_reply_mib=2), Reply)


def test_a_reply_that_drips_ends_at_the_time_limit(provider: str, path: Path) -> None:
    with LoopbackServer(faults=always(faults.DRIP)) as server:
        started = time.monotonic()
        error = ask_one(server, path, provider, timeout_s=0.6, max_retries=1)
    assert isinstance(error, RecordError), error
    assert "timeout" in str(error)
    assert time.monotonic() - started < 15


def test_an_address_where_nobody_listens_fails_in_seconds(provider: str, path: Path, free_port: int) -> None:
    started = time.monotonic()
    error = ask_one(LoopbackServer(port=free_port), path, provider, retry=RetryPolicy())
    assert isinstance(error, UserError), error
    assert "3 attempts: check teacher.base_url" in str(error)
    assert time.monotonic() - started < 12


def test_an_address_of_a_web_page_is_a_wrong_address(provider: str, path: Path) -> None:
    with LoopbackServer(faults=always(faults.PAGE)) as server:
        error = ask_one(server, path, provider)
    assert isinstance(error, UserError), error
    assert "Welcome to the router" in str(error)
    assert "teacher.base_url" in str(error)


def test_a_web_page_between_replies_is_retried(provider: str, path: Path) -> None:
    with LoopbackServer(echo, faults=[None, *[faults.PAGE] * 4]) as server:
        replies = ask(lambda: open_teacher(server, path, provider, concurrency=1), ["a", "b"])
    assert all(isinstance(reply, Reply) for reply in replies)


def test_the_error_in_a_200_is_quoted(provider: str, path: Path) -> None:
    with LoopbackServer(echo, faults=[None, *[faults.ERROR_BODY] * 3]) as server:
        replies = ask(lambda: open_teacher(server, path, provider, concurrency=1, max_retries=2), ["a", "b"])
        assert isinstance(replies[0], Reply)
        assert "answered 200 with an error: loopback says upstream_failure" in str(replies[1])
        # What is no reply was not paid for.
        assert len(read_store(path)) == 1


def test_retries_are_told_once_with_the_servers_words(
    provider: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LoopbackServer(echo, faults=[faults.UNAVAILABLE] * 6) as server:
        replies = ask(lambda: open_teacher(server, path, provider), ["a", "b", "c"])
    assert all(isinstance(reply, Reply) for reply in replies)
    told = capsys.readouterr().err
    assert told.count("loopback says overloaded") == 1
    assert "Trying again" in told


@pytest.mark.parametrize("mode", ["openai", "gemini", "batch"])
def test_a_200_that_echoes_the_key_is_stored_without_it(mode: str, path: Path) -> None:
    with LoopbackServer(echo, faults=always(faults.ECHO_KEY)) as server:
        if mode == "batch":
            [reply] = ask_in_batches(server, path, ["a"])
        else:
            reply = ask_one(server, path, mode)
    assert isinstance(reply, Reply), reply
    assert "***" in reply.text
    assert KEY not in reply.text + read_folder(path)


@pytest.mark.parametrize("fault", [None, faults.RESET, faults.SERVER_ERROR, faults.UNKNOWN_MODEL, faults.CUT])
def test_a_password_in_the_address_is_sent_and_never_shown(
    provider: str, path: Path, fault: Fault | None, capsys: pytest.CaptureFixture[str]
) -> None:
    told = replace(fault, echo_key=True) if fault else None
    with LoopbackServer(echo, faults=[told] * 9) as server:
        url = server.openai_url if provider == "openai" else server.gemini_url
        url = url.replace("://", f"://me:{PASSWORD}@")
        outcome = ask_one(server, path, provider, base_url=url, max_retries=1)
    assert all(request.headers["Authorization"].startswith("Basic ") for request in server.requests)
    assert server.requests
    shown = read_folder(path) + "".join(capsys.readouterr()) + repr(outcome)
    if isinstance(outcome, DrpError):
        shown += "".join(traceback.format_exception(outcome))
    basic = server.requests[0].headers["Authorization"].removeprefix("Basic ")
    assert PASSWORD not in shown
    assert basic not in shown


def test_another_password_buys_nothing_again(provider: str, path: Path) -> None:
    with LoopbackServer(echo) as server:
        plain = server.openai_url if provider == "openai" else server.gemini_url
        for user in ("", "me:one@", "me:two@", "you@"):
            ask_one(server, path, provider, base_url=plain.replace("://", f"://{user}"))
    assert len(server.requests) == 1


def test_the_query_of_an_address_is_kept_and_its_key_left_out_of_the_identity(path: Path) -> None:
    with LoopbackServer(echo) as server:
        for key in ("first-secret", "second-secret"):
            url = f"{server.openai_url}?api-version=2&api_key={key}"
            assert isinstance(ask_one(server, path, "openai", base_url=url), Reply)
        ask_one(server, path, "openai", base_url=f"{server.openai_url}?api-version=3")
    assert [request.path for request in server.requests] == ["/v1/chat/completions"] * 2
    assert [request.query for request in server.requests] == [
        {"api-version": "2", "api_key": "first-secret"},
        {"api-version": "3"},
    ]
    assert "secret" not in read_folder(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base_url": "http://me:pw@127.0.0.1:1/v1", "api_key_env": "OPENAI_API_KEY"}, "remove one of them"),
        ({"base_url": "http://127.0.0.1:1/?a=1", "provider": "gemini"}, "takes no query"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        ask_one(LoopbackServer(port=9), path, **{"provider": "openai", **changes})
    assert "pw" not in str(error.value)


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM], ids=lambda way: way.name)
def test_a_stage_whose_server_never_answers_ends_in_seconds_when_it_is_stopped(
    provider: str, tmp_path: Path, way: signal.Signals
) -> None:
    with LoopbackServer(faults=always(faults.HANG)) as server:
        config = teaching.make_config(tmp_path / "run", server, provider, "spans").model_dump(mode="json")
        teaching.write_traces(tmp_path / "run", 4)
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "drp", "decompose", str(tmp_path / "c.yaml")]
        environ = {**os.environ, "OPENAI_API_KEY": KEY, "GEMINI_API_KEY": KEY}
        with subprocess.Popen(command, cwd=REPOSITORY, env=environ, stderr=subprocess.PIPE, text=True) as child:
            deadline = time.monotonic() + 60
            while not server.n_hanging and time.monotonic() < deadline:
                time.sleep(0.02)
            child.send_signal(way)
            stopped = time.monotonic()
            _, told = child.communicate(timeout=60)
    assert server.n_hanging
    assert child.returncode == 130, told
    assert time.monotonic() - stopped < 3 * 3, "three times what it may take on an idle machine"
    assert "drp: interrupted" in told
    assert "Traceback" not in told
    assert json.loads((tmp_path / "run" / "steps.jsonl.manifest.json").read_text())["state"] == "interrupted"
