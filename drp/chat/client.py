"""A ChatClient that pays once: stored replies first, then the wire, within limits, budget and allowed tries."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from drp.chat.limits import Limits, Price
from drp.chat.store import Ledger, ReplyStore, StoredReply, identify_request, read_stored
from drp.chat.wire import Answer, Message, Reply, TransientError, Wire, count_roughly
from drp.config.sections import TeacherSettings
from drp.errors import DrpError, RecordError, UserError
from drp.records import Usage
from drp.runs.progress import say


@dataclass(frozen=True)
class Backoff:
    """Seconds between tries: `first_s`, doubled each time up to `longest_s`, plus as much as `jitter_s` by chance.

    patience_s: where a provider asks to wait longer than this, the run stops instead.
    doubt_s: how long a batch that was created may take to be in the provider's list.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    jitter_s: float = 1.0
    patience_s: float = 900.0
    doubt_s: float = 30.0


class PayingClient:
    """A model at a provider; the only place where money is spent.

    spent_usd: dollars so far, earlier runs in this directory included; None where the price is unknown.
    paid: what this process paid for.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        wire: Wire,
        store: ReplyStore,
        price: Price | None,
        *,
        backoff: Backoff | None = None,
        grace_s: float = 60.0,
    ) -> None:
        self.model = settings.model or ""
        self.limits = Limits(settings.concurrency, settings.requests_per_minute, settings.tokens_per_minute)
        self._settings, self._wire, self._ledger = settings, wire, Ledger(settings, store, price)
        self._backoff, self._grace_s = backoff or Backoff(), grace_s
        self._grow_wait = wait_exponential_jitter(
            self._backoff.first_s, self._backoff.longest_s, 2, self._backoff.jitter_s
        )
        self._calls: dict[str, asyncio.Task[StoredReply]] = {}
        self._on_wire: set[asyncio.Task[StoredReply]] = set()
        self._fatal: UserError | None = None
        self._closing = self._reached = False
        self._mean_output = settings.max_output_tokens / 4

    @property
    def spent_usd(self) -> float | None:
        return self._ledger.spent_usd

    @property
    def paid(self) -> Usage:
        return self._ledger.paid

    async def complete(self, messages: Sequence[Message]) -> Reply:
        """Ask, or take the stored reply. See ChatClient.complete."""
        key = identify_request(self._settings, self._wire.address, messages)
        if stored := self._ledger.store.find(key):
            return read_stored(stored)
        # The call is a task of its own: identical requests share it, and whoever gives up waiting does not lose a
        # reply that is on its way and paid for.
        call = self._calls.get(key) or self._start(key, messages)
        return read_stored(await asyncio.shield(call))

    async def close(self) -> None:
        """Wait for calls in flight, which are paid for, at most `grace_s`; then give everything back."""
        self._closing = True
        for call in set(self._calls.values()) - self._on_wire:
            call.cancel()
        try:
            if self._on_wire:
                say(f"waiting for {len(self._on_wire)} calls that are paid for; Ctrl-C again drops them")
                await asyncio.wait(self._on_wire, timeout=self._grace_s)
        finally:
            for call in self._on_wire:
                call.cancel()
            await self._wire.close()
            self._ledger.store.close()

    def _start(self, key: str, messages: Sequence[Message]) -> asyncio.Task[StoredReply]:
        call = asyncio.create_task(self._ask(key, messages))
        self._calls[key] = call

        def forget(done: asyncio.Task[StoredReply]) -> None:
            del self._calls[key]
            if not done.cancelled():
                done.exception()  # whoever waits has it; asyncio need not complain where nobody waits any more

        call.add_done_callback(forget)
        return call

    async def _ask(self, key: str, messages: Sequence[Message]) -> StoredReply:
        try:
            return await self._try_until_done(key, messages)
        except UserError as error:
            self._fatal = error
            raise
        except DrpError:
            raise
        except Exception as error:
            message = self._wire.scrub(f"{type(error).__name__}: {error}")
            raise RecordError(message, reason=type(error).__name__) from None

    async def _try_until_done(self, key: str, messages: Sequence[Message]) -> StoredReply:
        try:
            return await self._try(key, messages)
        except TransientError as error:
            return await self._retry(error, key, messages)

    async def _retry(self, first: TransientError, key: str, messages: Sequence[Message]) -> StoredReply:
        failed = iter([first])

        async def try_again() -> StoredReply:
            for error in failed:
                raise error
            return await self._try(key, messages)

        # Built for a call that failed once already, so that the many that do not pay nothing for it.
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(self._settings.max_retries + 1),
            wait=self._find_wait_s,
            before_sleep=self._cool_down,
            reraise=True,
        )
        try:
            return await retrying(try_again)
        except TransientError as error:
            raise self._give_up(error) from None

    async def _try(self, key: str, messages: Sequence[Message]) -> StoredReply:
        expected = count_roughly(messages, 4) + int(self._mean_output)
        self._check_open()
        async with self.limits.hold(expected), self._ledger.budget.reserve(self._ledger.find_worst_usd(messages)):
            self._check_open()
            task = asyncio.current_task()
            assert task
            self._on_wire.add(task)
            try:
                answer = await self._send(messages)
                reply = self._ledger.keep(key, answer)
            finally:
                self._on_wire.discard(task)
        self.limits.settle(expected, answer.input_tokens + answer.output_tokens)
        self._mean_output += (answer.output_tokens - self._mean_output) / 20
        if answer.finish == "empty":
            raise TransientError("empty reply", f"{self._wire.address} sent no text")
        return reply

    async def _send(self, messages: Sequence[Message]) -> Answer:
        started = time.monotonic()
        try:
            answer = await self._wire.send(messages)
        except TransientError as error:
            self._reached |= error.cause not in ("connection", "timeout")
            self.limits.learn(error.headers, time.monotonic() - started)
            raise
        self._reached = True
        self.limits.learn(answer.headers, time.monotonic() - started)
        return answer

    def _check_open(self) -> None:
        if self._fatal:
            raise self._fatal.with_traceback(None)
        if self._closing:
            raise RecordError("the run was stopped before this was sent", reason="stopped")

    def _find_wait_s(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, TransientError) else None
        return self._grow_wait(state) if asked_s is None else asked_s

    def _cool_down(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, TransientError) or not state.next_action:
            return
        if (error.retry_after_s or 0) > self._backoff.patience_s:
            wait = f"The provider asks to wait {error.retry_after_s:.0f} s"
            raise UserError(f"{error}\n{wait}. All replies are kept: run this again then.")
        if error.cause == "rate limit" or error.retry_after_s:
            self.limits.cool_down(state.next_action.sleep)

    def _give_up(self, error: TransientError) -> DrpError:
        n_tries, place = self._settings.max_retries + 1, self._settings.place
        if error.cause == "connection" and not self._reached:
            return UserError(f"{error}\nNothing was reached there in {n_tries} tries: see {place}.base_url.")
        hint = f"; set {place}.requests_per_minute" if error.cause == "rate limit" else ""
        message = f"no usable reply in {n_tries} tries; the last: {error}{hint}"
        return RecordError(message, attempts=n_tries, reason=error.cause)
