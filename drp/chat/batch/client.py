"""The chat client of `teacher.mode: batch`. `BatchClient.complete` returns the stored reply, or queues its request and
waits for the reply. One worker task does the rest, in a loop:

    _send   put queued requests into files and send these as batches
    _poll   ask for the status of the open batches; store the replies of those that have ended and pass them on

A request without a usable reply is queued again. Requests in batches of an earlier run are waited for, not sent again.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from drp.chat.batch.journal import Batch
from drp.chat.batch.provider import BatchFile
from drp.chat.batch.uploader import BatchUploader, Outcome
from drp.chat.client import GRACE_S
from drp.chat.limits import CostCap, ReplyLimits
from drp.chat.store import StoredReply, hash_request
from drp.chat.wire import Message, Reply, TransientError
from drp.config.sections import BatchSettings, TeacherSettings
from drp.errors import DrpError, RecordError, UserError
from drp.runs.progress import say

_LONGEST_HOLD_S = 3600.0


class BatchClient:
    """A ChatClient over the Batch API. It closes `uploader`, and with it the store.

    grace_s: how long `close` waits for an upload or a download, in seconds.
    """

    def __init__(self, settings: TeacherSettings, uploader: BatchUploader, *, grace_s: float = GRACE_S) -> None:
        self.model = settings.model or ""
        self._settings, self._uploader, self._wire, self._grace_s = settings, uploader, uploader.wire, grace_s
        self._cap = CostCap(settings, uploader.store, uploader.price)
        self._reply_limits = ReplyLimits(settings, uploader.store)
        self._queue = BatchQueue(settings.batch)
        self._requests: dict[str, BatchRequest] = {}
        self._sent_keys = {key for batch in uploader.list_open() for key in batch.keys}
        self._worker: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._next_poll = 0.0
        self._fatal: DrpError | None = None
        self._is_closing = self._is_transferring = self._has_reported_cap = False

    async def complete(self, messages: Sequence[Message], *, expected_tokens: int | None = None) -> Reply:
        """Queue a request and wait for its reply, or return the stored reply. See ChatClient.complete."""
        key = hash_request(self._settings, self._wire.address, messages)
        self._worker = self._worker or asyncio.create_task(self._run())
        if stored := self._uploader.store.find(key):
            return stored.as_reply()
        request = self._requests.get(key) or self._add(key, list(messages), expected_tokens)
        # Identical requests share a reply; it is waited for even if a caller is cancelled.
        return (await asyncio.shield(request.reply)).as_reply()

    async def close(self) -> None:
        """Wait for an upload or download to end, then close everything. Batches continue at the provider."""
        self._is_closing = True
        try:
            if self._worker and self._is_transferring:
                await asyncio.wait([self._worker], timeout=self._grace_s)
        finally:
            if self._worker:
                self._worker.cancel()
                await asyncio.gather(self._worker, return_exceptions=True)
            await self._uploader.close()
            if left := self._uploader.journal.describe_open():
                say(left)

    def _add(self, key: str, messages: Sequence[Message], expected_tokens: int | None) -> "BatchRequest":
        if self._fatal:
            raise self._fatal.with_traceback(None)
        request = BatchRequest(key, messages, expected_tokens, asyncio.get_running_loop().create_future())
        self._requests[key] = request
        if key not in self._sent_keys:
            self._enqueue(request)
        return request

    def _enqueue(self, request: "BatchRequest") -> None:
        if self._fatal:
            self._fail(request, self._fatal)
            return
        self._queue.add(request)
        if len(self._queue) == 1 or self._queue.is_full:
            self._wake.set()

    async def _run(self) -> None:
        """The worker task."""
        try:
            for batch in await self._uploader.recover():
                for key in batch.keys:
                    self._resolve(key, None)
            for batch in self._uploader.list_open():
                self._cap.hold(batch.worst_usd)
            while not self._is_closing:
                await self._wait()
                await self._send()
                await self._poll()
        except DrpError as error:
            self._fail_all(error)
        except Exception as error:
            self._fail_all(RecordError(f"{type(error).__name__}: {error}"))

    async def _wait(self) -> None:
        """Wait until a file can be sent, or a batch has to be polled."""
        poll_s = max(0.0, self._next_poll - time.monotonic()) if self._uploader.list_open() else math.inf
        wait_s = min(poll_s, math.inf if self._is_blocked() else self._queue.find_wait_s())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), None if wait_s == math.inf else wait_s)
        self._wake.clear()

    async def _send(self) -> None:
        """Send the queued requests, in as many files as it takes."""
        while not self._is_closing and self._queue.find_wait_s() == 0 and not self._is_blocked():
            file = self._fill_file()
            if file.keys:
                self._cap.hold(file.worst_usd)
                self._sent_keys.update(file.keys)
                with self._transferring():
                    await self._uploader.send(file)
                self._next_poll = time.monotonic() + self._settings.batch.poll_s

    def _is_blocked(self) -> bool:
        """Near the provider's limit of enqueued tokens, a file is sent only after the one before was accepted."""
        return self._queue.is_limited and any(batch.status == "validating" for batch in self._uploader.list_open())

    def _fill_file(self) -> BatchFile:
        """A file of as many queued requests as the limits of a file and the cost cap allow."""
        file = self._uploader.start_file(self._queue.max_requests)
        try:
            while self._queue:
                request = self._queue.first()
                max_tokens = self._reply_limits.find(request.key, request.expected_tokens)
                worst_usd = self._cap.find_worst_usd(request.messages, max_tokens)
                if not self._cap.fits(file.worst_usd + worst_usd):
                    self._hold_at_cap(file, worst_usd)
                    break
                body = self._wire.write(request.messages, max_tokens)
                if not file.add(request.key, body, max_tokens, worst_usd):
                    if not file.keys:
                        message = f"the request alone is larger than {self._settings.place}.batch.max_bytes"
                        self._fail(self._queue.pop_first(), RecordError(message))
                    break
                self._queue.pop_first()
        finally:
            file.close()
        return file

    def _hold_at_cap(self, file: BatchFile, worst_usd: float) -> None:
        """Hold the queue until a batch ends. Raises CostCapReached if none is open and nothing fits."""
        if not file.keys:
            self._cap.check(worst_usd)
        elif not self._has_reported_cap:
            self._has_reported_cap = True
            say(f"{self._settings.place}.max_cost_usd allows {len(file.keys)} requests now; later batches follow")
        self._queue.hold()

    async def _poll(self) -> None:
        """Ask for the status of the open batches, and fetch the results of those that have ended."""
        if time.monotonic() < self._next_poll:
            return
        for batch in self._uploader.list_open():
            if self._is_closing:
                return
            batch = await self._uploader.poll(batch)
            if batch.has_ended:
                await self._collect(batch)
        self._next_poll = time.monotonic() + self._settings.batch.poll_s

    async def _collect(self, batch: Batch) -> None:
        with self._transferring():
            async for key, outcome in self._uploader.fetch(batch, self._find_messages):
                self._resolve(key, outcome)
        self._cap.release(batch.worst_usd)
        if batch.is_over_limit:
            self._back_off(batch)
        else:
            self._queue.n_refused = 0
            self._queue.release()

    @contextmanager
    def _transferring(self) -> Iterator[None]:
        """Mark an upload or a download, for which `close` waits."""
        self._is_transferring = True
        try:
            yield
        finally:
            self._is_transferring = False

    def _back_off(self, batch: Batch) -> None:
        """After a batch that was over the provider's limit of enqueued tokens."""
        if any(other.status != "validating" for other in self._uploader.list_open()):
            self._queue.hold()
            return
        self._queue.back_off(batch.n_requests // batch.find_excess())
        if self._queue.n_refused > self._settings.max_retries:
            raise UserError(f"{batch.error}\nOther batches of the account use up its limit; run this again later.")

    def _find_messages(self, key: str) -> Sequence[Message]:
        request = self._requests.get(key)
        return request.messages if request else ()

    def _resolve(self, key: str, outcome: Outcome) -> None:
        """Pass on what became of a request."""
        self._sent_keys.discard(key)
        request = self._requests.get(key)
        if request is None:
            return  # only an earlier run asked for it; the reply is in the store
        if outcome is None or (isinstance(outcome, StoredReply) and outcome.is_cut_short):
            self._enqueue(request)
        elif isinstance(outcome, StoredReply):
            del self._requests[key]
            request.reply.set_result(outcome)
        elif isinstance(outcome, TransientError):
            self._retry(request, outcome)
        else:
            self._fail(request, outcome)
            if isinstance(outcome, UserError):
                self._stop_sending(outcome)

    def _retry(self, request: "BatchRequest", error: TransientError) -> None:
        request.n_attempts += 1
        if request.n_attempts <= self._settings.max_retries:
            self._enqueue(request)
            return
        message = f"no usable reply in {request.n_attempts} attempts; the last: {error}"
        self._fail(request, RecordError(message, attempts=request.n_attempts, reason=error.cause))

    def _fail(self, request: "BatchRequest", error: DrpError) -> None:
        del self._requests[request.key]
        request.reply.set_exception(error)
        request.reply.exception()  # marks it as retrieved: asyncio would report it if no caller is waiting any more

    def _stop_sending(self, error: UserError) -> None:
        """No request can succeed any more. Those in batches are still waited for."""
        self._fatal = self._fatal or error
        for request in self._queue.drain():
            self._fail(request, error)

    def _fail_all(self, error: DrpError) -> None:
        """The worker has ended, so that no reply can arrive any more."""
        self._fatal = error
        self._queue.drain()
        for request in list(self._requests.values()):
            self._fail(request, error)


@dataclass(eq=False)
class BatchRequest:
    """A request that `complete` waits for. n_attempts: how often this run sent it without getting a usable reply."""

    key: str
    messages: Sequence[Message]
    expected_tokens: int | None
    reply: asyncio.Future[StoredReply]
    n_attempts: int = 0


class BatchQueue:
    """Requests that wait for the next file. A file is due if no request was added for `quiet_s`, or if it is full.

    The queue is held, so that no file is due, while a file would be refused: over the provider's limit of enqueued
    tokens, or over the cost cap.

    max_requests: how many to put into one file. n_refused: files in a row that were over the provider's limit.
    """

    def __init__(self, settings: BatchSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_requests, self.n_refused = settings.max_requests, 0
        self._settings, self._clock = settings, clock
        self._requests: deque[BatchRequest] = deque()
        self._last_added = self._held_until = -math.inf

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def is_full(self) -> bool:
        """Whether the requests fill a file."""
        return len(self) >= self.max_requests

    @property
    def is_limited(self) -> bool:
        """Whether a file of this run was over the provider's limit."""
        return self.max_requests < self._settings.max_requests

    def add(self, request: BatchRequest) -> None:
        self._requests.append(request)
        self._last_added = self._clock()

    def first(self) -> BatchRequest:
        return self._requests[0]

    def pop_first(self) -> BatchRequest:
        return self._requests.popleft()

    def drain(self) -> list[BatchRequest]:
        """Remove and return all requests."""
        requests = list(self._requests)
        self._requests.clear()
        return requests

    def find_wait_s(self) -> float:
        """Seconds until a file is due; infinite if the queue is empty or held."""
        if not self:
            return math.inf
        due = -math.inf if self.is_full else self._last_added + self._settings.quiet_s
        return max(0.0, max(due, self._held_until) - self._clock())

    def hold(self) -> None:
        """Send no file until `release`."""
        self._held_until = math.inf

    def release(self) -> None:
        self._held_until = -math.inf

    def back_off(self, max_requests: int) -> None:
        """After a file over the provider's limit: make smaller files, and wait longer each time."""
        self.max_requests = max(1, max_requests)
        self._held_until = self._clock() + min(_LONGEST_HOLD_S, self._settings.poll_s * 2**self.n_refused)
        self.n_refused += 1
