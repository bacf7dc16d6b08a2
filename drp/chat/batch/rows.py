"""What comes back for each request of a batch, one a line, in any order, in an output file and an error file:

{"custom_id": "9f2c...", "response": {"status_code": 200, "body": {"choices": ...}}, "error": null}
{"custom_id": "51d0...", "response": {"status_code": 429, "body": {"error": ...}}, "error": null}
{"custom_id": "c0de...", "response": null, "error": {"code": "batch_expired", "message": "..."}}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from drp.artifacts import explain_os_errors
from drp.chat.wire import TransientError


@dataclass(frozen=True)
class Row:
    """status: the HTTP status; None where the request was never worked on, as `error` says."""

    key: str
    status: int | None
    body: bytes
    error: str

    @property
    def is_reply(self) -> bool:
        return self.status is not None and self.status < 400


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file. Raises TransientError at a line that is none: the file did not come whole."""
    with explain_os_errors(path), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield _read_row(from_json(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise TransientError("unreadable reply", f"{path}:{number}: not a row of a batch's results") from None


def _read_row(row: dict[str, Any]) -> Row:
    response, error = row.get("response"), row.get("error") or {}
    if not response:
        said = f"{error.get('code') or 'no reply'}: {error.get('message') or ''}"
        return Row(str(row["custom_id"]), None, b"", " ".join(said.split())[:500])
    return Row(str(row["custom_id"]), int(response["status_code"]), to_json(response.get("body")), "")
