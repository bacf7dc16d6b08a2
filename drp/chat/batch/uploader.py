"""Sends files of requests to the provider as batches and fetches their results, so that a kill at any instant loses
nothing and pays for nothing twice. Each step is written to the journal before it is taken, or as soon as it is done:

    planned                        the requests' hashes are in the journal; nothing has left this machine
    uploaded                       the file is at the provider, which costs nothing; a batch may exist or not
    validating, in_progress, ...   the batch exists; this is its status at the provider
    is_settled                     every reply is in the store

`recover` continues a batch that a kill left between two steps. If its id at the provider was never written down, it is
found by our own id, which is in its metadata.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from uuid import uuid4

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay

from drp.chat.batch.journal import NEVER_SENT, Batch, Journal, now
from drp.chat.batch.provider import BatchFile, BatchProvider, BatchResultRow, read_rows
from drp.chat.limits import RetryPolicy
from drp.chat.openai import OpenAIWire
from drp.chat.prices import Price
from drp.chat.store import ReplyStore, StoredReply
from drp.chat.wire import UNREACHED_CAUSES, UNREACHED_RETRIES, ApiKey, Message, TransientError
from drp.config.sections import TeacherSettings
from drp.credentials import scrub
from drp.errors import DrpError, RecordError, UserError
from drp.runs.progress import say

if TYPE_CHECKING:
    from openai.types import Batch as BatchStatus

P = ParamSpec("P")
T = TypeVar("T")

Outcome = StoredReply | TransientError | DrpError | None
"""The result of one request. None: it was never processed, so nothing was paid and it may be sent again at once."""

_PASSING_CODES = {None, "", "server_error", "internal_error", "internal_server_error"}
"""Reasons to refuse a whole batch that may be gone at the next attempt."""


class BatchUploader:
    """The batches of one run directory. The journal is beside the store.

    wire: writes the requests and reads the replies, as for direct calls; no request goes through it.
    store: is open, and closed by `close`. price: None if it is unknown.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        *,
        wire: OpenAIWire,
        key: ApiKey,
        store: ReplyStore,
        price: Price | None,
        retry: RetryPolicy,
    ) -> None:
        self.wire, self.store, self.price = wire, store, price
        self.journal = Journal(store.path.with_name("batches.jsonl"))
        self._settings, self._provider, self._retry = settings, BatchProvider(settings, key), retry
        self._was_reached = False

    def list_open(self) -> list[Batch]:
        """The batches of this model and address that are not settled."""
        model, address = self._settings.model, self.wire.address
        return [batch for batch in self.journal.open.values() if (batch.model, batch.address) == (model, address)]

    async def recover(self) -> list[Batch]:
        """Continue the batches that a killed run left between two steps. Returns those that were never sent."""
        return [batch for batch in self.list_open() if not batch.batch_id and not await self._find_again(batch)]

    def start_file(self, max_requests: int) -> BatchFile:
        id = uuid4().hex
        return BatchFile(id, self.journal.folder / f"{id}.jsonl", self._settings.batch, max_requests)

    async def send(self, file: BatchFile) -> Batch:
        """Upload a file and create a batch of it."""
        file.close()
        batch = self.journal.write(self._plan(file))
        file_id = await self._call(self._provider.upload, file.path)
        batch = self.journal.write(batch, status="uploaded", file_id=file_id)
        file.path.unlink(missing_ok=True)
        return self._update(batch, await self._call(self._create, batch))

    async def poll(self, batch: Batch) -> Batch:
        """Ask the provider for the status of a batch."""
        assert batch.batch_id
        return self._update(batch, await self._call(self._provider.retrieve, batch.batch_id))

    async def fetch(
        self, batch: Batch, find_messages: Callable[[str], Sequence[Message]] = lambda _: ()
    ) -> AsyncIterator[tuple[str, Outcome]]:
        """The hash and the result of each request of a batch that has ended. A reply is stored before it is yielded.

        find_messages: the messages of a request if they are known, for a server that counts no tokens.
        Raises UserError if the files have fewer results than the provider's count.
        """
        missing, errors = batch.find_max_tokens(), dict[str, BatchResultRow]()
        async for row in self._download(batch):
            if row.key in missing and row.is_reply:
                max_tokens = missing.pop(row.key)
                errors.pop(row.key, None)
                yield row.key, self._store_reply(batch, row, find_messages(row.key), max_tokens)
            elif row.key in missing:
                errors[row.key] = row  # the other file may still have a reply
        n_rows = len(batch.keys) - len(missing) + len(errors)
        if n_rows < batch.n_completed:  # requests without a result would be taken for unprocessed, and paid for again
            counts = f"{batch.n_completed} requests are done, and its files have {n_rows}"
            raise UserError(f"{batch.name}: {counts}: the files are incomplete. All replies are kept; run this again.")
        for key in missing:
            yield key, self._find_outcome(batch, key, errors.get(key), find_messages(key))
        self.settle(batch)

    async def cancel(self, batch: Batch) -> Batch:
        """Ask the provider, once, to stop a batch. What it has done by then is paid for and has to be fetched."""
        batch = await self.poll(batch)
        if batch.has_ended or batch.status == "cancelling":
            return batch
        assert batch.batch_id
        try:
            return self._update(batch, await self._provider.cancel(batch.batch_id))
        except (TransientError, UserError):  # it may have ended in the meantime, which the next poll tells
            return batch

    def settle(self, batch: Batch, status: str | None = None) -> Batch:
        """Close a batch in the journal and delete its files here."""
        for path in self.journal.folder.glob(f"{batch.id}.*"):
            path.unlink(missing_ok=True)
        return self.journal.write(batch, status=status or batch.status, is_settled=True)

    async def close(self) -> None:
        """Close connections, journal and store."""
        await self._provider.close()
        await self.wire.close()
        self.journal.close()
        self.store.close()

    def _plan(self, file: BatchFile) -> Batch:
        return Batch(
            id=file.id,
            status="planned",
            address=self.wire.address,
            model=self._settings.model or "",
            stage=self.store.stage,
            n_requests=len(file.keys),
            keys=file.keys,
            max_tokens=file.max_tokens,
            n_bytes=file.n_bytes,
            sha256=file.sha256,
            worst_usd=file.worst_usd,
            created=now(),
            time=now(),
        )

    async def _create(self, batch: Batch) -> "BatchStatus":
        assert batch.file_id
        try:
            return await self._provider.create(batch.file_id, batch.id)
        except TransientError as error:
            if error.cause == "rate limit":
                raise
            # The batch may exist in spite of the error; creating it again would pay for it twice.
            await asyncio.sleep(self._retry.listing_s)
            found = await self._call(self._find, batch)
            if found is None:
                raise
            return found

    async def _find_again(self, batch: Batch) -> bool:
        """Look for a batch whose id at the provider is unknown; settle it if it does not exist there."""
        found = await self._call(self._find, batch) if batch.file_id else None
        if found is None and batch.file_id and batch.age_s < self._retry.listing_s:
            await asyncio.sleep(min(self._retry.listing_s, self._retry.listing_s - batch.age_s))
            found = await self._call(self._find, batch)
        if found is None:
            self.settle(batch, NEVER_SENT)
            return False
        self._update(batch, found)
        return True

    async def _find(self, batch: Batch) -> "BatchStatus | None":
        return await self._provider.find(batch.id, datetime.fromisoformat(batch.created).timestamp())

    def _update(self, batch: Batch, status: "BatchStatus") -> Batch:
        """Write the provider's status to the journal if anything changed; report a new status."""
        counts, problems = status.request_counts, (status.errors and status.errors.data) or []
        problem = problems[0] if problems else None
        changes = {
            "batch_id": status.id,
            "status": status.status,
            "output_file_id": status.output_file_id,
            "error_file_id": status.error_file_id,
            # Not every server sends both counts.
            "n_completed": getattr(counts, "completed", None) or 0,
            "n_failed": getattr(counts, "failed", None) or 0,
            "error_code": problem.code if problem else None,
            "error": scrub(problem.message or "")[:500] or None if problem else None,
            "refused_lines": [problem.line for problem in problems if problem.line],
        }
        before, batch = batch, batch.model_copy(update=changes)
        if batch == before:
            return batch
        if batch.status != before.status:
            say(batch.describe())
        return self.journal.write(batch)

    async def _download(self, batch: Batch) -> AsyncIterator[BatchResultRow]:
        for kind, file_id in (("output", batch.output_file_id), ("errors", batch.error_file_id)):
            if file_id is None:
                continue
            path = self.journal.folder / f"{batch.id}.{kind}.jsonl"
            await self._call(self._provider.download, file_id, path)
            for row in read_rows(path):
                yield row
                await asyncio.sleep(0)  # lets the caller that waits for this reply continue

    def _store_reply(
        self, batch: Batch, row: BatchResultRow, messages: Sequence[Message], max_tokens: int | None = None
    ) -> Outcome:
        """Store a reply, unless a killed run has stored it already."""
        stored = self.store.find(row.key)
        if stored is None:
            try:
                reply = self.wire.read(row.status or 0, row.body, {}, messages)
            except (TransientError, DrpError) as error:
                return error
            stored = self.store.append(
                StoredReply.of(row.key, reply, self._settings, self.price, stage=batch.stage, max_tokens=max_tokens)
            )
        if stored.finish_reason == "empty":
            return TransientError("empty reply", f"{batch.name} has no text for it")
        return stored

    def _find_outcome(self, batch: Batch, key: str, row: BatchResultRow | None, messages: Sequence[Message]) -> Outcome:
        """The outcome of a request for which no reply was downloaded. row: its line in the error file."""
        if row and row.status is not None:
            return self._store_reply(batch, row, messages)
        if row and batch.status == "completed":
            return TransientError("server error", row.error)
        return _explain_missing_row(batch, key)

    async def _call(self, do: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `await do(*args)`; a TransientError is retried.

        Until the provider has answered once, `teacher.max_retries` times; afterwards for `RetryPolicy.give_up_s`, as
        batches continue at the provider without this process. Raises UserError if it keeps failing.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_delay(self._retry.give_up_s) if self._was_reached else self._stops_unreached,
            wait=self._find_wait_s,
            before_sleep=_report_first_failure,
            reraise=True,
        )
        try:
            result: T = await retrying(do, *args, **kwargs)
        except TransientError as error:
            if not self._was_reached:
                raise UserError(f"{error}\nNo connection: check {self._settings.place}.base_url.") from None
            kept = "All replies are kept, and batches continue at the provider: run this again later."
            raise UserError(f"{error}\n{kept}") from None
        self._was_reached = True
        return result

    def _stops_unreached(self, state: RetryCallState) -> bool:
        n_retries = self._settings.max_retries
        if _find_failure(state).cause in UNREACHED_CAUSES:
            n_retries = min(n_retries, UNREACHED_RETRIES)
        return state.attempt_number > n_retries

    def _find_wait_s(self, state: RetryCallState) -> float:
        wait_s = self._retry.find_wait_s(_find_failure(state), state.attempt_number)
        return min(wait_s, self._retry.give_up_s)


