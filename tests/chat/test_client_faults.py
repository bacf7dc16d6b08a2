"""Each fault of a provider, over a real connection, for both providers."""

import json
import logging
import traceback
from pathlib import Path

import pytest

from drp.chat.wire import Reply
from drp.errors import RecordError, UserError
from tests.chat.conftest import KEY, ask, ask_one, echo, open_teacher, read_store
from tests.loopback import Fault, LoopbackServer, always, chance, faults


@pytest.mark.parametrize(
    "fault",
    [faults.RATE_LIMIT, faults.SERVER_ERROR, faults.UNAVAILABLE, faults.HANG, faults.RESET, faults.CUT, faults.EMPTY],
    ids=lambda fault: fault.code or fault.kind,
)
def test_a_transient_fault_is_retried(provider: str, path: Path, fault: Fault) -> None:
    with LoopbackServer(echo, faults=[fault, fault]) as server:
        timeout_s = 0.6 if fault.kind == "hang" else 20
        reply = ask_one(server, path, provider, timeout_s=timeout_s)
    assert isinstance(reply, Reply), reply
    assert reply.text == "you said six times seven?"
    assert len(server.requests) == 3
    # An empty reply is paid for too, so it is in the store as well.
    assert len(read_store(path)) == server.n_completed == (3 if fault.kind == "empty" else 1)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faults.RATE_LIMIT, "rate limit"),
        (faults.SERVER_ERROR, "500"),
        (faults.RESET, "connection"),
        (faults.CUT, "unreadable"),
        (faults.EMPTY, "empty"),
    ],
    ids=lambda value: value.code or value.kind if isinstance(value, Fault) else "",
)
def test_a_permanent_fault_fails_the_record_after_the_allowed_attempts(
    provider: str, path: Path, fault: Fault, said: str
) -> None:
    # The first call succeeds, so that the address is known to be right.
    with LoopbackServer(echo, faults=[None, fault, fault, fault]) as server:
        results = ask(lambda: open_teacher(server, path, provider, max_retries=2, concurrency=1), ["good", "bad"])
    error = results[-1]
    assert isinstance(error, RecordError), error
    assert error.attempts == 3
    assert said in str(error)
    assert len(server.requests) == 4


def test_a_provider_that_is_never_reached_is_a_user_error(provider: str, path: Path) -> None:
    with LoopbackServer(faults=always(faults.RESET)) as server:
        error = ask_one(server, path, provider, max_retries=1)
    assert isinstance(error, UserError), error
    assert "teacher.base_url" in str(error)


@pytest.mark.parametrize("first", [faults.RATE_LIMIT, faults.SERVER_ERROR, faults.CUT])
def test_a_provider_that_answered_once_was_reached(provider: str, path: Path, first: Fault) -> None:
    with LoopbackServer(faults=[first, *[faults.RESET] * 9]) as server:
        assert isinstance(ask_one(server, path, provider, max_retries=1), RecordError)


