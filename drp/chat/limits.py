"""How many calls may be in flight, and how fast they may follow one another.

Three brakes, in this order: a window (calls in flight), buckets (requests and tokens a minute, from the settings and
from the provider's `x-ratelimit-*` headers), and one cool-down that all calls share after a 429. Whoever waits sleeps
until its turn; nobody polls.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from drp.chat.wire import read_duration
from drp.config.sections import Prices, TeacherSettings
from drp.errors import UserError
from drp.runs.progress import say


class CostCapReached(UserError):
    """The next call might cost more than `teacher.max_cost_usd` leaves. All replies are kept."""


class Budget:
    """spent_usd: dollars spent so far, earlier runs in this directory included. place: the section that has the cap."""

    def __init__(self, cap_usd: float | None, spent_usd: float, place: str = "teacher") -> None:
        self.cap_usd, self.spent_usd, self._place = cap_usd, spent_usd, place
        self._reserved: list[float] = []
        self._settled = asyncio.Event()

    @asynccontextmanager
    async def reserve(self, worst_usd: float) -> AsyncIterator[None]:
        """Hold the worst case of one call while it is in flight. Raises CostCapReached where it can't fit any more."""
        if self.cap_usd is None:
            yield
            return
        while not self.fits(worst_usd):
            self.check(worst_usd)
            await self._settled.wait()
        self.hold(worst_usd)
        try:
            yield
        finally:
            self.release(worst_usd)

    def fits(self, worst_usd: float) -> bool:
        """Whether a call may be sent now."""
        return self.cap_usd is None or self.spent_usd + sum(self._reserved) + worst_usd <= self.cap_usd

    def check(self, worst_usd: float) -> None:
        """Raise CostCapReached where a call does not fit and nothing is in flight that could make room."""
        if not self._reserved and not self.fits(worst_usd):
            raise CostCapReached(self._explain(worst_usd))

    def hold(self, worst_usd: float) -> None:
        self._reserved.append(worst_usd)

    def release(self, worst_usd: float) -> None:
        self._reserved.remove(worst_usd)
        self._settled.set()
        self._settled = asyncio.Event()

    def spend(self, cost_usd: float) -> None:
        self.spent_usd += cost_usd

    def _explain(self, worst_usd: float) -> str:
        cap = f"{self._place}.max_cost_usd"
        return (
            f"{cap} is {self.cap_usd:g}; ${self.spent_usd:.4f} is spent, and the next call might cost "
            f"up to ${worst_usd:.4f}. All replies are kept: raise {cap} and run this again to go on."
        )


Price = Callable[[int, int], float]
"""Input tokens and output tokens of one call in, US dollars out."""


def find_price(settings: TeacherSettings) -> Price | None:
    """The model's price; None where nobody knows it, which is never the same as free.

    At another server (`teacher.base_url`) the list counts only where it knows that server: a local server that serves
    something under a known name does not cost what the name costs elsewhere.
    """
    if settings.provider == "rules":
        return lambda _input, _output: 0.0
    price = _use_prices(settings.prices) if settings.prices else _look_up(settings)
    if price is None or settings.mode == "direct":
        return price
    usual, share = price, 1 - settings.batch.discount
    return lambda n_input, n_output: share * usual(n_input, n_output)


def _use_prices(prices: Prices) -> Price:
    return lambda n_input, n_output: (n_input * prices.input + n_output * prices.output) / 1e6


def _look_up(settings: TeacherSettings) -> Price | None:
    from genai_prices import Usage, calc_price

    model, address = settings.model or "", settings.base_url
    provider = {"openai": "openai", "gemini": "google"}[settings.provider]

    def price(n_input: int, n_output: int) -> float:
        usage = Usage(input_tokens=n_input, output_tokens=n_output)
        if address:
            return float(calc_price(usage, model, provider_api_url=address).total_price)
        return float(calc_price(usage, model, provider_id=provider).total_price)

    try:
        price(1000, 1000)
    except (LookupError, ValueError):
        return None
    return price


