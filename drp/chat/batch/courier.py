"""A batch's way to the provider and back. Each step is in the journal before or as soon as it is taken:

    planned     the keys are in the journal; nothing has left this machine
    uploaded    the file is there, which costs nothing; a batch may or may not have been made of it
    validating, in_progress, ...   the provider's word
    settled     every reply is in the store

A kill between two steps leaves a batch that `recover` takes up again: found by its tag where its id was never written.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import uuid4

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

from drp.chat.batch.journal import NEVER_SENT, Batch, Journal, now
from drp.chat.batch.provider import BatchProvider, Draft, Row, Standing, read_rows
from drp.chat.client import Backoff
from drp.chat.openai import OpenAIWire
from drp.chat.store import Ledger, StoredReply
from drp.chat.wire import Key, Message, TransientError
from drp.config.sections import TeacherSettings, hide_credentials
from drp.errors import DrpError, RecordError, UserError
from drp.runs.progress import say

T = TypeVar("T")


class Patience:
    """n_tries: allowed until the provider has answered for the first time; after that `backoff.patience_s` counts."""

    def __init__(self, backoff: Backoff, n_tries: int) -> None:
        self._backoff, self._n_tries = backoff, n_tries
        self._grow_wait = wait_exponential_jitter(backoff.first_s, backoff.longest_s, 2, backoff.jitter_s)
        self._reached = False

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call's result, tried again after each TransientError. Raises UserError where it stays without."""

        async def attempt() -> T:
            return await call()

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=self._is_over,
            wait=self._find_wait_s,
            before_sleep=_tell_first,
            reraise=True,
        )
        try:
            result: T = await retrying(attempt)
        except TransientError as error:
            if not self._reached:
                raise UserError(f"{error}\nNothing was reached there: see teacher.base_url.") from None
            kept = "All replies are kept, and batches go on at the provider: run this again later."
            raise UserError(f"{error}\n{kept}") from None
        self._reached = True
        return result

    def _is_over(self, state: RetryCallState) -> bool:
        if not self._reached:
            return state.attempt_number >= self._n_tries
        return (state.seconds_since_start or 0.0) >= self._backoff.patience_s

    def _find_wait_s(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, TransientError) else None
        return self._grow_wait(state) if asked_s is None else min(asked_s, self._backoff.patience_s)


