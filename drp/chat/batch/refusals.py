"""What it means for a request that its batch has ended without a word about it."""

from drp.chat.batch.journal import Batch
from drp.chat.wire import TransientError
from drp.errors import DrpError, RecordError, UserError

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
