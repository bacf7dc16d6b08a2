"""The types of a chat request and its reply, the protocols `ChatClient` and `Wire`, and what an HTTP error means.

A `ChatClient` is what a teacher asks. It retries, keeps to rate limits and to the cost cap, and stores replies. A
`Wire` sends one request to one provider, once:

    200 and complete      WireReply
    429, 5xx, timeouts    TransientError: the request may be sent again
    401 to 404, 3xx       UserError: no request of this run can succeed
    other 4xx             RecordError: this request cannot succeed

What is quoted of a provider is scrubbed (`drp.credentials`) before it is shortened.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol
from urllib.parse import urljoin

from drp.config.sections import TeacherSettings
from drp.credentials import protect, scrub, scrub_message
from drp.errors import DrpError, RecordError, UserError
from drp.records import Usage

FinishReason = Literal["stop", "length", "filtered"]
Cause = Literal["rate limit", "server error", "timeout", "connection", "web page", "unreadable reply", "empty reply"]

NO_HEADERS: Mapping[str, str] = {}
_TRANSIENT_STATUSES = (408, 409, 425, 429)

CONNECT_TIMEOUT_S = 10.0
UNREACHED_CAUSES: tuple[Cause, ...] = ("connection", "web page")
"""What a wrong address looks like."""
UNREACHED_RETRIES = 2
"""Retries after one of `UNREACHED_CAUSES` until the provider has answered once: some seconds."""


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Reply:
    """A provider's reply to a request.

    finish_reason: `stop`; `length` if the output limit cut it; `filtered` if the provider refused or withheld it.
    usage: what the reply cost when it was paid for, in this run or an earlier one, so that a record has the same usage
        however often its run was interrupted. What a stage has paid is `ReplyStore.paid`.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage


class ChatClient(Protocol):
    """A model at a provider."""

    model: str

    async def complete(self, messages: Sequence[Message], *, expected_tokens: int | None = None) -> Reply:
        """Return the reply to one request.

        expected_tokens: about how long the reply will be; None if that is unknown. The request allows some more than
        that, and at most `teacher.max_output_tokens`. A reply that does not fit is asked for again with the maximum, so
        `finish_reason` is `length` only for a reply that reached the maximum.
        Raises RecordError if the provider gave no usable reply within the allowed retries, and UserError if no request
        can succeed (invalid key, unknown model, cost cap reached).
        """
        ...

    async def close(self) -> None:
        """Close connections and files."""
        ...


@dataclass(frozen=True)
class WireReply:
    """A complete reply of a provider, before it is stored.

    finish: as in Reply, or `empty` if the reply has no text: it is paid for, and the request is sent again.
    headers: of the response, with the provider's rate limits.
    raw: the body, if no text was found in it.
    """

    text: str
    finish: FinishReason | Literal["empty"]
    input_tokens: int
    output_tokens: int
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: str | None = None


class TransientError(Exception):
    """A request failed and may succeed later. retry_after_s: seconds the provider asks to wait; None if it did not."""

    def __init__(
        self, cause: Cause, message: str, headers: Mapping[str, str] = NO_HEADERS, retry_after_s: float | None = None
    ) -> None:
        super().__init__(scrub_message(f"{cause}: {message}"))
        self.cause, self.headers, self.retry_after_s = cause, headers, retry_after_s


class Wire(Protocol):
    """Sends requests to one model of one provider; without retries, rate limits or a cost cap."""

    address: str
    """Where requests go, without credentials."""

    async def send(self, messages: Sequence[Message], max_tokens: int | None = None) -> WireReply:
        """Send a request once. max_tokens: limit of the reply; None for `teacher.max_output_tokens`.

        Raises TransientError, RecordError or UserError as the module's docstring says."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class ApiKey:
    """The user's key: its value, empty if none is needed, and the environment variable it was read from."""

    value: str = field(repr=False)
    variable: str

    def __post_init__(self) -> None:
        protect(self.value)


def clean_text(value: Any) -> str:
    """A reply's text as UTF-8 can encode it: a lone surrogate becomes "?". Returns "" for anything but a string."""
    text = value if isinstance(value, str) else ""
    return text.encode("utf-8", "replace").decode()