_LONG_WAIT_S = 60.0
"""A longer wait is told, so that nobody takes it for a hang."""

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class Window:
    """A semaphore whose size can change: halved by each rate limit, one larger after each success, up to `size`."""

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
        """Seconds until there is enough; a cost above the capacity waits for a full bucket."""
        self._refill()
        missing = min(cost, self.capacity) - self.level
        return missing / self.rate if missing > 1e-9 else 0.0

    def take(self, cost: float) -> None:
        """Take `cost`, into debt if need be; a negative cost is given back."""
        self._refill()
        self.level = min(self.capacity, self.level - cost)

    def learn(self, capacity: float, remaining: float, reset_s: float, elapsed_s: float) -> None:
        """Follow what the provider said `elapsed_s` after it was asked; `reset_s`: until its bucket is full again."""
        self._refill()
        self.capacity = max(1.0, capacity)
        if reset_s > 0 and remaining < capacity:
            self.rate = (capacity - remaining) / reset_s
        # What others take with the same key shows here only. The provider counted before this call took its time, so
        # its bucket has filled a little since.
        self.level = min(self.level, remaining + self.rate * elapsed_s)

    def _refill(self) -> None:
        now = self._clock()
        self.level = min(self.capacity, self.level + (now - self._filled) * self.rate)
        self._filled = now


class Limits:
    """All brakes of one client. `requests_per_minute`, `tokens_per_minute`: None where only the provider knows."""

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
        self._own = {kind: _pace(rate, clock) for kind, rate in rates.items() if rate}
        self._provider: dict[str, Bucket] = {}

    @asynccontextmanager
    async def hold(self, tokens: int) -> AsyncIterator[None]:
        """Wait for a place, hold it for one call of about so many tokens."""
        await self.window.enter()
        try:
            await self._wait_for_pace({"requests": 1, "tokens": tokens})
            yield
        finally:
            self.window.leave()

    def learn(self, headers: Mapping[str, str], elapsed_s: float) -> None:
        """Take over what a response's headers say about the provider's limits."""
        for kind in ("requests", "tokens"):
            if f"x-ratelimit-limit-{kind}" not in headers:
                continue
            limit = read_duration(headers[f"x-ratelimit-limit-{kind}"])
            remaining = read_duration(headers.get(f"x-ratelimit-remaining-{kind}", ""))
            reset_s = read_duration(headers.get(f"x-ratelimit-reset-{kind}", ""))
            if limit and remaining is not None and reset_s is not None:
                known = self._provider.setdefault(kind, Bucket(limit, limit / 60, limit, self._clock))
                known.learn(limit, remaining, reset_s, elapsed_s)

    def settle(self, expected_tokens: int, tokens: int) -> None:
        """A call is done: put its real tokens in the place of those expected."""
        self.window.grow()
        for buckets in (self._own, self._provider):
            if "tokens" in buckets:
                buckets["tokens"].take(tokens - expected_tokens)

    def cool_down(self, seconds: float) -> None:
        """Nobody starts a call for so long. One event, however many calls in flight report it."""
        now = self._clock()
        if now >= self._cool_until:
            self.window.shrink()
        self._cool_until = max(self._cool_until, now + seconds)

    def find_rates(self) -> dict[str, float]:
        """What the provider's headers have told so far: requests and tokens a minute."""
        return {kind: bucket.rate * 60 for kind, bucket in self._provider.items()}

    async def _wait_for_pace(self, costs: Mapping[str, int]) -> None:
        if self._turn.locked() or self._find_wait_s(costs) > 0:
            # Only the first in the line sleeps, so that what others give back shortens its wait and order is kept.
            async with self._turn:
                while (wait_s := self._find_wait_s(costs)) > 0:
                    if wait_s > _LONG_WAIT_S:
                        say(f"the limits of the provider or the settings ask to wait {wait_s:.0f} s")
                    await self._sleep(wait_s)
                self._take(costs)
        else:
            self._take(costs)

    def _find_wait_s(self, costs: Mapping[str, int]) -> float:
        waits = [self._cool_until - self._clock()]
        for buckets in (self._own, self._provider):
            waits += [bucket.find_wait_s(costs[kind]) for kind, bucket in buckets.items()]
        return max(waits)

    def _take(self, costs: Mapping[str, int]) -> None:
        for buckets in (self._own, self._provider):
            for kind, bucket in buckets.items():
                bucket.take(costs[kind])


def _pace(per_minute: int, clock: Clock) -> Bucket:
    """A bucket that is smooth: what it lets through at once is a quarter of a second's worth, or one call."""
    rate = per_minute / 60
    return Bucket(max(1.0, rate / 4), rate, 1.0, clock)


# FOLDED DOC of chat.budget:
# The cap on dollars: `teacher.max_cost_usd`.
#
# Each call sets its worst case aside before it is sent (input tokens on the safe side, output up to the limit) and puts
# the real cost in its place afterwards. A call that does not fit waits for those in flight, which cost less than was set
# aside. So near the cap there are fewer and fewer calls at once, and the run ends when the next one alone might pass it.
#

# FOLDED DOC of chat.prices:
# What a call costs, in US dollars: the config's `teacher.prices`, else the price list of the package genai-prices.
