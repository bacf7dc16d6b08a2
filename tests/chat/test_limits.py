"""Rates and cool-down on a simulated clock, and the shared cool-down over a real connection."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from drp.chat.limits import Limits, Window
from drp.chat.wire import Reply
from tests.chat.conftest import ask, open_teacher
from tests.loopback import LoopbackServer, faults


class Clock:
    """A clock that only `sleep` advances."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.n_sleeps = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.n_sleeps += 1
        await asyncio.sleep(0)
        self.now += seconds


def start_all(
    limits: Limits, clock: Clock, n_calls: int, tokens: int = 0, then: Callable[[int], Awaitable[None]] | None = None
) -> list[float]:
    """Seconds after which each of `n_calls` calls starts."""
    begin, starts = clock.now, []

    async def call(i: int) -> None:
        async with limits.hold(tokens):
            starts.append(clock.now - begin)
            if then:
                await then(i)

    async def run() -> None:
        await asyncio.gather(*(call(i) for i in range(n_calls)))

    asyncio.run(run())
    return starts


def make_limits(clock: Clock, requests: int | None = None, tokens: int | None = None, concurrency: int = 99) -> Limits:
    return Limits(concurrency, requests, tokens, clock=clock, sleep=clock.sleep)


def test_without_limits_no_call_waits() -> None:
    clock = Clock()
    assert start_all(make_limits(clock), clock, 50) == [0.0] * 50
    assert clock.n_sleeps == 0


def test_requests_per_minute_are_spread_evenly() -> None:
    clock = Clock()
    starts = start_all(make_limits(clock, requests=120), clock, 10)
    assert starts == pytest.approx([0.5 * i for i in range(10)])
    assert clock.n_sleeps == 9, "a call polled instead of sleeping until its turn"


def test_tokens_per_minute_are_spread_by_what_each_call_takes() -> None:
    clock = Clock()
    starts = start_all(make_limits(clock, tokens=6000), clock, 5, tokens=300)
    gaps = [b - a for a, b in pairwise(starts[1:])]
    assert gaps == pytest.approx([3.0] * 3)


def test_tokens_that_were_not_needed_are_given_back() -> None:
    clock = Clock()
    limits = make_limits(clock, tokens=6000)

    async def settle(_i: int) -> None:
        limits.settle(300, 100)

    starts = start_all(limits, clock, 5, tokens=300, then=settle)
    assert starts[-1] - starts[1] == pytest.approx(3.0), "100 tokens a call at 100 a second"


def test_the_window_holds_no_more_than_its_size() -> None:
    clock = Clock()
    limits, most = make_limits(clock, concurrency=3), 0

    async def work(_i: int) -> None:
        nonlocal most
        most = max(most, limits.window.n_in_flight)
        await asyncio.sleep(0)

    start_all(limits, clock, 20, then=work)
    assert most == 3
    assert limits.window.n_in_flight == 0


def test_a_cancelled_waiter_leaves_its_place_to_the_next() -> None:
    async def run() -> None:
        window = Window(1)
        await window.enter()
        first, second = asyncio.create_task(window.enter()), asyncio.create_task(window.enter())
        await asyncio.sleep(0)
        window.leave()  # the place is handed to the first, which is cancelled before it can take it
        first.cancel()
        await asyncio.wait_for(second, 1)
        assert window.n_in_flight == 1

    asyncio.run(run())


def test_headers_of_the_provider_are_followed() -> None:
    clock = Clock()
    limits = make_limits(clock)
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "58s",
    }
    limits.learn(headers, elapsed_s=0)
    assert start_all(limits, clock, 5) == pytest.approx([0, 0, 1, 2, 3])


def test_token_headers_of_a_limit_per_day_are_followed() -> None:
    clock = Clock()
    limits = make_limits(clock)
    headers = {
        "x-ratelimit-limit-tokens": "86400",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "24h0m0s",
    }
    limits.learn(headers, elapsed_s=0)
    assert start_all(limits, clock, 3, tokens=50) == pytest.approx([50, 100, 150])


def test_headers_that_make_no_sense_are_ignored() -> None:
    clock = Clock()
    limits = make_limits(clock)
    for limit, remaining, reset in [("0", "0", "0"), ("a", "b", "c"), ("10", "", "1s"), ("10, 10;w=60", "3", "1s")]:
        headers = {
            "x-ratelimit-limit-requests": limit,
            "x-ratelimit-remaining-requests": remaining,
            "x-ratelimit-reset-requests": reset,
        }
        limits.learn(headers, elapsed_s=0.1)
    assert start_all(limits, clock, 30) == [0.0] * 30


def test_a_cool_down_holds_all_calls_and_halves_the_window_once() -> None:
    clock = Clock()
    limits = make_limits(clock, concurrency=8)
    limits.cool_down(5)
    limits.cool_down(3)
    most = 0

    async def work(_i: int) -> None:
        nonlocal most
        most = max(most, limits.window.n_in_flight)
        await asyncio.sleep(0)

    assert min(start_all(limits, clock, 8, then=work)) == pytest.approx(5)
    assert most == 4
    for _ in range(20):
        limits.settle(0, 0)
    start_all(limits, clock, 20, then=work)
    assert most == 8, "successes open the window again, up to its size"


def test_a_long_wait_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    for seconds, n_told in [(30, 0), (600, 1)]:
        clock = Clock()
        limits = make_limits(clock)
        limits.cool_down(seconds)
        start_all(limits, clock, 3)
        assert capsys.readouterr().err.count(f"waiting {seconds} s") == n_told


@pytest.mark.parametrize("way", ["retry_after", "retry_after_ms", "retry_delay"])
def test_one_cool_down_is_shared_by_all_workers(provider: str, path: Path, way: str) -> None:
    asked = {"retry_after": "0.5", "retry_after_ms": "500", "retry_delay": "0.5s"}[way]
    rate_limit = replace(faults.RATE_LIMIT, **{way: asked})
    if (provider, way) == ("openai", "retry_delay"):
        pytest.skip("Google's own form")
    with LoopbackServer(faults=[rate_limit] * 4) as server:
        replies = ask(lambda: open_teacher(server, path, provider, concurrency=4), [str(i) for i in range(12)])
    assert all(isinstance(reply, Reply) for reply in replies)
    arrivals = [request.arrived for request in server.requests]
    assert len(arrivals) == 16
    # The first four were in flight; no other call starts before the wait that the first of them was told.
    assert min(arrivals[4:]) - arrivals[0] >= 0.5
