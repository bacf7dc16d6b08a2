"""A ChatClient over the Batch API: stored replies first, then files of requests, each paid for once.

`complete` looks in the store, puts its request in the queue and waits. One task does the rest: it sends what has
gathered, looks after the batches under way, stores what comes back and hands it to whoever waits. Re-asks simply gather
for the next file. Requests that an earlier run has sent are waited for, not sent again.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from drp.chat.batch.courier import Courier, Outcome
from drp.chat.batch.journal import Batch
from drp.chat.batch.provider import Draft
from drp.chat.store import StoredReply, identify_request, read_stored
from drp.chat.wire import Message, Reply, TransientError
from drp.config.sections import BatchSettings, TeacherSettings
from drp.errors import DrpError, RecordError, UserError
from drp.records import Usage
from drp.runs.progress import say

_LONGEST_HOLD_S = 3600.0


@dataclass(eq=False)
class Request:
    """tries: how often it was sent in this run and came back without a reply that can be used."""

    key: str
    messages: Sequence[Message]
    reply: asyncio.Future[StoredReply]
    tries: int = 0

    def fail(self, error: DrpError) -> None:
        self.reply.set_exception(error)
        self.reply.exception()  # whoever waits has it; asyncio need not complain where nobody waits any more


class Queue:
    """max_requests: how many to put in one file. n_refused: files in a row that the provider's limit of enqueued tokens
    had no room for."""

    def __init__(self, settings: BatchSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_requests, self.n_refused = settings.max_requests, 0
        self._settings, self._clock = settings, clock
        self._requests: deque[Request] = deque()
        self._last = self._held_until = -math.inf

    def __len__(self) -> int:
        return len(self._requests)

    def __bool__(self) -> bool:
        return bool(self._requests)

    @property
    def is_full(self) -> bool:
        return len(self) >= self.max_requests

    def add(self, request: Request) -> None:
        self._requests.append(request)
        self._last = self._clock()

    @property
    def is_limited(self) -> bool:
        """Whether the provider's limit was met in this run."""
        return self.max_requests < self._settings.max_requests

    def first(self) -> Request:
        return self._requests[0]

    def pop_first(self) -> Request:
        return self._requests.popleft()

    def drain(self) -> list[Request]:
        requests = list(self._requests)
        self._requests.clear()
        return requests

    def find_wait_s(self) -> float:
        """Seconds until a file may be made; infinite where only another event can tell."""
        if not self:
            return math.inf
        ripe = -math.inf if self.is_full else self._last + self._settings.quiet_s
        return max(0.0, max(ripe, self._held_until) - self._clock())

    def hold(self) -> None:
        """Until `release`."""
        self._held_until = math.inf

    def release(self) -> None:
        self._held_until = -math.inf

    def back_off(self, max_requests: int) -> None:
        """The provider's limit had no room: smaller files, and a longer wait each time."""
        self.max_requests = max(1, max_requests)
        self._held_until = self._clock() + min(_LONGEST_HOLD_S, self._settings.poll_s * 2**self.n_refused)
        self.n_refused += 1


