"""Every reply that was paid for, written to disk before anything parses it: `replies.jsonl` in the run directory.

One StoredReply a line:

    {"id": "9f2c...", "provider": "openai", "model": "gpt-4o", "text": "Step 1: ...", "finish_reason": "stop",
     "usage": {"calls": 1, "input_tokens": 812, "output_tokens": 301, "cost_usd": 0.00504}, "time": "2026-...",
     "stage": "decompose"}

`id` is a hash of the request. A request whose hash has a reply here is not sent again, in this run or a later one.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import Field

from drp.chat.prices import Price
from drp.chat.wire import FinishReason, Message, Reply, WireReply
from drp.config.sections import TeacherSettings
from drp.errors import InputError
from drp.records import Record, Usage
from drp.runs.jsonl import Appender, explain_os_errors, lock, read_lines

_FIX = "delete this line (its request will be sent again)"


class StoredReply(Record):
    """One reply as the provider sent it."""

    id: str = Field(pattern="^[0-9a-f]{64}$")
    """The hash of the request, by `hash_request`."""
    provider: str
    model: str
    text: str
    finish_reason: FinishReason | Literal["empty"]
    """`empty`: the reply had no text. It is counted as paid, and the request is sent again."""
    usage: Usage
    """What this reply cost."""
    time: str
    """When it arrived, ISO 8601 in UTC."""
    raw: str | None = None
    """The whole body, if no text was found in it."""
    stage: str | None = None
    """The stage that paid for it."""
    max_tokens: int | None = None
    """The request's output limit; None: `teacher.max_output_tokens`."""

    @property
    def is_cut_short(self) -> bool:
        """Whether it reached a limit below the maximum. It is counted as paid, and the request is sent again."""
        return self.finish_reason == "length" and self.max_tokens is not None

    @classmethod
    def of(
        cls,
        key: str,
        reply: WireReply,
        settings: TeacherSettings,
        price: Price | None,
        *,
        stage: str | None = None,
        max_tokens: int | None = None,
    ) -> "StoredReply":
        """The record of a reply to the request with the hash `key`. price: None if it is unknown."""
        cost_usd = price(reply.input_tokens, reply.output_tokens) if price else None
        return cls(
            id=key,
            provider=settings.provider,
            model=settings.model or "",
            text=reply.text,
            finish_reason=reply.finish,
            usage=Usage(calls=1, input_tokens=reply.input_tokens, output_tokens=reply.output_tokens, cost_usd=cost_usd),
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            raw=reply.raw,
            stage=stage,
            max_tokens=max_tokens,
        )

    @property
    def is_usable(self) -> bool:
        """Whether the request need not be sent again."""
        return self.finish_reason != "empty" and not self.is_cut_short

    def as_reply(self) -> Reply:
        """What a ChatClient returns; for a usable one."""
        assert self.finish_reason != "empty"
        return Reply(self.text, self.finish_reason, self.usage)


def hash_request(settings: TeacherSettings, address: str, messages: Sequence[Message]) -> str:
    """The SHA-256 of all that makes two requests the same: where they go, and everything that the model is sent.

    The mode is not part of it, so a direct call finds the reply that came in a batch, and the reverse. Neither is a
    request's own output limit, which does not change a reply that fits.
    """
    parts = [address, settings.model or "", str(float(settings.temperature)), str(settings.max_output_tokens)]
    for message in messages:
        parts += [message.role, message.content]
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        sha.update(b"%d:" % len(data))  # the length keeps ["ab", "c"] and ["a", "bc"] apart
        sha.update(data)
    return sha.hexdigest()