@pytest.mark.parametrize(
    ("provider", "fault", "said"),
    [
        ("openai", faults.UNAUTHORIZED, "OPENAI_API_KEY"),
        ("gemini", faults.UNAUTHORIZED, "GEMINI_API_KEY"),
        ("openai", faults.FORBIDDEN, "OPENAI_API_KEY"),
        ("gemini", faults.FORBIDDEN, "GEMINI_API_KEY"),
        ("openai", faults.UNKNOWN_MODEL, "teacher.model"),
        ("gemini", faults.UNKNOWN_MODEL, "teacher.model"),
        ("openai", faults.QUOTA, "credit"),
        ("openai", faults.BAD_PARAMETER, "teacher"),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else "",
)
def test_a_fault_that_concerns_every_request_stops_them_all(provider: str, path: Path, fault: Fault, said: str) -> None:
    with LoopbackServer(faults=always(fault)) as server:
        errors = ask(lambda: open_teacher(server, path, provider, concurrency=2), [str(i) for i in range(30)])
    assert all(isinstance(error, UserError) and said in str(error) for error in errors), errors[0]
    # Two were in flight; Google's transport repeats a 401 by itself.
    assert len(server.requests) <= 6


def test_a_request_that_is_too_long_fails_its_record_only(provider: str, path: Path) -> None:
    with LoopbackServer(echo, faults=[faults.TOO_LONG]) as server:
        first, second = ask(lambda: open_teacher(server, path, provider, concurrency=1), ["long", "short"])
    assert isinstance(first, RecordError)
    assert isinstance(second, Reply)


@pytest.mark.parametrize(
    ("fault", "finish"),
    [
        (faults.LENGTH, "length"),
        (faults.CONTENT_FILTER, "filtered"),
        (faults.REFUSAL, "filtered"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_cut_and_filtered_replies_are_stored_and_not_asked_again(
    provider: str, path: Path, fault: Fault, finish: str
) -> None:
    with LoopbackServer(echo, faults=[fault]) as server:
        reply = ask_one(server, path, provider)
        again = ask_one(server, path, provider)
    assert isinstance(reply, Reply)
    assert reply.finish_reason == finish
    assert again == reply
    assert len(server.requests) == 1


def test_no_candidates_at_all_means_filtered_at_gemini(path: Path) -> None:
    with LoopbackServer(echo, faults=[faults.NO_CHOICES]) as server:
        reply = ask_one(server, path, "gemini")
    assert isinstance(reply, Reply)
    assert reply.finish_reason == "filtered"


def test_a_prompt_that_an_openai_filter_rejects_is_a_filtered_reply_for_nothing(path: Path) -> None:
    with LoopbackServer(echo, faults=[faults.BLOCKED_PROMPT]) as server:
        reply = ask_one(server, path, "openai")
        assert ask_one(server, path, "openai") == reply
    assert isinstance(reply, Reply)
    assert (reply.finish_reason, reply.usage.cost_usd) == ("filtered", 0)


def test_a_longer_wait_than_the_policy_allows_ends_the_run(provider: str, path: Path) -> None:
    with LoopbackServer(echo, faults=[faults.RATE_LIMIT.after(3600)]) as server:
        errors = ask(lambda: open_teacher(server, path, provider, concurrency=1), ["a", "b", "c"])
    assert all(isinstance(error, UserError) and "3600 s" in str(error) for error in errors)
    assert len(server.requests) == 1


def test_no_choices_at_openai_are_asked_again_with_the_body_kept(path: Path) -> None:
    with LoopbackServer(echo, faults=[faults.NO_CHOICES]) as server:
        reply = ask_one(server, path, "openai")
    assert isinstance(reply, Reply)
    first, second = read_store(path)
    assert first["finish_reason"] == "empty"
    assert '"choices": []' in str(first["raw"])
    assert second["finish_reason"] == "stop"


@pytest.mark.parametrize("fault", [faults.UNAUTHORIZED, faults.FORBIDDEN, faults.TOO_LONG, faults.RATE_LIMIT])
def test_the_key_is_in_no_message_log_or_file(
    provider: str, path: Path, fault: Fault, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    told = Fault(fault.kind, fault.status, fault.code, echo_key=True)
    with LoopbackServer(echo, faults=always(told)) as server:
        [error] = ask(lambda: open_teacher(server, path, provider, max_retries=1), ["psst"])
    assert KEY in json.dumps(server.requests[0].headers)
    assert isinstance(error, UserError | RecordError)
    assert "***" in str(error)
    written = "".join(file.read_text() for file in path.parent.iterdir() if file.is_file())
    said = caplog.text + "".join(capsys.readouterr())
    for text in (str(error), repr(error), "".join(traceback.format_exception(error)), said, written):
        assert KEY not in text


def test_a_filters_message_is_stored_without_the_key(path: Path) -> None:
    blocked = Fault("status", 400, "content_filter", echo_key=True)
    with LoopbackServer(echo, faults=[blocked]) as server:
        reply = ask_one(server, path, "openai")
    assert isinstance(reply, Reply)
    assert "***" in reply.text
    assert KEY not in path.read_text()


@pytest.mark.parametrize(
    "fault",
    [
        faults.RATE_LIMIT,
        faults.RATE_LIMIT.after(0.05),
        faults.SERVER_ERROR,
        faults.UNAVAILABLE,
        faults.HANG,
        faults.RESET,
        faults.CUT,
        faults.EMPTY,
        faults.REFUSAL,
        faults.CONTENT_FILTER,
        faults.LENGTH,
    ],
    ids=lambda fault: f"{fault.code or fault.kind}{'-retry-after' if fault.retry_after else ''}",
)
def test_in_a_storm_every_request_ends_and_none_is_paid_twice(provider: str, path: Path, fault: Fault) -> None:
    questions = [f"question {i}" for i in range(25)]
    with LoopbackServer(echo, faults=chance({fault: 0.2}, seed=1)) as server:
        timeout_s = 0.6 if fault.kind == "hang" else 20
        results = ask(lambda: open_teacher(server, path, provider, timeout_s=timeout_s), questions)
        stored = read_store(path)
        # On a slow machine the short time limit may end a call that the server then completes.
        assert len(stored) == server.n_completed or (fault.kind == "hang" and len(stored) < server.n_completed)
        again = ask(lambda: open_teacher(server, path, provider, timeout_s=timeout_s), questions)
    assert all(isinstance(result, Reply | RecordError) for result in results), results
    n_replies = sum(isinstance(result, Reply) for result in results)
    assert n_replies == sum(reply["finish_reason"] != "empty" for reply in stored)
    assert n_replies >= 24
    assert [a for a, r in zip(again, results, strict=True) if isinstance(r, Reply)] == [
        r for r in results if isinstance(r, Reply)
    ]