class BatchClient:
    """grace_s: seconds that `close` allows a step that is being taken."""

    def __init__(self, settings: TeacherSettings, courier: Courier, *, grace_s: float = 60.0) -> None:
        self.model = settings.model or ""
        self._settings, self._courier, self._wire, self._grace_s = settings, courier, courier.wire, grace_s
        self._ledger, self._budget = courier.ledger, courier.ledger.budget
        self._queue = Queue(settings.batch)
        self._requests: dict[str, Request] = {}
        self._flying = {key for batch in courier.list_open() for key in batch.keys}
        self._work: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._next_look = 0.0
        self._fatal: DrpError | None = None
        self._closing = self._is_moving = self._has_told_cap = False

    @property
    def paid(self) -> Usage:
        """What this process paid for."""
        return self._ledger.paid

    @property
    def spent_usd(self) -> float | None:
        return self._ledger.spent_usd

    async def complete(self, messages: Sequence[Message]) -> Reply:
        """Ask, or take the stored reply. See ChatClient.complete."""
        key = identify_request(self._settings, self._wire.address, messages)
        self._work = self._work or asyncio.create_task(self._run())
        if stored := self._ledger.store.find(key):
            return read_stored(stored)
        request = self._requests.get(key) or self._add(key, list(messages))
        # Identical requests share a reply, which outlives whoever gives up waiting for it.
        return read_stored(await asyncio.shield(request.reply))

    async def close(self) -> None:
        """Let a file that is on its way arrive, then give everything back. Batches go on at the provider."""
        self._closing = True
        try:
            if self._work and self._is_moving:
                say("waiting for a file that is on its way; Ctrl-C again drops it")
                await asyncio.wait([self._work], timeout=self._grace_s)
        finally:
            if self._work:
                self._work.cancel()
                await asyncio.gather(self._work, return_exceptions=True)
            await self._courier.close()
            if left := self._courier.journal.describe_open():
                say(left)

    def _add(self, key: str, messages: Sequence[Message]) -> Request:
        if self._fatal:
            raise self._fatal.with_traceback(None)
        request = Request(key, messages, asyncio.get_running_loop().create_future())
        self._requests[key] = request
        if key not in self._flying:
            self._enqueue(request)
        return request

    def _enqueue(self, request: Request) -> None:
        if self._fatal:
            self._fail(request, self._fatal)
            return
        self._queue.add(request)
        if len(self._queue) == 1 or self._queue.is_full:
            self._wake.set()

    async def _run(self) -> None:
        try:
            for batch in await self._courier.recover():
                for key in batch.keys:
                    self._resolve(key, None)
            for batch in self._courier.list_open():
                self._budget.hold(batch.worst_usd)
            while not self._closing:
                await self._pause()
                await self._send()
                await self._look()
        except DrpError as error:
            self._break(error)
        except Exception as error:
            self._break(RecordError(self._wire.scrub(f"{type(error).__name__}: {error}")))

    async def _pause(self) -> None:
        """Until there is a file to send or a batch to look at."""
        look_s = max(0.0, self._next_look - time.monotonic()) if self._courier.list_open() else float("inf")
        wait_s = min(look_s, float("inf") if self._must_wait() else self._queue.find_wait_s())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), None if wait_s == float("inf") else wait_s)
        self._wake.clear()

    async def _send(self) -> None:
        """Send what has gathered, in as many files as it takes."""
        while not self._closing and self._queue.find_wait_s() == 0 and not self._must_wait():
            draft = self._fill()
            if draft.keys:
                self._budget.hold(draft.worst_usd)
                self._flying.update(draft.keys)
                with self._moving():
                    await self._courier.send(draft)
                self._next_look = time.monotonic() + self._settings.batch.poll_s

    def _must_wait(self) -> bool:
        """Near the provider's limit, a file is sent only after the one before was let in."""
        return self._queue.is_limited and any(batch.status == "validating" for batch in self._courier.list_open())

    def _fill(self) -> Draft:
        """A file of as many waiting requests as it and the cost cap hold; holds the queue where the cap has no room."""
        draft = self._courier.draft(self._queue.max_requests)
        try:
            while self._queue:
                request = self._queue.first()
                worst_usd = self._ledger.find_worst_usd(request.messages)
                if not self._budget.fits(draft.worst_usd + worst_usd):
                    self._wait_for_room(draft, worst_usd)
                    break
                if not draft.add(request.key, self._wire.write(request.messages), worst_usd):
                    self._refuse_oversized(draft)
                    break
                self._queue.pop_first()
        finally:
            draft.close()
        return draft

    def _wait_for_room(self, draft: Draft, worst_usd: float) -> None:
        if not draft.keys:
            self._budget.check(worst_usd)
        elif not self._has_told_cap:
            self._has_told_cap = True
            say(f"{self._settings.place}.max_cost_usd has room for {len(draft.keys)} requests; later batches follow")
        self._queue.hold()

    def _refuse_oversized(self, draft: Draft) -> None:
        if not draft.keys:
            self._fail(self._queue.pop_first(), RecordError("the request alone is larger than teacher.batch.max_bytes"))

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """While a file is on its way."""
        self._is_moving = True
        try:
            yield
        finally:
            self._is_moving = False

    async def _look(self) -> None:
        """Look after the batches under way."""
        if time.monotonic() < self._next_look:
            return
        for batch in self._courier.list_open():
            if self._closing:
                return
            batch = await self._courier.look(batch)
            if batch.has_ended:
                await self._collect(batch)
        self._next_look = time.monotonic() + self._settings.batch.poll_s

    async def _collect(self, batch: Batch) -> None:
        with self._moving():
            async for key, outcome in self._courier.fetch(batch, self._find_messages):
                self._resolve(key, outcome)
        self._budget.release(batch.worst_usd)
        if batch.is_over_limit:
            self._back_off(batch)
        else:
            self._queue.n_refused = 0
            self._queue.release()

    def _back_off(self, batch: Batch) -> None:
        """The provider's limit of enqueued tokens had no room for a file."""
        if any(other.status != "validating" for other in self._courier.list_open()):
            self._queue.hold()
            return
        self._queue.back_off(batch.n_requests // batch.find_excess())
        if self._queue.n_refused > self._settings.max_retries:
            raise UserError(f"{batch.error}\nOther batches of the account take up its limit; run this again later.")

    def _find_messages(self, key: str) -> Sequence[Message]:
        request = self._requests.get(key)
        return request.messages if request else ()

    def _resolve(self, key: str, outcome: Outcome) -> None:
        self._flying.discard(key)
        request = self._requests.get(key)
        if request is None:
            return  # asked for by an earlier run only; a reply is in the store
        if isinstance(outcome, StoredReply):
            del self._requests[key]
            request.reply.set_result(outcome)
        elif isinstance(outcome, TransientError):
            self._try_again(request, outcome)
        elif outcome is None:
            self._enqueue(request)
        else:
            self._fail(request, outcome)
            if isinstance(outcome, UserError):
                self._stop_sending(outcome)

    def _try_again(self, request: Request, error: TransientError) -> None:
        request.tries += 1
        if request.tries <= self._settings.max_retries:
            self._enqueue(request)
            return
        message = f"no usable reply in {request.tries} tries; the last: {error}"
        self._fail(request, RecordError(message, attempts=request.tries, reason=error.cause))

    def _fail(self, request: Request, error: DrpError) -> None:
        del self._requests[request.key]
        request.fail(error)

    def _stop_sending(self, error: UserError) -> None:
        """No request can succeed any more; those under way are still waited for."""
        self._fatal = self._fatal or error
        for request in self._queue.drain():
            self._fail(request, error)

    def _break(self, error: DrpError) -> None:
        """The batches cannot be followed any more."""
        self._fatal = error
        self._queue.drain()
        for request in list(self._requests.values()):
            self._fail(request, error)


# FOLDED DOC of chat.batch.queue:
# Requests that wait for the next file.
#
# A file is made once no new request has come for `quiet_s`, or enough are there to fill one. While it would be refused,
# for want of room among the enqueued tokens or under the cost cap, the queue is held until a batch ends.
#
