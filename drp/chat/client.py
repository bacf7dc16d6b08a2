"""The chat clients that answer at once: `DirectClient` sends each request as one call, `StoredClient` sends none.

A request through DirectClient.complete:

    the run directory has a reply (store)        return it
    the same request is in flight                wait for that call
    else: wait for a place (limits.Limits), reserve its worst cost (limits.CostCap), send it (wire), store the reply;
    after a TransientError again, up to `teacher.max_retries` times;
    after a reply that did not fit the expected length, once more with the maximum (limits.ReplyLimits)

The client of `teacher.mode: batch` is `drp.chat.batch.client`.
"""

import asyncio
import time
from collections.abc import Sequence

from drp.chat.limits import Clock, CostCap, Limits, ReplyLimits, RetryPolicy
from drp.chat.prices import Price
from drp.chat.store import ReplyStore, StoredReply, hash_request
from drp.chat.wire import (
    UNREACHED_CAUSES,
    UNREACHED_RETRIES,
    Cause,
    Message,
    Reply,
    TransientError,
    Wire,
    WireReply,
    estimate_tokens,
)
from drp.config.sections import TeacherSettings
from drp.errors import DrpError, RecordError, UserError
from drp.runs.progress import say

GRACE_S = 1.5
"""How long a run that is interrupted waits for calls in flight, which are paid for."""


