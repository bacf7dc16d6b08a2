"""OpenAI's Files and Batches endpoints, one call each through its SDK; what may go wrong is said as in `drp.chat.wire`.

Nothing is retried here: that is for whoever knows whether a try may be repeated.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json, to_json

from drp.chat.wire import Key, TransientError, raise_for_status
from drp.config.sections import BatchSettings, TeacherSettings
from drp.errors import RecordError, UserError
from drp.runs.jsonl import explain_os_errors

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"


class Draft:
    """A file that is being filled, within the limits of `settings`.

    keys: of the requests in it. worst_usd: what they may cost at most.
    """

    def __init__(self, id: str, path: Path, settings: BatchSettings, max_requests: int) -> None:
        self.id, self.path = id, path
        self.keys: list[str] = []
        self.n_bytes, self.worst_usd = 0, 0.0
        self._max_requests, self._max_bytes = min(max_requests, settings.max_requests), settings.max_bytes
        self._sha = hashlib.sha256()
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")

    @property
    def sha256(self) -> str:
        return self._sha.hexdigest()

    def add(self, key: str, body: bytes, worst_usd: float) -> bool:
        """Add a request; False where the file has no room for it."""
        line = b'{"custom_id":"%s","method":"POST","url":"%s","body":%s}\n' % (key.encode(), ENDPOINT.encode(), body)
        if len(self.keys) >= self._max_requests or self.n_bytes + len(line) > self._max_bytes:
            return False
        with explain_os_errors(self.path):
            self._file.write(line)
        self._sha.update(line)
        self.keys.append(key)
        self.n_bytes += len(line)
        self.worst_usd += worst_usd
        return True

    def close(self) -> None:
        with explain_os_errors(self.path):
            self._file.close()
        if not self.keys:
            self.path.unlink(missing_ok=True)


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


TAG = "drp_batch"
"""The metadata by which a batch is found whose id was never written down."""

_NO_API = "has no Batch API: set teacher.mode to `direct`"
_FORGET = (
    ".\nIs this the key of the account that it was sent with? If it is gone for good, `drp batches CONFIG --cancel` "
    "strikes it out."
)
_PAGE = 100
_CLOCKS_DIFFER_S = 3600


class NotThere(UserError):
    """The provider does not know a batch or file (any more), or has no Batch API."""


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str


class _Counts(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    completed: int = 0
    failed: int = 0


class _Problem(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    code: str | None = None
    message: str | None = None
    line: int | None = None


class _Problems(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    data: list[_Problem] | None = None


class Standing(_Answer):
    """How far a batch is at the provider, in the API's words."""

    status: str
    created_at: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: _Counts | None = None
    errors: _Problems | None = None
    metadata: dict[str, str] | None = None

    @property
    def problems(self) -> list[_Problem]:
        return self.errors.data or [] if self.errors else []


AnswerT = TypeVar("AnswerT", bound=_Answer)


class BatchProvider:
    """The batches of one account at one address."""

    def __init__(self, settings: TeacherSettings, key: Key) -> None:
        import openai

        self._sdk = openai.AsyncOpenAI(
            api_key=key.value or "none", base_url=settings.base_url, max_retries=0, timeout=settings.timeout_s
        )
        self._settings, self._key = settings, key
        self.address = str(self._sdk.base_url).rstrip("/")

    async def upload(self, path: Path) -> str:
        """Send a file of requests; its id there."""
        with self._explain(_NO_API), explain_os_errors(path):
            with path.open("rb") as file:
                sent = await self._sdk.files.create(file=(path.name, file, "application/jsonl"), purpose="batch")
            return _read(_Answer, sent).id

    async def create(self, file_id: str, tag: str) -> Standing:
        window = self._settings.batch.window
        with self._explain(f"does not know the file {file_id}{_FORGET}"):
            batch = await self._sdk.batches.create(
                completion_window=window, endpoint=ENDPOINT, input_file_id=file_id, metadata={TAG: tag}
            )
            return _read(Standing, batch)

    async def find(self, tag: str, since: float) -> Standing | None:
        """The batch with this tag, created after `since` (seconds since 1970, by any clock); None: there is none."""
        with self._explain(_NO_API):
            async for item in self._sdk.batches.list(limit=_PAGE):  # the newest first
                batch = _read(Standing, item)
                if (batch.metadata or {}).get(TAG) == tag:
                    return batch
                if batch.created_at and batch.created_at < since - _CLOCKS_DIFFER_S:
                    break
        return None

    async def retrieve(self, batch_id: str) -> Standing:
        with self._explain(f"does not know the batch {batch_id}{_FORGET}"):
            return _read(Standing, await self._sdk.batches.retrieve(batch_id))

    async def cancel(self, batch_id: str) -> Standing:
        with self._explain(f"does not know the batch {batch_id}"):
            return _read(Standing, await self._sdk.batches.cancel(batch_id))

    async def download(self, file_id: str, path: Path) -> None:
        """Fetch a whole file of results. Raises TransientError where it did not come whole."""
        with self._explain(f"does not know the file {file_id}{_FORGET}"), explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            async with self._sdk.files.with_streaming_response.content(file_id) as response:
                with path.open("wb") as file:
                    async for block in response.iter_bytes(1 << 20):
                        file.write(block)
        for _ in read_rows(path):
            pass

    async def close(self) -> None:
        await self._sdk.close()

    @contextmanager
    def _explain(self, missing: str) -> Iterator[None]:
        """Turn the SDK's errors into ours. missing: what a 404 means."""
        import httpx2
        import openai

        try:
            yield
        except openai.NotFoundError:
            raise NotThere(self._key.scrub(f"{self.address} {missing}")) from None
        except openai.APIStatusError as error:
            raise self._read_refusal(error.response) from None  # the SDK's own message may repeat the key
        except openai.APITimeoutError:
            raise TransientError("timeout", f"{self.address} took longer than teacher.timeout_s") from None
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            said = self._key.scrub(str(error.__cause__ or error) or type(error).__name__)
            raise TransientError("connection", f"{self.address}: {said}") from None
        except openai.OpenAIError as error:
            raise TransientError("unreadable reply", self._key.scrub(f"{self.address}: {error}")) from None

    def _read_refusal(self, response: Any) -> Exception:
        try:
            raise_for_status(
                response.status_code,
                response.content,
                response.headers,
                model=self._settings.model or "",
                address=self.address,
                key=self._key,
            )
        except RecordError as error:  # it is no record that was refused
            return UserError(str(error))
        except (TransientError, UserError) as error:
            return error


def _read(model: type[AnswerT], answer: Any) -> AnswerT:
    try:
        return model.model_validate(answer)
    except ValidationError:
        raise TransientError("unreadable reply", f"expected a {model.__name__.lower()}, got something else") from None


# FOLDED DOC of chat.batch.files:
# Requests as the provider wants them in a file, one a line:
#
# {"custom_id": "9f2c...", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o", "messages": ...}}
#
# `custom_id` is the request's hash: what comes back is matched by it, whatever the order and whichever stage asked.
#

# FOLDED DOC of chat.batch.rows:
# What comes back for each request of a batch, one a line, in any order, in an output file and an error file:
#
# {"custom_id": "9f2c...", "response": {"status_code": 200, "body": {"choices": ...}}, "error": null}
# {"custom_id": "51d0...", "response": {"status_code": 429, "body": {"error": ...}}, "error": null}
# {"custom_id": "c0de...", "response": null, "error": {"code": "batch_expired", "message": "..."}}
#
