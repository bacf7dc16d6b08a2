"""Which batches were sent to the provider, and how far each is: `batches.jsonl` in the run directory.

One line a change, each with all that is known of the batch by then; the keys of its requests stand in its first line:

    {"id": "5c1f...", "status": "planned", "stage": "decompose", "n_requests": 2, "keys": ["9f2c...", "51d0..."], ...}
    {"id": "5c1f...", "status": "uploaded", "file_id": "file-abc", ...}
    {"id": "5c1f...", "status": "validating", "batch_id": "batch_abc", ...}
    {"id": "5c1f...", "status": "completed", "output_file_id": "file-def", "n_completed": 2, ...}
    {"id": "5c1f...", "status": "completed", "is_settled": true, ...}

`id` is ours and goes along as metadata, so that a batch is found again whose own id was never written down. The keys
are the hashes under which `replies.jsonl` has the replies. With the run directory, all this can be copied to another
machine.
"""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_core import from_json

from drp.errors import InputError
from drp.records import Record
from drp.runs.jsonl import Appender, explain_os_errors, repair_tail

_ENDED = ("completed", "failed", "expired", "cancelled")
NEVER_SENT = "never sent"
LOST = "lost"
_BYTES_PER_TOKEN = 4


class Batch(Record):
    """One batch. `id`: ours; the provider's is `batch_id`."""

    status: str
    """`planned`, `uploaded`, then what the provider says. `never sent`; `lost`: the provider knows it no more."""
    address: str
    model: str
    stage: str | None
    """Who asked."""
    n_requests: int
    keys: list[str]
    """The requests' hashes; empty in all lines but the first."""
    n_bytes: int
    sha256: str
    """Of the file that was sent."""
    worst_usd: float
    """What it may cost at most, as far as there is a cap to hold."""
    created: str
    """When it was planned, ISO 8601 in UTC."""
    time: str
    """When this line was written."""
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
    """All that came of it is in `replies.jsonl`."""

    @property
    def name(self) -> str:
        return self.batch_id or self.id

    @property
    def age_s(self) -> float:
        """Seconds since its last step."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.time)).total_seconds()

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more to wait for: a batch may be called completed before its file is there."""
        return self.status in _ENDED and not (self.n_completed and self.output_file_id is None)

    @property
    def is_under_way(self) -> bool:
        """Whether it may be at the provider: one that is only planned has not left this machine."""
        return not self.is_settled and self.status != "planned"

    @property
    def is_over_limit(self) -> bool:
        """Refused because too many tokens are enqueued already."""
        return self.status == "failed" and self.error_code == "token_limit_exceeded"

    def find_excess(self) -> int:
        """How many times smaller to make a file that was over the limit: twice, or as the provider's words suggest."""
        said = re.search(r"Limit: ([\d,]+) enqueued tokens", self.error or "")
        limit = int(said[1].replace(",", "")) if said else 0
        return max(2, math.ceil(self.n_bytes / _BYTES_PER_TOKEN / limit)) if limit else 2

    def describe(self) -> str:
        done = f"{self.status}, {self.n_completed} of {self.n_requests} done, {self.n_failed} failed"
        return f"batch {self.name}: {done}{f' ({self.error})' if self.error else ''}"


class Journal:
    """The journal of a run directory, for the one process that holds its ReplyStore.

    open: batches that are not settled, by id. Raises InputError where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.with_suffix("")
        """For files on their way there and back."""
        with explain_os_errors(path):
            repair_tail(path)
        self.open = {batch.id: batch for batch in read_batches(path) if not batch.is_settled}
        self._appender: Appender | None = None

    def write(self, batch: Batch, **changes: Any) -> Batch:
        """Write down what is new of a batch; returns it as it is now."""
        batch = batch.model_copy(update={**changes, "time": now()})
        is_new = batch.id not in self.open
        # The file comes with the first batch: who sends none has none.
        self._appender = self._appender or Appender(self.path)
        self._appender.append(batch if is_new else batch.model_copy(update={"keys": []}))
        self.open[batch.id] = batch
        if batch.is_settled:
            del self.open[batch.id]
        return batch

    def describe_open(self) -> str:
        """What a run that ends leaves behind; empty where that is nothing."""
        sent = [batch for batch in self.open.values() if batch.is_under_way]
        n, n_requests = len(sent), sum(batch.n_requests for batch in sent)
        if not n:
            return ""
        return (
            f"{n} {'batch goes' if n == 1 else 'batches go'} on at the provider, with {n_requests} requests. The same "
            "command waits for what is under way and pays for nothing twice; `drp batches CONFIG --cancel` cancels it."
        )

    def close(self) -> None:
        if self._appender:
            self._appender.close()
            self._appender = None


def read_batches(path: Path) -> list[Batch]:
    """All batches of a journal as they are now, the oldest first; those that are settled without their keys."""
    found: dict[str, Batch] = {}
    for batch in _read_lines(path):
        before = found.get(batch.id)
        keys = before.keys if before and not batch.is_settled else batch.keys
        found[batch.id] = batch.model_copy(update={"keys": keys})
    return list(found.values())


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _read_lines(path: Path) -> Iterator[Batch]:
    if not path.exists():
        return
    with explain_os_errors(path), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return  # being written at this moment, or torn by a kill
            try:
                yield Batch.model_validate(from_json(line))
            except (ValidationError, ValueError):
                raise InputError(
                    f"{path}:{number}: not a line about a batch; put back what was there, or delete the line "
                    "(the requests of its batch may then be paid for again)"
                ) from None