def _tell_first(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome:
        say(f"{state.outcome.exception()}; trying again")


_PASSING = {None, "", "server_error", "internal_error", "internal_server_error"}


def judge_missing(batch: Batch, key: str) -> TransientError | DrpError | None:
    """None: it was never worked on and may be sent again at once."""
    if batch.status == "expired":
        return TransientError("timeout", f"{batch.name} expired before this was done")
    if batch.status == "cancelled":
        done = f"{batch.n_completed} of its {batch.n_requests} requests were done and are kept"
        return UserError(f"{batch.name} was cancelled; {done}. Run this again to ask for the rest.")
    if batch.status == "failed":
        return _judge_refused(batch, key)
    return TransientError("server error", f"{batch.name} is {batch.status} without a word about this")


def _judge_refused(batch: Batch, key: str) -> TransientError | DrpError | None:
    """The provider refused the whole file: nothing of it was worked on."""
    if batch.is_over_limit:
        return None
    refused = {batch.keys[line - 1] for line in batch.refused_lines if line <= len(batch.keys)}
    said = f"{batch.name} was refused: {batch.error or 'no reason was given'}"
    if refused:
        return RecordError(said, reason="request refused") if key in refused else None
    if batch.error_code in _PASSING:
        return TransientError("server error", said)
    return UserError(f"{said} ({batch.error_code})\nNothing of it was paid for, and all replies are kept.")


Outcome = StoredReply | TransientError | DrpError | None
"""What came of a request; None: it was never worked on, so nothing was paid and no try is counted."""


class Courier:
    """wire: writes and reads what direct calls do. The journal lies beside the store."""

    def __init__(self, settings: TeacherSettings, wire: OpenAIWire, key: Key, ledger: Ledger, backoff: Backoff) -> None:
        self.wire, self.ledger = wire, ledger
        self.journal = Journal(ledger.store.path.with_name("batches.jsonl"))
        self._settings, self._provider = settings, BatchProvider(settings, key)
        self._patience, self._doubt_s = Patience(backoff, settings.max_retries + 1), backoff.doubt_s
        self._address = hide_credentials(wire.address)

    def list_open(self) -> list[Batch]:
        """Batches under way that these settings can follow; those of another model or address are left alone."""
        model, address = self._settings.model, self._address
        return [batch for batch in self.journal.open.values() if (batch.model, batch.address) == (model, address)]

    async def recover(self) -> list[Batch]:
        """Take up what a killed run left in between. Returns the batches that turned out never to have been sent."""
        return [batch for batch in self.list_open() if not batch.batch_id and not await self._find_again(batch)]

    def draft(self, max_requests: int) -> Draft:
        id = uuid4().hex
        return Draft(id, self.journal.folder / f"{id}.jsonl", self._settings.batch, max_requests)

    async def send(self, draft: Draft) -> Batch:
        """Upload a draft and make a batch of it."""
        draft.close()
        batch = self.journal.write(self._plan(draft))
        file_id = await self._patience.insist(lambda: self._provider.upload(draft.path))
        batch = self.journal.write(batch, status="uploaded", file_id=file_id)
        draft.path.unlink(missing_ok=True)
        return self._note(batch, await self._patience.insist(lambda: self._create(batch)))

    async def look(self, batch: Batch) -> Batch:
        """How far it is now."""
        assert batch.batch_id
        batch_id = batch.batch_id
        return self._note(batch, await self._patience.insist(lambda: self._provider.retrieve(batch_id)))

    async def fetch(
        self, batch: Batch, find_messages: Callable[[str], Sequence[Message]] = lambda _: ()
    ) -> AsyncIterator[tuple[str, Outcome]]:
        """What came of each request of a batch that has ended; whatever was paid for is in the store before it is told.

        find_messages: a request's messages, as far as they are known, for a provider that counts no tokens.
        """
        waiting, errors = dict.fromkeys(batch.keys), dict[str, Row]()
        async for row in self._download(batch):
            if row.key in waiting and row.is_reply:
                del waiting[row.key]
                errors.pop(row.key, None)
                yield row.key, self._keep(batch, row, find_messages(row.key))
            elif row.key in waiting:
                errors[row.key] = row  # a reply for it may yet come in the other file
        n_rows = len(batch.keys) - len(waiting) + len(errors)
        if n_rows < batch.n_completed:  # what is not in the files must not be taken for never done, and paid for again
            said = f"{batch.name}: {batch.n_completed} requests are done, and its files have {n_rows}"
            raise UserError(f"{said}: they did not come whole. All replies are kept; run this again.")
        for key in waiting:
            yield key, self._judge(batch, key, errors.get(key), find_messages(key))
        self.settle(batch)

    async def cancel(self, batch: Batch) -> Batch:
        """Ask the provider to stop, once. What it has done by then is paid for, and still to be fetched."""
        batch = await self.look(batch)
        if batch.has_ended or batch.status == "cancelling":
            return batch
        assert batch.batch_id
        try:
            return self._note(batch, await self._provider.cancel(batch.batch_id))
        except (TransientError, UserError):  # it may have ended a moment ago: the next look tells
            return batch

    def settle(self, batch: Batch, status: str | None = None) -> Batch:
        """Nothing more is to come of this batch."""
        for path in self.journal.folder.glob(f"{batch.id}.*"):
            path.unlink(missing_ok=True)
        return self.journal.write(batch, status=status or batch.status, is_settled=True)

    async def close(self) -> None:
        """Give everything back, the store too."""
        await self._provider.close()
        await self.wire.close()
        self.journal.close()
        self.ledger.store.close()

    def _plan(self, draft: Draft) -> Batch:
        return Batch(
            id=draft.id,
            status="planned",
            address=self._address,
            model=self._settings.model or "",
            stage=self.ledger.store.stage,
            n_requests=len(draft.keys),
            keys=draft.keys,
            n_bytes=draft.n_bytes,
            sha256=draft.sha256,
            worst_usd=draft.worst_usd,
            created=now(),
            time=now(),
        )

    async def _create(self, batch: Batch) -> Standing:
        assert batch.file_id
        try:
            return await self._provider.create(batch.file_id, batch.id)
        except TransientError as error:
            if error.cause == "rate limit":
                raise
            # It may have been created all the same, and must not be created, and paid for, twice.
            await asyncio.sleep(self._doubt_s)
            found = await self._patience.insist(lambda: self._find(batch))
            if found is None:
                raise
            return found

    async def _find_again(self, batch: Batch) -> bool:
        """Whether a batch without an id is at the provider; settles it where it is not."""
        found = await self._patience.insist(lambda: self._find(batch)) if batch.file_id else None
        if found is None and batch.file_id and batch.age_s < self._doubt_s:
            await asyncio.sleep(min(self._doubt_s, self._doubt_s - batch.age_s))
            found = await self._patience.insist(lambda: self._find(batch))
        if found is None:
            self.settle(batch, NEVER_SENT)
            return False
        self._note(batch, found)
        return True

    async def _find(self, batch: Batch) -> Standing | None:
        return await self._provider.find(batch.id, datetime.fromisoformat(batch.created).timestamp())

    def _note(self, batch: Batch, standing: Standing) -> Batch:
        """Write down what is new, and tell a new status."""
        counts = standing.request_counts
        problem = standing.problems[0] if standing.problems else None
        changes = {
            "batch_id": standing.id,
            "status": standing.status,
            "output_file_id": standing.output_file_id,
            "error_file_id": standing.error_file_id,
            "n_completed": counts.completed if counts else 0,
            "n_failed": counts.failed if counts else 0,
            "error_code": problem.code if problem else None,
            "error": self.wire.scrub(problem.message or "")[:500] or None if problem else None,
            "refused_lines": [problem.line for problem in standing.problems if problem.line],
        }
        before, batch = batch, batch.model_copy(update=changes)
        if batch == before:
            return batch
        if batch.status != before.status:
            say(batch.describe())
        return self.journal.write(batch)

    async def _download(self, batch: Batch) -> AsyncIterator[Row]:
        for kind, file_id in (("output", batch.output_file_id), ("errors", batch.error_file_id)):
            if file_id is None:
                continue
            path = self.journal.folder / f"{batch.id}.{kind}.jsonl"
            await self._patience.insist(partial(self._provider.download, file_id, path))
            for row in read_rows(path):
                yield row
                await asyncio.sleep(0)  # let whoever waits for the reply go on

    def _keep(self, batch: Batch, row: Row, messages: Sequence[Message]) -> Outcome:
        """Store a reply, unless a killed run had done so."""
        stored = self.ledger.store.find(row.key)
        if stored is None:
            try:
                answer = self.wire.read(row.status or 0, row.body, {}, messages)
            except (TransientError, DrpError) as error:
                return error
            stored = self.ledger.keep(row.key, answer, batch.stage)
        if stored.finish_reason == "empty":
            return TransientError("empty reply", f"{batch.name} has no text for it")
        return stored

    def _judge(self, batch: Batch, key: str, row: Row | None, messages: Sequence[Message]) -> Outcome:
        """What became of a request without a reply. row: what the error file says of it."""
        if row and row.status is not None:
            return self._keep(batch, row, messages)
        if row and batch.status == "completed":
            return TransientError("server error", self.wire.scrub(row.error))
        return judge_missing(batch, key)


# FOLDED DOC of chat.batch.patience:
# How long to insist on a call that belongs to no request: batches go on by themselves, so there is time.

# FOLDED DOC of chat.batch.refusals:
# What it means for a request that its batch has ended without a word about it.