class ReplyStore:
    """The replies of one run directory, for one process at a time. The constructor touches no file, `open` does.

    stage: who sends requests now; written into each reply.
    shared: the replies of another run directory, which are read, but neither counted nor written. It may be missing.
    paid: what this stage has paid for, over all its runs; None until `open`.
    spent_usd: dollars that all stages spent, for replies whose price was known. unpriced: usage of the other replies.
    n_limited: replies to requests with an output limit below the maximum. n_cut_short: those of them that reached it.
    """

    def __init__(self, path: Path, stage: str | None = None, shared: Path | None = None) -> None:
        self.path, self.stage, self._shared_path = path, stage, shared
        self.paid: Usage | None = None
        self.spent_usd = 0.0
        self.unpriced = Usage()
        self.n_limited = self.n_cut_short = 0
        self._cut_short: set[str] = set()
        self._end = 0
        self._write_error: InputError | None = None
        self._resources = ExitStack()

    def open(self) -> Self:
        """Lock and read the file; does nothing if that is done already.

        Raises InputError if the file cannot be used, or if another process is using it.
        """
        if self.paid is not None:
            return self
        self.paid, self.spent_usd, self.unpriced = Usage(cost_usd=0.0), 0.0, Usage()
        self.n_limited = self.n_cut_short = 0
        try:
            self._resources.enter_context(lock(self.path))
            self._appender = self._resources.enter_context(Appender(self.path))
            # Where each reply begins in the file. SQLite takes 50 bytes a reply for it, a dict would take 130.
            self._index = sqlite3.connect(":memory:")
            columns = "id BLOB PRIMARY KEY, start INTEGER, is_shared INTEGER"
            self._index.execute(f"CREATE TABLE replies ({columns}) WITHOUT ROWID")
            self._resources.callback(self._index.close)
            self._open_shared()
            with explain_os_errors(self.path):
                self._file = self._resources.enter_context(self.path.open("rb"))
                for line, reply in read_lines(self.path, StoredReply, "raise", fix=_FIX):
                    self._count(reply, line.offset)
                self._end = self._file.seek(0, 2)
        except BaseException:
            self._resources.close()
            self.paid = None
            raise
        return self

    def find(self, key: str) -> StoredReply | None:
        """The reply to the request with this hash, or None."""
        query = "SELECT start, is_shared FROM replies WHERE id = ?"
        row = self._index.execute(query, (bytes.fromhex(key),)).fetchone()
        if row is None:
            return None
        start, is_shared = row
        file = self._shared_file if is_shared else self._file
        with explain_os_errors(self.path):
            file.seek(start)
            return StoredReply.model_validate_json(file.readline())

    def was_cut_short(self, key: str) -> bool:
        """Whether a reply to the request with this hash reached a limit below the maximum."""
        return key in self._cut_short

    def append(self, reply: StoredReply) -> StoredReply:
        """Write a reply and return it. It belongs to this store's stage if it names none.

        Raises InputError if it cannot be written, and again at each later call.
        """
        if self._write_error:
            raise self._write_error
        reply = reply.model_copy(update={"stage": reply.stage or self.stage})
        try:
            self._appender.append(reply)
        except InputError as error:
            # Part of the line may be in the file; another line behind it would make both unreadable.
            self._write_error = error
            raise
        self._count(reply, self._end)
        with explain_os_errors(self.path):
            self._end = self._file.seek(0, 2)
        return reply

    def close(self) -> None:
        """Release the file; may be called twice. `paid` remains."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open_shared(self) -> None:
        """Add the shared replies to the index. A reply of this run directory takes the place of a shared one."""
        if self._shared_path is None or not self._shared_path.exists():
            return
        with explain_os_errors(self._shared_path):
            self._shared_file = self._resources.enter_context(self._shared_path.open("rb"))
        for line, reply in read_lines(self._shared_path, StoredReply, "raise", fix=_FIX):
            self._add(reply, line.offset, is_shared=True)

    def _count(self, reply: StoredReply, start: int) -> None:
        """Add a reply that begins at byte `start` of the file to the sums and to the index."""
        if reply.stage == self.stage and self.paid is not None:
            self.paid += reply.usage
        if reply.usage.cost_usd is None:
            self.unpriced += reply.usage
        else:
            self.spent_usd += reply.usage.cost_usd
        self.n_limited += reply.max_tokens is not None
        self.n_cut_short += reply.is_cut_short
        self._add(reply, start)

    def _add(self, reply: StoredReply, start: int, *, is_shared: bool = False) -> None:
        if reply.is_cut_short:
            self._cut_short.add(reply.id)
        if reply.is_usable:
            row = (bytes.fromhex(reply.id), start, is_shared)
            self._index.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", row)