def _explain_missing_row(batch: Batch, key: str) -> TransientError | DrpError | None:
    """Why a batch has ended without any result for a request. None: it was never processed, and may be sent again."""
    if batch.status == "expired":
        return TransientError("timeout", f"{batch.name} expired before this was done")
    if batch.status == "cancelled":
        done = f"{batch.n_completed} of its {batch.n_requests} requests were done and are kept"
        return UserError(f"{batch.name} was cancelled; {done}. Run this again to send the rest.")
    if batch.status == "failed":
        return _explain_refused_batch(batch, key)
    return TransientError("server error", f"{batch.name} is {batch.status} and has no result for this")


def _explain_refused_batch(batch: Batch, key: str) -> TransientError | DrpError | None:
    """The provider refused the whole file, so that none of its requests was processed."""
    if batch.is_over_limit:
        return None
    refused = {batch.keys[line - 1] for line in batch.refused_lines if line <= len(batch.keys)}
    reason = f"{batch.name} was refused: {batch.error or 'no reason was given'}"
    if refused:
        return RecordError(reason, reason="request refused") if key in refused else None
    if batch.error_code in _PASSING_CODES:
        return TransientError("server error", reason)
    return UserError(f"{reason} ({batch.error_code})\nNone of its requests was paid for, and all replies are kept.")


def _report_first_failure(state: RetryCallState) -> None:
    if state.attempt_number == 1:
        say(f"{_find_failure(state)}; retrying")


def _find_failure(state: RetryCallState) -> TransientError:
    """The error of the last attempt."""
    error = state.outcome and state.outcome.exception()
    assert isinstance(error, TransientError)
    return error
