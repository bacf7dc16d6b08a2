"""A ChatClient that takes every reply from the store and asks nobody: no key, no network, no money.

What `--reparse` reads with, after a parser or a check was put right.
"""

import hashlib
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import ValidationError
from pydantic_core import from_json

from drp.chat.limits import Budget, Price
from drp.chat.wire import Answer, FinishReason, Message, Reply, count_roughly
from drp.config.sections import TeacherSettings
from drp.errors import InputError, RecordError
from drp.records import Record, Usage
from drp.runs.jsonl import Appender, explain_os_errors, lock


class Offsets:
    """A hash table with open addressing. Keys are hashes already, of 64 bits; values are under 2**64."""

    def __init__(self) -> None:
        self._n = 0
        self._allot(1 << 10)

    def find(self, key: int) -> int | None:
        slot = self._find_slot(key or 1)
        return self._values[slot] if self._keys[slot] else None

    def set(self, key: int, value: int) -> None:
        key = key or 1  # 0 marks a free slot
        slot = self._find_slot(key)
        self._n += not self._keys[slot]
        self._keys[slot], self._values[slot] = key, value
        if 3 * self._n > 2 * len(self._keys):
            self._grow()

    def __len__(self) -> int:
        return self._n

    def _find_slot(self, key: int) -> int:
        """The key's slot, or the free one where it belongs."""
        keys, mask = self._keys, self._mask
        slot = key & mask
        while keys[slot] not in (0, key):
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._allot(2 * len(keys))
        for key, value in zip(keys, values, strict=True):
            if key:
                slot = self._find_slot(key)
                self._keys[slot], self._values[slot] = key, value

    def _allot(self, size: int) -> None:
        self._keys, self._values, self._mask = array("Q", [0]) * size, array("Q", [0]) * size, size - 1


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

    stage: who asks now; written into each reply. paid: what this stage paid for, over all its runs; None until `open`.
    spent_usd: dollars of all replies in the file whose price was known. unpriced: usage of those whose was not.
    """

    def __init__(self, path: Path, stage: str | None = None) -> None:
        self.path, self.stage = path, stage
        self.paid: Usage | None = None
        self.spent_usd = 0.0
        self.unpriced = Usage()
        # Eight bytes of the hash are enough to find a line; the line's own id is compared before it is used.
        self._offsets = Offsets()
        self._end = 0
        self._broken: InputError | None = None
        self._held = ExitStack()

    def open(self) -> Self:
        """Lock and read the file; does nothing if it is open already.

        Raises InputError where the file cannot be used, or another drp is using it.
        """
        if self.paid is not None:
            return self
        self.paid = Usage(cost_usd=0.0)
        try:
            self._held.enter_context(lock(self.path))
            self._appender = self._held.enter_context(Appender(self.path))
            with explain_os_errors(self.path):
                self._file = self._held.enter_context(self.path.open("rb"))
                self._read_all()
        except BaseException:
            self._held.close()
            self.paid = None
            raise
        return self

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
        return self.open()

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
        if reply.stage == self.stage and self.paid is not None:
            self.paid += reply.usage
        if reply.usage.cost_usd is None:
            self.unpriced += reply.usage
        else:
            self.spent_usd += reply.usage.cost_usd
        if reply.finish_reason != "empty":
            self._offsets.set(_shorten(reply.id), offset)


def _shorten(key: str) -> int:
    return int(key[:16], 16)


class Ledger:
    """The replies of a run directory and the money that they took.

    price: of one call; None where it is unknown. paid: what this process paid for. budget: `teacher.max_cost_usd`.
    """

    def __init__(self, settings: TeacherSettings, store: ReplyStore, price: Price | None) -> None:
        self.store, self.paid = store, Usage(cost_usd=0.0 if price else None)
        self.budget = Budget(settings.max_cost_usd, _count_spent(store, price), settings.place)
        self._settings, self._price = settings, price

    @property
    def spent_usd(self) -> float | None:
        """Dollars so far, earlier runs in this directory included; None where the price is unknown."""
        return self.budget.spent_usd if self._price else None

    def keep(self, key: str, answer: Answer, stage: str | None = None) -> StoredReply:
        """Count and store an answer. stage: who asked; None: the store's own."""
        cost_usd = self._price(answer.input_tokens, answer.output_tokens) if self._price else None
        usage = Usage(calls=1, input_tokens=answer.input_tokens, output_tokens=answer.output_tokens, cost_usd=cost_usd)
        self.budget.spend(cost_usd or 0.0)
        self.paid += usage
        reply = StoredReply(
            id=key,
            provider=self._settings.provider,
            model=self._settings.model or "",
            text=answer.text,
            finish_reason=answer.finish,
            usage=usage,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            raw=answer.raw,
            stage=stage,
        )
        self.store.append(reply)
        return reply

    def find_worst_usd(self, messages: Sequence[Message]) -> float:
        """Dollars that a call may take at most: input tokens on the safe side, output up to the limit."""
        if self.budget.cap_usd is None or not self._price:
            return 0.0
        return self._price(count_roughly(messages, 3), self._settings.max_output_tokens)


def read_stored(stored: StoredReply) -> Reply:
    assert stored.finish_reason != "empty"
    return Reply(stored.text, stored.finish_reason, stored.usage)


def _count_spent(store: ReplyStore, price: Price | None) -> float:
    """Dollars spent in the run directory; what was paid before the price was known counts at today's price."""
    unpriced = store.unpriced
    return store.spent_usd + (price(unpriced.input_tokens, unpriced.output_tokens) if price else 0.0)


class StoredClient:
    """address: where the requests went when they were paid for."""

    def __init__(self, settings: TeacherSettings, store: ReplyStore, address: str) -> None:
        self.model = settings.model or ""
        self._settings, self._store, self._address = settings, store, address

    async def complete(self, messages: Sequence[Message]) -> Reply:
        """The stored reply. Raises RecordError where there is none."""
        key = identify_request(self._settings, self._address, messages)
        stored = self._store.find(key)
        if stored is None:
            message = f"{self._store.path} has no reply to this request; run without --reparse to ask for it"
            raise RecordError(message, reason="no stored reply")
        return read_stored(stored)

    async def close(self) -> None:
        self._store.close()


# FOLDED DOC of chat.offsets:
# Where each reply begins in the store's file: 24 to 48 bytes a reply, a quarter of what a dictionary takes.
#
# offsets = Offsets()
# offsets.set(key, 4096)
# offsets.find(key)  ->  4096
#

# FOLDED DOC of chat.store:
# Every reply that was paid for, on disk before anything reads it.
#
# `replies.jsonl` in the run directory, one StoredReply a line:
#
#     {"id": "9f2c...", "provider": "openai", "model": "gpt-4o", "text": "Step 1: ...", "finish_reason": "stop",
#      "usage": {"calls": 1, "input_tokens": 812, "output_tokens": 301, "cost_usd": 0.00504}, "time": "2026-..."}
#
# `id` is a hash of the request, so the same request finds its reply instead of being paid again, in this run or any later
# one. In memory there is only where each reply begins.
#

# FOLDED DOC of chat.ledger:
# What replies cost: each is counted, stored and held against the cap before anything else happens to it.
