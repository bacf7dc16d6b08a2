"""The batches of a run directory and the status of each: `batches.jsonl`.

Each change appends a line with all that is known of the batch by then. Only its first line has the requests' keys:

    {"id": "5c1f...", "status": "planned", "stage": "decompose", "n_requests": 2, "keys": ["9f2c...", "51d0..."], ...}
    {"id": "5c1f...", "status": "uploaded", "file_id": "file-abc", ...}
    {"id": "5c1f...", "status": "validating", "batch_id": "batch_abc", ...}
    {"id": "5c1f...", "status": "completed", "output_file_id": "file-def", "n_completed": 2, ...}
    {"id": "5c1f...", "status": "completed", "is_settled": true, ...}

`id` is our own and is sent as metadata, by which a batch is found if its id at the provider, `batch_id`, was never
written down. The keys are the ids that the replies have in `replies.jsonl`. A copy of the run directory on another
machine continues the batches there.
"""

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from drp.records import Record
from drp.runs.jsonl import Appender, explain_os_errors, read_records, repair_tail

_ENDED = ("completed", "failed", "expired", "cancelled")
NEVER_SENT = "never sent"
LOST = "lost"
_BYTES_PER_TOKEN = 4
_FIX = "put back the line that was there, or delete it (the requests of its batch may then be paid for again)"


class Batch(Record):
    """One batch. `id`: our own; the provider's is `batch_id`."""

    status: str
    """`planned`, `uploaded`, then the provider's. `never sent`: not created. `lost`: the provider has forgotten it."""
    address: str
    model: str
    stage: str | None
    """The stage that sent it, which pays for its replies."""
    n_requests: int
    keys: list[str]
    """The requests' hashes; empty in all lines but the first."""
    max_tokens: list[int | None] = Field(default_factory=list)
    """The output limit of each request, None for the configured maximum; empty wherever `keys` is empty, and in the
    journals of earlier versions, which set no other limit."""
    n_bytes: int
    sha256: str
    """Of the file that was sent."""
    worst_usd: float
    """The most that it may cost; 0 without a cost cap."""
    created: str
    """When it was planned, ISO 8601 in UTC."""
    time: str
    """When this line was written, ISO 8601 in UTC."""
    file_id: str | None = None
    batch_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    n_completed: int = 0
    n_failed: int = 0
    error_code: str | None = None
    """Why the provider refused the whole batch."""
    error: str | None = None
    refused_lines: list[int] = Field(default_factory=list)
    """Lines of the file that the provider names in its refusal, from 1."""
    is_settled: bool = False
    """All its replies are in `replies.jsonl`."""

    @property
    def name(self) -> str:
        return self.batch_id or self.id

    @property
    def age_s(self) -> float:
        """Seconds since its last change."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.time)).total_seconds()

    @property
    def has_ended(self) -> bool:
        """Whether its results can be fetched. A batch may be `completed` before its output file is listed."""
        return self.status in _ENDED and not (self.n_completed and self.output_file_id is None)

    @property
    def is_under_way(self) -> bool:
        """Whether it may be at the provider. A batch that is only planned has not left this machine."""
        return not self.is_settled and self.status != "planned"

    @property
    def is_over_limit(self) -> bool:
        """Whether it was refused because the account has too many tokens enqueued."""
        return self.status == "failed" and self.error_code == "token_limit_exceeded"

    def find_max_tokens(self) -> dict[str, int | None]:
        """The output limit of each request by its hash."""
        return dict(zip(self.keys, self.max_tokens or [None] * len(self.keys), strict=True))

    def find_excess(self) -> int:
        """By what to divide the size of a file that was over the limit: as the provider's message says, or 2."""
        match = re.search(r"Limit: ([\d,]+) enqueued tokens", self.error or "")
        limit = int(match[1].replace(",", "")) if match else 0
        return max(2, math.ceil(self.n_bytes / _BYTES_PER_TOKEN / limit)) if limit else 2

    def describe(self) -> str:
        done = f"{self.status}, {self.n_completed} of {self.n_requests} done, {self.n_failed} failed"
        return f"batch {self.name}: {done}{f' ({self.error})' if self.error else ''}"


class Journal:
    """The journal of a run directory, for the one process that has its ReplyStore open.

    open: batches that are not settled, by id. folder: for files that are uploaded or downloaded.
    Raises InputError if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.with_suffix("")
        with explain_os_errors(path):
            repair_tail(path)
        self.open = {batch.id: batch for batch in read_batches(path) if not batch.is_settled}
        self._appender: Appender | None = None

    def write(self, batch: Batch, **changes: Any) -> Batch:
        """Append a batch as it is with `changes`, and return it so."""
        batch = batch.model_copy(update={**changes, "time": now()})
        is_new = batch.id not in self.open
        # A run without batches has no journal.
        self._appender = self._appender or Appender(self.path)
        self._appender.append(batch if is_new else batch.model_copy(update={"keys": [], "max_tokens": []}))
        self.open[batch.id] = batch
        if batch.is_settled:
            del self.open[batch.id]
        return batch

    def describe_open(self) -> str:
        """What a run that ends leaves at the provider; empty if there is nothing."""
        sent = [batch for batch in self.open.values() if batch.is_under_way]
        n, n_requests = len(sent), sum(batch.n_requests for batch in sent)
        if not n:
            return ""
        return (
            f"{n} {'batch continues' if n == 1 else 'batches continue'} at the provider, with {n_requests} requests. "
            "The same command waits for them and pays for nothing twice; `drp batches CONFIG --cancel` cancels them."
        )

    def close(self) -> None:
        if self._appender:
            self._appender.close()
            self._appender = None


def read_batches(path: Path) -> list[Batch]:
    """The last state of each batch in a journal, the oldest batch first; settled ones without their keys."""
    found: dict[str, Batch] = {}
    for batch in read_records(path, Batch, "raise", fix=_FIX):
        before = found.get(batch.id)
        first = before if before and not batch.is_settled else batch
        found[batch.id] = batch.model_copy(update={"keys": first.keys, "max_tokens": first.max_tokens})
    return list(found.values())


def now() -> str:
    """The time as the journal has it: ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
