"""Every reply that was paid for, on disk before anything reads it.

`replies.jsonl` in the run directory, one StoredReply a line:

    {"id": "9f2c...", "provider": "openai", "model": "gpt-4o", "text": "Step 1: ...", "finish_reason": "stop",
     "usage": {"calls": 1, "input_tokens": 812, "output_tokens": 301, "cost_usd": 0.00504}, "time": "2026-..."}

`id` is a hash of the request, so the same request finds its reply instead of being paid again, in this run or any later
one. In memory there is only where each reply begins.
"""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import ValidationError
from pydantic_core import from_json

from drp.artifacts import Appender, explain_os_errors, lock
from drp.chat.base import FinishReason, Message
from drp.chat.offsets import Offsets
from drp.errors import InputError
from drp.records import Record, Usage
from drp.settings import TeacherSettings


class StoredReply(Record):
    """One reply as the provider gave it. `id`: the request's hash."""

    provider: str
    model: str
    text: str
    finish_reason: FinishReason | Literal["empty"]
    """`empty`: paid for, with nothing in it; counted as spent, and the request is asked again."""
    usage: Usage
    """What this reply cost."""
    time: str
    """When it came, ISO 8601 in UTC."""
    raw: str | None = None
    """The whole body, where no text could be found in it."""
    stage: str | None = None
    """The stage that paid for it."""


def hash_request(
    address: str, model: str, messages: Sequence[Message], temperature: float, max_output_tokens: int
) -> str:
    """What makes two requests the same: where they go and everything that is asked."""
    parts = [address, model, str(float(temperature)), str(max_output_tokens)]
    for message in messages:
        parts += [message.role, message.content]
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        sha.update(b"%d:" % len(data))  # with its length, no part can pass for the end of the one before
        sha.update(data)
    return sha.hexdigest()


def identify_request(settings: TeacherSettings, address: str, messages: Sequence[Message]) -> str:
    """The hash of what `settings` ask at `address`: the same in every mode, so that each finds the others' replies."""
    return hash_request(address, settings.model or "", messages, settings.temperature, settings.max_output_tokens)


class ReplyStore:
    """The replies of one run directory; one process at a time.

    stage: who asks now; written into each reply. paid: what this stage paid for, over all its runs.
    spent_usd: dollars of all replies in the file whose price was known. unpriced: usage of those whose was not.
    Raises InputError where the file cannot be used, or another drp is using it.
    """

    def __init__(self, path: Path, stage: str | None = None) -> None:
        self.path, self.stage = path, stage
        self.paid = Usage(cost_usd=0.0)
        self.spent_usd = 0.0
        self.unpriced = Usage()
        # Eight bytes of the hash are enough to find a line; the line's own id is compared before it is used.
        self._offsets = Offsets()
        self._end = 0
        self._broken: InputError | None = None
        self._held = ExitStack()
        try:
            self._held.enter_context(lock(path))
            self._appender = self._held.enter_context(Appender(path))
            with explain_os_errors(path):
                self._file = self._held.enter_context(path.open("rb"))
                self._read_all()
        except BaseException:
            self._held.close()
            raise

    def find(self, key: str) -> StoredReply | None:
        """The reply to the request with this hash, or None."""
        offset = self._offsets.find(_shorten(key))
        if offset is None:
            return None
        with explain_os_errors(self.path):
            self._file.seek(offset)
            reply = StoredReply.model_validate(from_json(self._file.readline()))
        return reply if reply.id == key else None

    def append(self, reply: StoredReply) -> None:
        """Write a reply. Raises InputError, again at each later try, where it cannot be written."""
        if self._broken:
            raise self._broken
        reply = reply.model_copy(update={"stage": reply.stage or self.stage})
        try:
            self._appender.append(reply)
        except InputError as error:
            # A line may have been written in part; one more behind it would spoil both.
            self._broken = error
            raise
        self._count(reply, self._end)
        with explain_os_errors(self.path):
            self._end = self._file.seek(0, 2)

    def close(self) -> None:
        """Give the file back; may be called twice."""
        self._held.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _read_all(self) -> None:
        for number, line in enumerate(self._file, start=1):
            try:
                self._count(StoredReply.model_validate(from_json(line)), self._end)
            except (ValidationError, ValueError):
                raise InputError(
                    f"{self.path}:{number}: not a stored reply; delete this line (its request will be asked again)"
                ) from None
            self._end += len(line)

    def _count(self, reply: StoredReply, offset: int) -> None:
        if reply.stage == self.stage:
            self.paid += reply.usage
        if reply.usage.cost_usd is None:
            self.unpriced += reply.usage
        else:
            self.spent_usd += reply.usage.cost_usd
        if reply.finish_reason != "empty":
            self._offsets.set(_shorten(reply.id), offset)


def _shorten(key: str) -> int:
    return int(key[:16], 16)