class DirectClient:
    """`teacher.mode: direct`: a ChatClient that sends each request as one call.

    store: is open, and closed with the client. price: None if it is unknown.
    grace_s: how long `close` waits for calls in flight, in seconds.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        *,
        wire: Wire,
        store: ReplyStore,
        price: Price | None,
        retry: RetryPolicy,
        grace_s: float = GRACE_S,
        clock: Clock = time.monotonic,
    ) -> None:
        self.model = settings.model or ""
        self._settings, self._wire, self._store, self._price = settings, wire, store, price
        self._limits = Limits(
            settings.concurrency, settings.requests_per_minute, settings.tokens_per_minute, clock=clock
        )
        self._cap, self._reply_limits = CostCap(settings, store, price), ReplyLimits(settings, store)
        self._retry, self._grace_s, self._clock = retry, grace_s, clock
        self._calls: dict[str, asyncio.Task[StoredReply]] = {}
        self._in_flight: set[asyncio.Task[StoredReply]] = set()
        self._fatal: UserError | None = None
        self._is_closing = self._was_reached = False
        self._reported: set[Cause] = set()

    async def complete(self, messages: Sequence[Message], *, expected_tokens: int | None = None) -> Reply:
        """Send a request, or return the stored reply. See ChatClient.complete."""
        key = hash_request(self._settings, self._wire.address, messages)
        if stored := self._store.find(key):
            return stored.as_reply()
        # Each call is a task of its own: identical requests share it, and a caller that is cancelled does not cancel a
        # call that is already paid for.
        call = self._calls.get(key) or self._start(key, messages, expected_tokens)
        return (await asyncio.shield(call)).as_reply()

    async def close(self) -> None:
        """Wait at most `grace_s` for the calls in flight, which are paid for; then close the wire and the store."""
        self._is_closing = True
        for call in set(self._calls.values()) - self._in_flight:
            call.cancel()
        try:
            if self._in_flight:
                await asyncio.wait(self._in_flight, timeout=self._grace_s)
        finally:
            for call in self._in_flight:
                call.cancel()
            await self._wire.close()
            self._store.close()

    def _start(self, key: str, messages: Sequence[Message], expected_tokens: int | None) -> asyncio.Task[StoredReply]:
        call = asyncio.create_task(self._ask(key, messages, expected_tokens))
        self._calls[key] = call

        def forget(done: asyncio.Task[StoredReply]) -> None:
            del self._calls[key]
            if not done.cancelled():
                done.exception()  # marks it as retrieved: asyncio would report it if no caller is waiting any more

        call.add_done_callback(forget)
        return call

    async def _ask(self, key: str, messages: Sequence[Message], expected_tokens: int | None) -> StoredReply:
        try:
            return await self._ask_with_retries(key, messages, expected_tokens)
        except UserError as error:
            self._fatal = error
            raise
        except DrpError:
            raise
        except Exception as error:
            raise RecordError(f"{type(error).__name__}: {error}", reason=type(error).__name__) from None

    async def _ask_with_retries(
        self, key: str, messages: Sequence[Message], expected_tokens: int | None
    ) -> StoredReply:
        # Without tenacity, which would double this client's own CPU time for a call.
        n_attempts = 0
        while True:
            try:
                reply = await self._attempt(key, messages, self._reply_limits.find(key, expected_tokens))
                if not reply.is_cut_short:
                    return reply
            except TransientError as error:
                n_attempts += 1
                if n_attempts > self._find_max_retries(error):
                    raise self._give_up(error, n_attempts) from None
                await self._pause(error, n_attempts)

    async def _attempt(self, key: str, messages: Sequence[Message], max_tokens: int | None) -> StoredReply:
        """Send a request once, within limits and cost cap, and store its reply."""
        reserved = estimate_tokens(messages, 4) + (max_tokens or self._settings.max_output_tokens)
        self._check_open()
        async with self._limits.hold(reserved), self._cap.reserve(self._cap.find_worst_usd(messages, max_tokens)):
            self._check_open()  # that may have changed while this call waited
            task = asyncio.current_task()
            assert task
            self._in_flight.add(task)
            try:
                reply = await self._send(messages, max_tokens)
                stored = StoredReply.of(key, reply, self._settings, self._price, max_tokens=max_tokens)
                stored = self._store.append(stored)
            finally:
                self._in_flight.discard(task)
        self._limits.settle(reserved, reply.input_tokens + reply.output_tokens)
        if reply.finish == "empty":
            body = " ".join((reply.raw or "").split())[:200]
            raise TransientError("empty reply", f"{self._wire.address} sent no text: {body}")
        return stored

    async def _send(self, messages: Sequence[Message], max_tokens: int | None) -> WireReply:
        started = self._clock()
        try:
            reply = await self._wire.send(messages, max_tokens)
        except TransientError as error:
            self._was_reached |= error.cause not in (*UNREACHED_CAUSES, "timeout")
            self._limits.learn(error.headers, self._clock() - started)
            raise
        self._was_reached = True
        self._limits.learn(reply.headers, self._clock() - started)
        return reply

    def _check_open(self) -> None:
        if self._fatal:
            raise self._fatal.with_traceback(None)
        if self._is_closing:
            raise RecordError("the run was stopped before this was sent", reason="stopped")

    async def _pause(self, error: TransientError, n_attempts: int) -> None:
        """Wait before a retry. No other call starts meanwhile if the provider asked to wait, or after a rate limit."""
        wait_s = self._retry.find_wait_s(error, n_attempts)
        if wait_s > self._retry.give_up_s:
            wait = f"The provider asks to wait {wait_s:.0f} s"
            raise UserError(f"{error}\n{wait}. All replies are kept: run this again then.")
        if error.cause not in self._reported:
            self._reported.add(error.cause)
            n = self._find_max_retries(error)
            say(f"{error}\nTrying again in {wait_s:.0f} s, at most {n} times; later failures of this kind are not told")
        if error.cause == "rate limit" or error.retry_after_s:
            self._limits.cool_down(wait_s)
        await asyncio.sleep(wait_s)

    def _find_max_retries(self, error: TransientError) -> int:
        if error.cause in UNREACHED_CAUSES and not self._was_reached:
            return min(self._settings.max_retries, UNREACHED_RETRIES)
        return self._settings.max_retries

    def _give_up(self, error: TransientError, n_attempts: int) -> DrpError:
        place = self._settings.place
        if error.cause in UNREACHED_CAUSES and not self._was_reached:
            return UserError(f"{error}\nNo answer of an API in {n_attempts} attempts: check {place}.base_url.")
        hint = f"; set {place}.requests_per_minute" if error.cause == "rate limit" else ""
        message = f"no usable reply in {n_attempts} attempts; the last: {error}{hint}"
        return RecordError(message, attempts=n_attempts, reason=error.cause)


class StoredClient:
    """A ChatClient that answers from the store alone, without a key or a network; what `--reparse` uses.

    address: where the requests went when they were paid for. store: is open, and closed with the client.
    """

    def __init__(self, settings: TeacherSettings, *, store: ReplyStore, address: str) -> None:
        self.model = settings.model or ""
        self._settings, self._store, self._address = settings, store, address

    async def complete(self, messages: Sequence[Message], *, expected_tokens: int | None = None) -> Reply:  # noqa: ARG002
        """The stored reply. Raises RecordError if there is none."""
        stored = self._store.find(hash_request(self._settings, self._address, messages))
        if stored is None:
            message = f"{self._store.path} has no reply to this request; run without --reparse to send it"
            raise RecordError(message, reason="no stored reply")
        return stored.as_reply()

    async def close(self) -> None:
        self._store.close()
