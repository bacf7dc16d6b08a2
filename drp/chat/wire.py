"""One try at a provider: what comes back, what may go wrong, and what that means for the run.

    200, whole            Answer
    429, 5xx, timeouts    TransientError: worth another try
    401, 402, 403, 404    UserError: no request can succeed
    other 4xx             RecordError: this request can't succeed

Whatever a message quotes from a provider has been through `Key.scrub` first.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NoReturn, Protocol

from drp.errors import RecordError, UserError
from drp.records import Usage

FinishReason = Literal["stop", "length", "filtered"]


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Reply:
    """A provider's answer.

    finish_reason: `stop`; `length` where the output limit cut it; `filtered` where the provider refused or withheld it.
    usage: what this reply cost when it was paid for, in this call or in an earlier run: a record says the same however
        often its run was interrupted. What a process itself paid is the client's to tell.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage


class ChatClient(Protocol):
    """A model at a provider. Retries, rate limits, the store of raw replies and the cost cap are its business."""

    model: str

    async def complete(self, messages: Sequence[Message]) -> Reply:
        """Ask once. Raises RecordError where the provider gave no usable reply within the allowed tries, and
        UserError where no request can succeed (bad key, unknown model, cost cap reached)."""
        ...

    async def close(self) -> None:
        """Give back connections and files."""
        ...


Cause = Literal["rate limit", "server error", "timeout", "connection", "unreadable reply", "empty reply"]

NO_HEADERS: Mapping[str, str] = {}
_TRANSIENT = (408, 409, 425, 429)


@dataclass(frozen=True)
class Answer:
    """A whole reply of the provider.

    finish: as in Reply, or `empty`: paid for, but nothing in it; asked again.
    headers: the response's, with what they say about rate limits.
    raw: the body, where it had no text that could be found.
    """

    text: str
    finish: FinishReason | Literal["empty"]
    input_tokens: int
    output_tokens: int
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: str | None = None


class TransientError(Exception):
    """A try that failed and may succeed later. retry_after_s: what the provider asks to wait; None: it did not say."""

    def __init__(
        self, cause: Cause, message: str, headers: Mapping[str, str] = NO_HEADERS, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{cause}: {message}")
        self.cause, self.headers, self.retry_after_s = cause, headers, retry_after_s


class Wire(Protocol):
    """The way to one model of one provider. Knows no retries, limits or money."""

    address: str
    """Where requests go."""

    async def send(self, messages: Sequence[Message]) -> Answer:
        """Ask once. Raises TransientError, RecordError or UserError as the module says."""
        ...

    def scrub(self, text: str) -> str:
        """The text without the key."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Key:
    """The user's key: value (empty: none needed) and the environment variable that it came from."""

    value: str = field(repr=False)
    variable: str

    def scrub(self, text: str) -> str:
        # A short placeholder such as EMPTY is no secret, and replacing it would garble the text.
        return text.replace(self.value, "***") if len(self.value) >= 8 else text


def find_text(value: Any) -> str:
    """A reply's text as UTF-8 can hold it: half of a broken emoji becomes "?", in memory as on disk."""
    text = value if isinstance(value, str) else ""
    return text.encode("utf-8", "replace").decode()


def count_roughly(messages: Sequence[Message], bytes_per_token: int) -> int:
    """Input tokens from the UTF-8 length: 4 bytes a token is usual, 3 is on the safe side in any language."""
    return sum(len(message.content.encode("utf-8", "replace")) // bytes_per_token + 4 for message in messages)


def raise_for_status(
    status: int, body: bytes | str, headers: Mapping[str, str], *, model: str, address: str, key: Key
) -> NoReturn:
    """Raise what a response with an HTTP error status means."""
    codes, message = read_error(body)
    said = key.scrub(f"{address} answered {status}: {message}")
    if status in (401, 403) or codes & {"invalid_api_key", "API_KEY_INVALID"}:
        raise UserError(f"{said}\nThe provider does not accept the key in {key.variable}: put a valid one there.")
    if status == 404 or "model_not_found" in codes:
        raise UserError(f"{said}\nIs teacher.model `{model}` a model there, and teacher.base_url the right address?")
    if status == 402 or "insufficient_quota" in codes:
        raise UserError(f"{said}\nThe account has no credit left. All replies are kept: add credit and run this again.")
    if codes & {"unsupported_parameter", "unsupported_value"}:
        raise UserError(f"{said}\nChange that value of the config's `teacher` section.")
    if status in _TRANSIENT or status >= 500:
        wait_s = read_retry_after(headers)
        wait_s = read_retry_delay(body) if wait_s is None else wait_s
        raise TransientError("rate limit" if status == 429 else "server error", said, headers, wait_s)
    raise RecordError(said, reason="request refused")


def read_error(body: bytes | str) -> tuple[set[str], str]:
    """The codes that the provider's error names, and its text in one line."""
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    error = _find_error(text)
    found = [error.get("code"), error.get("type"), error.get("status")]
    found += [detail.get("reason") for detail in _find_details(error)]
    message = error.get("message", text)
    return {code for code in found if isinstance(code, str)}, " ".join(str(message).split())[:500]


def read_retry_delay(body: bytes | str) -> float | None:
    """Google's own Retry-After, in seconds: `retryDelay` among the error's details."""
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    delays = (read_duration(str(detail.get("retryDelay"))) for detail in _find_details(_find_error(text)))
    return next((delay for delay in delays if delay is not None), None)


def _find_error(text: str) -> dict[str, Any]:
    """`{"error": ...}`, or the same in a list, as Gemini's endpoint for OpenAI's clients has it; else nothing."""
    try:
        reply = json.loads(text)
        error = (reply[0] if isinstance(reply, list) else reply)["error"]
    except (ValueError, KeyError, TypeError, IndexError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


def _find_details(error: Mapping[str, Any]) -> list[dict[str, Any]]:
    details = error.get("details")
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def read_retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds or an HTTP date); None where they say nothing."""
    milliseconds, after = headers.get("retry-after-ms"), headers.get("Retry-After") or headers.get("retry-after")
    for text, unit_s in ((milliseconds, 0.001), (after, 1.0)):
        number = _read_number(text or "")
        if number is not None:
            return max(0.0, number * unit_s)
    try:
        date = parsedate_to_datetime(after or "")
    except ValueError:
        return None
    # RFC 9110's dates are in GMT; one that names no zone is read so as well.
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - (now or datetime.now(UTC))).total_seconds())


def read_duration(text: str) -> float | None:
    """Seconds of "6m0s", "1h2m", "17ms", "1.5s" or "20"; None where it is something else."""
    number = _read_number(text)
    if number is not None:
        return number
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    whole = "".join(number + unit for number, unit in parts) == text.strip()
    return sum(float(number) * units[unit] for number, unit in parts) if parts and whole else None


def _read_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# FOLDED DOC of chat.base:
# What a chat client does, whichever provider is behind it: messages in, one reply out.
