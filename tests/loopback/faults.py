"""Faults of the loopback server, scripted or random.

    script(RATE_LIMIT, None, HANG)              the first request gets a 429, the second an answer, the third hangs
    chance({RATE_LIMIT: 0.2, CUT: 0.2}, seed)   depends on a request's content, so the order of requests does not matter

Requests after the last fault of a script are answered.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal[
    "status",
    "hang",
    "reset",
    "cut",
    "empty",
    "no_choices",
    "refusal",
    "content_filter",
    "length",
    "expired",
    "page",
    "bomb",
    "drip",
    "error_body",
    "echo",
]


@dataclass(frozen=True)
class Fault:
    """status, code: the HTTP status and the provider's error code, for the kind `status`.

    retry_after, retry_after_ms: headers, as sent. retry_delay: Google's equivalent, in the error's details.
    echo_key: the error's message, or the reply's text, contains the caller's key, as with some providers.
    location: where a redirect points to.
    """

    kind: Kind
    status: int = 200
    code: str = ""
    retry_after: str | None = None
    retry_after_ms: str | None = None
    retry_delay: str | None = None
    echo_key: bool = False
    location: str | None = None

    def after(self, seconds: float | str) -> "Fault":
        """The same fault with a Retry-After header, in seconds or as an HTTP date."""
        return replace(self, retry_after=str(seconds))


RATE_LIMIT = Fault("status", 429, "rate_limit_exceeded")
QUOTA = Fault("status", 429, "insufficient_quota")
SERVER_ERROR = Fault("status", 500, "server_error")
UNAVAILABLE = Fault("status", 503, "overloaded")
UNAUTHORIZED = Fault("status", 401, "invalid_api_key", echo_key=True)
FORBIDDEN = Fault("status", 403, "permission_denied", echo_key=True)
UNKNOWN_MODEL = Fault("status", 404, "model_not_found")
TOO_LONG = Fault("status", 400, "context_length_exceeded")
BLOCKED_PROMPT = Fault("status", 400, "content_filter")
BAD_PARAMETER = Fault("status", 400, "unsupported_value")
HANG = Fault("hang")
RESET = Fault("reset")
CUT = Fault("cut")
EMPTY = Fault("empty")
NO_CHOICES = Fault("no_choices")
REFUSAL = Fault("refusal")
CONTENT_FILTER = Fault("content_filter")
LENGTH = Fault("length")
PAGE = Fault("page")
BOMB = Fault("bomb")
"""256 MB of spaces, compressed to 256 kB."""
DRIP = Fault("drip")
"""A byte every tenth of a second, without end."""
ECHO_KEY = Fault("echo", echo_key=True)
ERROR_BODY = Fault("error_body", 200, "upstream_failure")
EXPIRED = Fault("expired")  # in batches only

Pick = Callable[[str, int], Fault | None]
"""Takes a hash of the request's messages and how often they arrived before; returns the fault, or None to answer."""


def script(*faults: Fault | None) -> Pick:
    """One fault (or None) for each request in the order of arrival, then None."""
    rest = iter(faults)
    return lambda _content, _seen: next(rest, None)


def always(fault: Fault) -> Pick:
    return lambda _content, _seen: fault


def chance(shares: Mapping[Fault, float] | Iterable[tuple[Fault, float]], seed: int = 0) -> Pick:
    """Each fault for its share of the requests. The same messages at the same attempt get the same fault."""
    table = list(shares.items() if isinstance(shares, Mapping) else shares)

    def pick(content: str, seen: int) -> Fault | None:
        digest = hashlib.sha256(f"{seed} {content} {seen}".encode()).digest()
        draw = int.from_bytes(digest[:8], "big") / 2**64
        for fault, share in table:
            draw -= share
            if draw < 0:
                return fault
        return None

    return pick
