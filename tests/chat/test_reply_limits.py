"""The output limit of each request follows the expected length of its reply."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drp.chat.store import ReplyStore, StoredReply, hash_request
from drp.chat.wire import Message, Reply
from drp.config.sections import BatchSettings, TeacherSettings
from tests.chat.batches import BATCH, read_journal
from tests.chat.conftest import open_teacher, read_store
from tests.loopback import LoopbackServer

MAXIMUM = 4000


def ask_expecting(open_it: Callable[[], Any], expected: dict[str, int | None]) -> list[Reply]:
    """Ask all questions at once, each with the expected length of its reply."""

    async def run() -> list[Reply]:
        client = open_it()
        try:
            return await asyncio.gather(
                *(client.complete([Message("user", text)], expected_tokens=n) for text, n in expected.items())
            )
        finally:
            await client.close()

    return asyncio.run(run())


def write(n_tokens: int) -> str:
    return "word" * n_tokens


def sent_limits(server: LoopbackServer) -> list[int | None]:
    return [request.question.max_tokens for request in server.requests]


@pytest.fixture(params=["openai", "gemini", "batch"])
def open_it(request: pytest.FixtureRequest, path: Path) -> Callable[..., Any]:
    """Opens a client in each mode. Its requests arrive in `server.requests` also if they came in a batch."""

    def open_client(server: LoopbackServer, **changes: Any) -> Any:
        provider = "gemini" if request.param == "gemini" else "openai"
        batch = {"mode": "batch", "batch": BatchSettings(**BATCH)} if request.param == "batch" else {}
        return open_teacher(server, path, provider, max_output_tokens=MAXIMUM, **batch, **changes)

    return open_client


def test_a_request_allows_half_as_much_again_as_is_expected(path: Path) -> None:
    expected = {"a": 1000, "b": 10, "c": 3000, "d": None}
    with LoopbackServer() as server:
        ask_expecting(lambda: open_teacher(server, path, max_output_tokens=MAXIMUM, concurrency=1), expected)
        ask_expecting(lambda: open_teacher(server, path, max_output_tokens=MAXIMUM, reply_headroom=None), {"e": 10})
    assert sent_limits(server) == [1500, 512, MAXIMUM, MAXIMUM, MAXIMUM]


def test_a_reply_that_does_not_fit_is_asked_for_again_with_the_maximum(open_it: Callable[..., Any], path: Path) -> None:
    with LoopbackServer(lambda _: write(2000)) as server:
        [reply] = ask_expecting(lambda: open_it(server), {"a": 400})
        assert (reply.text, reply.finish_reason) == (write(2000), "stop")
        first, second = read_store(path)
        assert (first["finish_reason"], first["max_tokens"]) == ("length", 600)
        assert second["finish_reason"] == "stop"
        assert first["id"] == second["id"]
        n_sent = server.n_completed
        assert ask_expecting(lambda: open_it(server), {"a": 400}) == [reply]
        assert n_sent == server.n_completed == 2
    with ReplyStore(path) as store:
        assert store.paid
        assert store.paid.calls == 2


def test_a_reply_that_reaches_the_maximum_counts_as_cut_off(open_it: Callable[..., Any]) -> None:
    with LoopbackServer(lambda _: write(9000)) as server:
        [reply] = ask_expecting(lambda: open_it(server), {"a": 400})
    assert reply.finish_reason == "length"
    assert len(reply.text) == 4 * MAXIMUM
    assert server.n_completed == 2


def test_a_run_that_ends_after_a_reply_that_did_not_fit_goes_on_with_the_maximum(
    open_it: Callable[..., Any], path: Path
) -> None:
    with LoopbackServer(lambda _: write(2000)) as server:
        ask_expecting(lambda: open_it(server), {"a": 400})
        path.write_text(path.read_text().splitlines(keepends=True)[0])  # as after a kill
        [reply] = ask_expecting(lambda: open_it(server), {"a": 400})
    assert reply.finish_reason == "stop"
    assert server.n_completed == 3, "the small limit was tried again"


def test_replies_of_earlier_versions_are_found(path: Path) -> None:
    with LoopbackServer(lambda _: write(10)) as server:
        settings = TeacherSettings(
            provider="openai", model="teacher-1", base_url=server.openai_url, max_output_tokens=MAXIMUM
        )
        key = hash_request(settings, server.openai_url, [Message("user", "a")])
        old = {
            "id": key, "provider": "openai", "model": "teacher-1", "text": "old", "finish_reason": "length",
            "usage": {"calls": 1, "input_tokens": 1, "output_tokens": 1, "cost_usd": None}, "time": "2026",
        }  # fmt: skip
        path.write_text(json.dumps(old) + "\n")
        [reply] = ask_expecting(lambda: open_teacher(server, path, max_output_tokens=MAXIMUM), {"a": 400})
    assert (reply.text, reply.finish_reason) == ("old", "length")
    assert server.requests == []


def test_a_batch_of_an_earlier_run_is_read_with_the_limits_it_was_sent_with(path: Path) -> None:
    def open_it(**changes: Any) -> Any:
        batch = BatchSettings(**{**BATCH, **changes})
        return open_teacher(server, path, mode="batch", batch=batch, max_output_tokens=MAXIMUM)

    async def send_and_leave() -> None:
        client = open_it(poll_s=60)
        waiting = asyncio.create_task(client.complete([Message("user", "a")], expected_tokens=400))
        while not server.batches.by_id:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await client.close()

    with LoopbackServer(lambda _: write(2000)) as server:
        asyncio.run(send_and_leave())
        assert [batch.max_tokens for batch in read_journal(path) if not batch.is_settled] == [[600]]
        # The later run expects more, so that its own limit would not be the one that was reached.
        [reply] = ask_expecting(open_it, {"a": 900})
    assert (reply.text, reply.finish_reason) == (write(2000), "stop")
    assert [line["finish_reason"] for line in read_store(path)] == ["length", "stop"]


def test_if_many_replies_do_not_fit_all_requests_allow_the_maximum(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LoopbackServer(lambda _: write(2000)) as server:
        for run in range(3):
            questions: dict[str, int | None] = {f"question {run} {i}": 400 for i in range(6)}
            replies = ask_expecting(lambda: open_teacher(server, path, max_output_tokens=MAXIMUM), questions)
            assert all(reply.finish_reason == "stop" for reply in replies)
    assert sent_limits(server).count(600) == 12, "the third run knows what the first two met"
    assert capsys.readouterr().err.count("set teacher.reply_headroom to null") == 1


def test_the_cost_cap_reserves_the_smaller_limit(open_it: Callable[..., Any]) -> None:
    # 40 replies of 300 tokens cost $0.12; 8 reservations of the maximum are $0.32.
    questions: dict[str, int | None] = {f"question {i:02}": 300 for i in range(40)}
    with LoopbackServer(lambda _: write(300), latency_s=0.02) as server:
        replies = ask_expecting(lambda: open_it(server, max_cost_usd=0.13), questions)
    assert all(reply.finish_reason == "stop" for reply in replies)
    # With the maximum reserved, three calls would fit at first, and fewer and fewer later.
    assert server.max_in_flight == 8 or server.batches.by_id


def test_the_limit_is_stored_with_the_reply(path: Path) -> None:
    with LoopbackServer(lambda _: write(10)) as server:
        ask_expecting(lambda: open_teacher(server, path, max_output_tokens=MAXIMUM), {"a": 400})
    [line] = path.read_text().splitlines()
    assert StoredReply.model_validate_json(line).max_tokens == 600