def estimate_tokens(messages: Sequence[Message], bytes_per_token: int) -> int:
    """Input tokens estimated from the UTF-8 length: 4 bytes a token is usual, 3 is an upper bound in most languages."""
    return sum(len(message.content.encode("utf-8", "replace")) // bytes_per_token + 4 for message in messages)


def explain_status(
    status: int,
    body: bytes | str,
    headers: Mapping[str, str],
    *,
    settings: TeacherSettings,
    address: str,
    key: ApiKey,
) -> TransientError | DrpError:
    """The error that a response stands for; the caller raises it.

    status: the HTTP status: an error, a redirect, or 200 if the body has an error (`has_error`).
    """
    codes, message = read_error(body)
    answer, place = f"{address} answered {status}: {message}", settings.place
    if 300 <= status < 400:
        target = urljoin(f"{address}/", headers.get("Location") or headers.get("location") or "an unknown address")
        return UserError(
            f"{address} redirects to {target} (status {status}). Prompts and keys are not sent on to another address: "
            f"if it is the right one, set {place}.base_url to it."
        )
    if status < 300:
        answer = f"{address} answered {status} with an error: {message}"
        code = _find_error(body).get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    if status in (401, 403) or codes & {"invalid_api_key", "API_KEY_INVALID"}:
        return UserError(f"{answer}\nThe provider does not accept the key in {key.variable}: set a valid one.")
    if status == 404 or "model_not_found" in codes:
        return UserError(f"{answer}\nCheck {place}.model `{settings.model}` and {place}.base_url.")
    if status == 402 or "insufficient_quota" in codes:
        return UserError(
            f"{answer}\nThe account has no credit left. All replies are kept: add credit and run this again."
        )
    if codes & {"unsupported_parameter", "unsupported_value"}:
        return UserError(f"{answer}\nChange that value in the config's section `{place}`.")
    if status in _TRANSIENT_STATUSES or status >= 500:
        wait_s = read_retry_after(headers)
        wait_s = read_retry_delay(body) if wait_s is None else wait_s
        return TransientError("rate limit" if status == 429 else "server error", answer, headers, wait_s)
    return RecordError(answer, reason="request refused")


def explain_size(settings: TeacherSettings, address: str) -> RecordError:
    """The error for a reply larger than `max_reply_mib`."""
    limit = f"{settings.place}.max_reply_mib ({settings.max_reply_mib})"
    return RecordError(f"{address} sent a reply of more than {limit} MiB; it was not read", reason="oversized reply")


def read_error(body: bytes | str) -> tuple[set[str], str]:
    """The error codes in a response's body, and its message in one line of at most 500 characters."""
    text = scrub(body if isinstance(body, str) else body.decode("utf-8", "replace"))
    error = _find_error(text)
    found = [error.get("code"), error.get("type"), error.get("status")]
    found += [detail.get("reason") for detail in _find_details(error)]
    message = error.get("message", text)
    return {code for code in found if isinstance(code, str)}, " ".join(str(message).split())[:500]


def has_error(body: bytes) -> bool:
    """Whether a response is `{"error": ...}`, which some servers send with status 200."""
    return b'"error"' in body and bool(_find_error(body))


def check_page(body: bytes, headers: Mapping[str, str]) -> None:
    """Raise TransientError if a response is a web page, as at a wrong address or from a gateway."""
    if body.lstrip()[:1] == b"<":
        page = " ".join(scrub(body.decode("utf-8", "replace")).split())[:200]
        raise TransientError("web page", f"the answer is no API's: {page}", headers)


def read_retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds or an HTTP date); None if neither is readable."""
    milliseconds, after = headers.get("retry-after-ms"), headers.get("Retry-After") or headers.get("retry-after")
    for text, unit_s in ((milliseconds, 0.001), (after, 1.0)):
        number = _read_number(text or "")
        if number is not None:
            return max(0.0, number * unit_s)
    try:
        date = parsedate_to_datetime(after or "")
    except ValueError:
        return None
    # RFC 9110's dates are in GMT; one without a zone is read as GMT too.
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - (now or datetime.now(UTC))).total_seconds())


def read_retry_delay(body: bytes | str) -> float | None:
    """Seconds to wait by Google's `retryDelay`, which is in the error's details; None if there is none."""
    delays = (read_duration(str(detail.get("retryDelay"))) for detail in _find_details(_find_error(body)))
    return next((delay for delay in delays if delay is not None), None)


def _find_error(body: bytes | str) -> dict[str, Any]:
    """The error in `{"error": ...}`, which Gemini's endpoint for OpenAI's clients sends inside a list; else {}."""
    try:
        reply = json.loads(body)
        error = (reply[0] if isinstance(reply, list) else reply)["error"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {"message": error} if error else {}


def _find_details(error: Mapping[str, Any]) -> list[dict[str, Any]]:
    details = error.get("details")
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def read_duration(text: str) -> float | None:
    """Seconds of "6m0s", "1h2m", "17ms", "1.5s" or "20"; None for anything else."""
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
