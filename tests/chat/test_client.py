"""Which requests a client sends, which replies it takes from the store, and what it keeps when it is stopped."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from drp.chat.wire import Message, Reply
from tests.chat.conftest import ask, ask_one, echo, open_teacher, read_store
from tests.loopback import LoopbackServer

ROOT = Path(__file__).resolve().parents[2]


def test_a_reply_comes_with_its_text_tokens_and_cost(provider: str, path: Path) -> None:
    with LoopbackServer(echo) as server:
        [reply] = ask(lambda: open_teacher(server, path, provider), ["x" * 400])
    assert isinstance(reply, Reply)
    assert reply.text == "you said " + "x" * 400
    assert reply.finish_reason == "stop"
    assert (reply.usage.calls, reply.usage.input_tokens, reply.usage.output_tokens) == (1, 100, 102)
    assert reply.usage.cost_usd == pytest.approx((100 * 2.5 + 102 * 10) / 1e6)


def test_roles_model_temperature_and_output_limit_reach_the_provider(provider: str, path: Path) -> None:
    messages = [Message("system", "be brief"), Message("user", "a"), Message("assistant", "b"), Message("user", "c")]

    async def run() -> None:
        client = open_teacher(server, path, provider, temperature=0.5, max_output_tokens=77)
        await client.complete(messages)
        await client.close()

    with LoopbackServer(echo) as server:
        asyncio.run(run())
    question = server.requests[0].question
    assert question.messages == [("system", "be brief"), ("user", "a"), ("assistant", "b"), ("user", "c")]
    assert (question.model, question.max_tokens, question.temperature) == ("teacher-1", 77, 0.5)


def test_rate_limit_headers_reach_the_limits(path: Path) -> None:
    headers = {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "50s",
    }
    with LoopbackServer(echo, headers=headers) as server:
        ask(lambda: open_teacher(server, path, concurrency=1), ["a", "b"])
    first, second = (request.arrived for request in server.requests)
    assert second - first >= 0.4, "two requests a second"


def test_closing_waits_for_calls_in_flight_and_sends_no_more(provider: str, path: Path) -> None:
    async def run() -> None:
        client = open_teacher(server, path, provider, concurrency=3)
        calls = [asyncio.create_task(client.complete([Message("user", str(i))])) for i in range(10)]
        while len(server.requests) < 3:
            await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await client.close()

    with LoopbackServer(echo, latency_s=0.3) as server:
        asyncio.run(run())
    assert len(server.requests) == len(read_store(path)) == 3


def test_no_sdk_is_imported_before_it_is_needed() -> None:
    program = "import sys, drp.chat.factory; print([m for m in sys.modules if m in sys.argv[1:]])"
    heavy = ["openai", "google.generativeai", "aiohttp", "genai_prices", "requests"]
    done = subprocess.run([sys.executable, "-c", program, *heavy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_loopback_teacher_runs_in_a_process_of_its_own(path: Path) -> None:
    command = [sys.executable, "-m", "tests.loopback", "--latency", "0", "--tokens", "8"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        server = LoopbackServer(port=int(process.stdout.readline()))  # only for its address
        reply = ask_one(server, path, "openai")
        process.kill()
    assert isinstance(reply, Reply)
    assert reply.usage.output_tokens == 8


def test_a_later_run_pays_nothing_for_what_is_stored(provider: str, path: Path) -> None:
    questions = [f"question {i}" for i in range(20)]
    with LoopbackServer(echo) as server:
        first = ask(lambda: open_teacher(server, path, provider), questions)
        n_before = len(server.requests)
        second = ask(lambda: open_teacher(server, path, provider), questions)
    assert n_before == len(server.requests) == 20
    assert first == second


def test_another_temperature_or_limit_is_another_request(path: Path) -> None:
    with LoopbackServer(echo) as server:
        for changes in ({}, {"temperature": 0.7}, {"max_output_tokens": 9}, {"model": "teacher-2"}, {}):
            ask_one(server, path, "openai", **changes)
    assert len(server.requests) == 4


def test_identical_requests_in_flight_share_one_call(provider: str, path: Path) -> None:
    with LoopbackServer(echo, latency_s=0.1) as server:
        replies = ask(lambda: open_teacher(server, path, provider), ["the same"] * 10)
    assert len(server.requests) == 1
    assert len(set(map(repr, replies))) == 1


def test_a_cancelled_caller_does_not_lose_the_reply(provider: str, path: Path) -> None:
    async def run() -> None:
        client = open_teacher(server, path, provider)
        call = asyncio.create_task(client.complete([Message("user", "patience")]))
        while not server.requests:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await client.close()

    with LoopbackServer(echo, latency_s=0.2) as server:
        asyncio.run(run())
    assert [reply["text"] for reply in read_store(path)] == ["you said patience"]
