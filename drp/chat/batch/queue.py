"""Requests that wait for the next file.

A file is made once no new request has come for `quiet_s`, or enough are there to fill one. While it would be refused,
for want of room among the enqueued tokens or under the cost cap, the queue is held until a batch ends.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drp.chat.base import Message
from drp.chat.store import StoredReply
from drp.errors import DrpError
from drp.settings import BatchSettings

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
