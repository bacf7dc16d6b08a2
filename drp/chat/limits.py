"""What a request waits for before it is sent: rate limits, the cost cap, and the pause before a retry.

Rate limits (`Limits`) are three: a window (calls in flight), token buckets (requests and tokens a minute, from the
settings and from the provider's `x-ratelimit-*` headers), and one cool-down after a 429 that all calls share. A waiting
call sleeps until its turn, without polling.

A request allows its reply (`ReplyLimits`) half as much again as is expected, as providers count what a request allows
against the tokens a minute, not what is generated.

The cost cap (`CostCap`, `teacher.max_cost_usd`) reserves the worst cost of each call before it is sent. A call that
does not fit waits for those in flight, which usually cost less than was reserved. So near the cap there are fewer and
fewer calls in flight, and the run ends when the next call alone might exceed it.
"""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from drp.chat.prices import Price
from drp.chat.store import ReplyStore
from drp.chat.wire import Message, TransientError, estimate_tokens, read_duration
from drp.config.sections import TeacherSettings
from drp.errors import UserError
from drp.runs.progress import say

_LONG_WAIT_S = 60.0
"""A longer wait is reported, so that it is not taken for a hang."""
_MIN_REPLY_TOKENS = 512
"""The smallest output limit of a request: chat models add introductions and remarks."""
_MIN_CUT_SHORT = 8

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class Limits:
    """All rate limits of one client. requests_per_minute, tokens_per_minute: None for the provider's limit alone."""

    def __init__(
        self,
        concurrency: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.window = Window(concurrency)
        self._clock, self._sleep = clock, sleep
        self._turn = asyncio.Lock()
        self._cool_until = clock()
        rates = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._configured = {kind: _smooth_bucket(rate, clock) for kind, rate in rates.items() if rate}
        self._provider: dict[str, Bucket] = {}

    @asynccontextmanager
    async def hold(self, tokens: int) -> AsyncIterator[None]:
        """Wait for a place in the window and for the rates; hold the place for one call of about `tokens` tokens."""
        await self.window.enter()
        try:
            await self._wait_for_rates({"requests": 1, "tokens": tokens})
            yield
        finally:
            self.window.leave()

    def learn(self, headers: Mapping[str, str], elapsed_s: float) -> None:
        """Follow the limits in a response's headers. elapsed_s: from sending the request to receiving the response."""
        for kind in ("requests", "tokens"):
            if f"x-ratelimit-limit-{kind}" not in headers:
                continue
            limit = read_duration(headers[f"x-ratelimit-limit-{kind}"])
            remaining = read_duration(headers.get(f"x-ratelimit-remaining-{kind}", ""))
            reset_s = read_duration(headers.get(f"x-ratelimit-reset-{kind}", ""))
            if limit and remaining is not None and reset_s is not None:
                bucket = self._provider.setdefault(kind, Bucket(limit, limit / 60, limit, self._clock))
                bucket.learn(limit, remaining, reset_s, elapsed_s)

    def settle(self, expected_tokens: int, tokens: int) -> None:
        """Correct the buckets after a successful call of `tokens`, for which `expected_tokens` were taken."""
        self.window.grow()
        for buckets in (self._configured, self._provider):
            if "tokens" in buckets:
                buckets["tokens"].take(tokens - expected_tokens)

    def cool_down(self, seconds: float) -> None:
        """Start no call for so many seconds. The window shrinks once, however many calls in flight report a 429."""
        now = self._clock()
        if now >= self._cool_until:
            self.window.shrink()
        self._cool_until = max(self._cool_until, now + seconds)

    async def _wait_for_rates(self, costs: Mapping[str, int]) -> None:
        if self._turn.locked() or self._find_wait_s(costs) > 0:
            # Only the first in line sleeps, which keeps the order; tokens that others give back shorten its wait.
            async with self._turn:
                while (wait_s := self._find_wait_s(costs)) > 0:
                    if wait_s > _LONG_WAIT_S:
                        say(f"rate limits of the provider or the settings: waiting {wait_s:.0f} s")
                    await self._sleep(wait_s)
                self._take(costs)
        else:
            self._take(costs)

    def _find_wait_s(self, costs: Mapping[str, int]) -> float:
        waits = [self._cool_until - self._clock()]
        for buckets in (self._configured, self._provider):
            waits += [bucket.find_wait_s(costs[kind]) for kind, bucket in buckets.items()]
        return max(waits)

    def _take(self, costs: Mapping[str, int]) -> None:
        for buckets in (self._configured, self._provider):
            for kind, bucket in buckets.items():
                bucket.take(costs[kind])


class Window:
    """A semaphore of variable size: halved by each rate limit, one larger after each success, up to `size`."""

    def __init__(self, size: int) -> None:
        self.size, self.n_in_flight = size, 0
        self._open = float(size)
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        if self.n_in_flight < self._open and not self._waiting:
            self.n_in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        self.n_in_flight -= 1
        self._admit()

    def shrink(self) -> None:
        self._open = max(1.0, self._open / 2)

    def grow(self) -> None:
        if self._open < self.size:
            self._open = min(self.size, self._open + 1)
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self.n_in_flight < self._open:
            turn = self._waiting.popleft()
            if not turn.done():
                self.n_in_flight += 1
                turn.set_result(None)


class Bucket:
    """`level` of at most `capacity` units, refilled at `rate` units a second; calls take from it."""

    def __init__(self, capacity: float, rate: float, level: float, clock: Clock) -> None:
        self.capacity, self.rate, self.level = capacity, rate, level
        self._clock, self._filled = clock, clock()

    def find_wait_s(self, cost: float) -> float:
        """Seconds until the bucket holds `cost`; a cost above the capacity waits for a full bucket."""
        self._refill()
        missing = min(cost, self.capacity) - self.level
        return missing / self.rate if missing > 1e-6 else 0.0

    def take(self, cost: float) -> None:
        """Take `cost`; the level may become negative. A negative cost is given back."""
        self._refill()
        self.level = min(self.capacity, self.level - cost)

    def learn(self, capacity: float, remaining: float, reset_s: float, elapsed_s: float) -> None:
        """Follow the provider's own bucket, as it was `elapsed_s` ago; it is full again after `reset_s`."""
        self._refill()
        self.capacity = max(1.0, capacity)
        if reset_s > 0 and remaining < capacity:
            self.rate = (capacity - remaining) / reset_s
        # `remaining` also counts what other users of the key took. The provider wrote it when the request arrived, so
        # its bucket has been refilled for up to `elapsed_s` since.
        self.level = min(self.level, remaining + self.rate * elapsed_s)

    def _refill(self) -> None:
        now = self._clock()
        self.level = min(self.capacity, self.level + (now - self._filled) * self.rate)
        self._filled = now


def _smooth_bucket(per_minute: int, clock: Clock) -> Bucket:
    """A bucket that spreads calls evenly: it lets a quarter of a second's worth through at once, or one call."""
    rate = per_minute / 60
    return Bucket(max(1.0, rate / 4), rate, 1.0, clock)


class ReplyLimits:
    """The output limit of each request, below `teacher.max_output_tokens` if the length of the reply is expected.

    A teacher that thinks before it replies writes more than is expected. If more than a quarter of the replies in
    `store`, and at least `_MIN_CUT_SHORT`, did not fit, all requests allow the maximum.
    """

    def __init__(self, settings: TeacherSettings, store: ReplyStore) -> None:
        self._settings, self._store = settings, store
        self._has_reported = False

    def find(self, key: str, expected_tokens: int | None) -> int | None:
        """The limit of the request with the hash `key`, in tokens; None for `teacher.max_output_tokens`."""
        headroom = self._settings.reply_headroom
        if expected_tokens is None or headroom is None or self._store.was_cut_short(key) or self._expects_too_little:
            return None
        limit = max(_MIN_REPLY_TOKENS, math.ceil(headroom * expected_tokens))
        return limit if limit < self._settings.max_output_tokens else None

    @property
    def _expects_too_little(self) -> bool:
        n_cut_short, place = self._store.n_cut_short, self._settings.place
        too_little = n_cut_short >= max(_MIN_CUT_SHORT, self._store.n_limited / 4)
        if too_little and not self._has_reported:
            self._has_reported = True
            say(
                f"{n_cut_short} of {self._store.n_limited} replies were longer than expected and were asked for again, "
                f"so all requests now allow {place}.max_output_tokens. For a teacher that thinks before it replies, "
                f"set {place}.reply_headroom to null"
            )
        return too_little


class CostCapReached(UserError):
    """The next call might cost more than `teacher.max_cost_usd` leaves. All replies are kept."""


class CostCap:
    """`teacher.max_cost_usd` for a run directory: what its stored replies cost plus what is reserved stays below it.

    price: None if it is unknown, which is allowed only without a cap. store: is open.
    """

    def __init__(self, settings: TeacherSettings, store: ReplyStore, price: Price | None) -> None:
        self._settings, self._store, self._price = settings, store, price
        self._cap_usd = settings.max_cost_usd
        # Replies that were paid for before the price was known count at today's price.
        unpriced = store.unpriced
        self._unpriced_usd = price(unpriced.input_tokens, unpriced.output_tokens) if price else 0.0
        self._reserved: list[float] = []
        self._released = asyncio.Event()

    def find_worst_usd(self, messages: Sequence[Message], max_tokens: int | None = None) -> float:
        """The most that a call may cost: an upper bound of its input tokens, and output up to its limit. 0: no cap.

        max_tokens: the limit; None for `teacher.max_output_tokens`.
        """
        if self._cap_usd is None or not self._price:
            return 0.0
        return self._price(estimate_tokens(messages, 3), max_tokens or self._settings.max_output_tokens)

    @asynccontextmanager
    async def reserve(self, worst_usd: float) -> AsyncIterator[None]:
        """Hold the worst cost of a call while it is in flight. Raises CostCapReached if it cannot fit any more."""
        if self._cap_usd is None:
            yield
            return
        while not self.fits(worst_usd):
            self.check(worst_usd)
            await self._released.wait()
        self.hold(worst_usd)
        try:
            yield
        finally:
            self.release(worst_usd)

    def fits(self, worst_usd: float) -> bool:
        """Whether a call may be sent now."""
        return self._cap_usd is None or self._spent_usd + sum(self._reserved) + worst_usd <= self._cap_usd

    def check(self, worst_usd: float) -> None:
        """Raise CostCapReached if a call does not fit and nothing is in flight that might cost less than reserved."""
        if not self._reserved and not self.fits(worst_usd):
            cap = f"{self._settings.place}.max_cost_usd"
            raise CostCapReached(
                f"{cap} is {self._cap_usd:g}; ${self._spent_usd:.4f} is spent, and the next call might cost "
                f"up to ${worst_usd:.4f}. All replies are kept: raise {cap} and run this again to continue."
            )

    def hold(self, worst_usd: float) -> None:
        """Reserve the worst cost of a call or a batch that is sent."""
        self._reserved.append(worst_usd)

    def release(self, worst_usd: float) -> None:
        """Undo `hold` once the cost is known, and wake the calls that wait for it."""
        self._reserved.remove(worst_usd)
        self._released.set()
        self._released.clear()

    @property
    def _spent_usd(self) -> float:
        return self._store.spent_usd + self._unpriced_usd


@dataclass(frozen=True)
class RetryPolicy:
    """The pauses between the attempts of one request: doubled from `first_s` to `longest_s`, plus up to `jitter_s`."""

    first_s: float = 1.0
    longest_s: float = 60.0
    jitter_s: float = 1.0
    give_up_s: float = 900.0
    """Direct calls: a provider that asks for a longer wait ends the run. Batches: how long a call is retried."""
    listing_s: float = 30.0
    """Batches: how long after its creation a batch may be missing from the provider's list."""

    def find_wait_s(self, error: TransientError, n_attempts: int) -> float:
        """Seconds to wait after `n_attempts` failed attempts: what the provider asks for, else the doubled pause."""
        if error.retry_after_s is not None:
            return error.retry_after_s
        doubled_s = self.first_s * 2.0 ** min(n_attempts - 1, 30)
        return min(doubled_s, self.longest_s) + random.uniform(0, self.jitter_s)
