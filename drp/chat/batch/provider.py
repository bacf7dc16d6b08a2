"""OpenAI's Files and Batches endpoints through its SDK, and the two file formats that go with them.

One method is one request. Errors are those of `drp.chat.wire`; nothing is retried here, because only the caller knows
whether a request may be repeated.

What is uploaded (`BatchFile`), one request a line; `custom_id` is the hash of the request (`store.hash_request`):

    {"custom_id": "9f2c...", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o", ...}}

What is downloaded (`read_rows`), one result a line, in any order, in an output file and an error file:

    {"custom_id": "9f2c...", "response": {"status_code": 200, "body": {"choices": ...}}, "error": null}
    {"custom_id": "51d0...", "response": {"status_code": 429, "body": {"error": ...}}, "error": null}
    {"custom_id": "c0de...", "response": null, "error": {"code": "batch_expired", "message": "..."}}
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from drp.chat.openai import find_server
from drp.chat.wire import ApiKey, TransientError, explain_size, explain_status
from drp.config.sections import BatchSettings, TeacherSettings
from drp.credentials import scrub
from drp.errors import RecordError, UserError
from drp.records import Failure
from drp.runs.jsonl import explain_os_errors, read_records

if TYPE_CHECKING:
    from openai.types import Batch as BatchStatus

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
TAG = "drp_batch"
"""The metadata key of our own id, by which a batch is found whose id at the provider was never written down."""

_PAGE = 100
_MAX_CLOCK_DIFFERENCE_S = 3600
_HOW_TO_FORGET = (
    ".\nIs this the key of the account that sent it? If it is lost, `drp batches CONFIG --cancel` removes it from "
    "the run."
)

AnswerT = TypeVar("AnswerT")


class NotFoundAtProvider(UserError):
    """The provider does not know a batch or a file (any more), or has no Batch API."""


class BatchProvider:
    """The batches of one account at one address. All methods raise TransientError or UserError."""

    def __init__(self, settings: TeacherSettings, key: ApiKey) -> None:
        import openai

        server = find_server(settings)
        self._sdk = openai.AsyncOpenAI(
            api_key=key.value or "none",
            base_url=server.url,
            default_query=server.query,
            # Without compression, the size of a body is known before it is read.
            default_headers={"Accept-Encoding": "identity", **server.headers},
            max_retries=0,
            timeout=settings.timeout_s,
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, event_hooks={"response": [self._bound]}),
        )
        self._settings, self._key = settings, key
        self._max_bytes = settings.max_reply_mib << 20
        self.address = server.identity
        self._no_batch_api = f"has no Batch API: set {settings.place}.mode to `direct`"

    async def upload(self, path: Path) -> str:
        """Upload a file of requests; returns its id at the provider."""
        with self._explain(self._no_batch_api), explain_os_errors(path):
            with path.open("rb") as file:
                uploaded = await self._sdk.files.create(file=(path.name, file, "application/jsonl"), purpose="batch")
            return _check(uploaded, "id").id

    async def create(self, file_id: str, tag: str) -> "BatchStatus":
        """Create a batch of an uploaded file. tag: goes into its metadata as `TAG`."""
        window = self._settings.batch.window
        with self._explain(f"does not know the file {file_id}{_HOW_TO_FORGET}"):
            batch = await self._sdk.batches.create(
                completion_window=window, endpoint=ENDPOINT, input_file_id=file_id, metadata={TAG: tag}
            )
            return _check(batch, "id", "status")

    async def find(self, tag: str, since: float) -> "BatchStatus | None":
        """The batch with this tag, or None. since: when it was created, in seconds since 1970, or earlier."""
        with self._explain(self._no_batch_api):
            async for item in self._sdk.batches.list(limit=_PAGE):  # the newest first
                batch = _check(item, "id", "status")
                if (batch.metadata or {}).get(TAG) == tag:
                    return batch
                if getattr(batch, "created_at", since) < since - _MAX_CLOCK_DIFFERENCE_S:
                    break
        return None

    async def retrieve(self, batch_id: str) -> "BatchStatus":
        with self._explain(f"does not know the batch {batch_id}{_HOW_TO_FORGET}"):
            return _check(await self._sdk.batches.retrieve(batch_id), "id", "status")

    async def cancel(self, batch_id: str) -> "BatchStatus":
        with self._explain(f"does not know the batch {batch_id}"):
            return _check(await self._sdk.batches.cancel(batch_id), "id", "status")

    async def download(self, file_id: str, path: Path) -> None:
        """Download a file of results. Raises TransientError if it is incomplete, UserError if a line is too large."""
        with self._explain(f"does not know the file {file_id}{_HOW_TO_FORGET}"), explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            async with self._sdk.files.with_streaming_response.content(file_id) as response:
                with path.open("wb") as file:
                    rest = b""
                    async for block in response.iter_bytes(1 << 20):
                        lines, newline, rest = (rest + block).rpartition(b"\n")
                        file.write(scrub(lines + newline))
                        if len(rest) > self._max_bytes:
                            raise UserError(str(explain_size(self._settings, f"{self.address}: {file_id}")))
                    file.write(scrub(rest))
        for _ in read_rows(path):
            pass

    async def close(self) -> None:
        await self._sdk.close()

    async def _bound(self, response: Any) -> None:
        """Refuse a body that is compressed or larger than `max_reply_mib`. `download` bounds the lines of a file."""
        import httpx2

        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise httpx2.DecodingError(f"the answer is compressed ({encoding}), which was not asked for")
        if not response.request.url.path.endswith("/content"):
            response.stream = _bound_stream(response.stream, self._max_bytes)

    @contextmanager
    def _explain(self, missing: str) -> Iterator[None]:
        """Turn the SDK's errors into ours. missing: what a status of 404 means."""
        import httpx2
        import openai

        try:
            yield
        except openai.NotFoundError:
            raise NotFoundAtProvider(f"{self.address} {missing}") from None
        except openai.APIStatusError as error:
            raise self._explain_status(error.response) from None  # the SDK's own message may contain the key
        except openai.APITimeoutError:
            limit = f"{self._settings.place}.timeout_s"
            raise TransientError("timeout", f"{self.address} took longer than {limit}") from None
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            reason = str(error.__cause__ or error) or type(error).__name__
            raise TransientError("connection", f"{self.address}: {reason}") from None
        except openai.OpenAIError as error:
            raise TransientError("unreadable reply", f"{self.address}: {error}") from None

    def _explain_status(self, response: Any) -> Exception:
        error = explain_status(
            response.status_code,
            response.content,
            response.headers,
            settings=self._settings,
            address=self.address,
            key=self._key,
        )
        # A RecordError would fail one record, but this request was not about one.
        return UserError(str(error)) if isinstance(error, RecordError) else error


def _bound_stream(stream: Any, max_bytes: int) -> Any:
    """A response's stream that ends with an error after `max_bytes`."""
    import httpx2

    class BoundedStream(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            n_bytes = 0
            async for block in stream:
                n_bytes += len(block)
                if n_bytes > max_bytes:
                    raise httpx2.ReadError(f"the answer is larger than {max_bytes >> 20} MiB (max_reply_mib)")
                yield block

        async def aclose(self) -> None:
            await stream.aclose()

    return BoundedStream()


def _check(answer: AnswerT, *fields: str) -> AnswerT:
    """Raise TransientError if an answer lacks one of these fields: the SDK validates none, and may even return text."""
    if all(getattr(answer, field, None) for field in fields):
        return answer
    raise TransientError("unreadable reply", f"expected an object with {', '.join(fields)}, got something else")


class BatchFile:
    """A file of requests that is being filled. max_requests, `settings.max_bytes`: its limits.

    keys: hashes of the requests in it. max_tokens: the output limit of each. worst_usd: the most that they may cost.
    """

    def __init__(self, id: str, path: Path, settings: BatchSettings, max_requests: int) -> None:
        self.id, self.path = id, path
        self.keys: list[str] = []
        self.max_tokens: list[int | None] = []
        self.n_bytes, self.worst_usd = 0, 0.0
        self._max_requests, self._max_bytes = min(max_requests, settings.max_requests), settings.max_bytes
        self._sha = hashlib.sha256()
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")

    @property
    def sha256(self) -> str:
        return self._sha.hexdigest()

    def add(self, key: str, body: bytes, max_tokens: int | None, worst_usd: float) -> bool:
        """Add a request; returns False, and adds nothing, if the file would exceed a limit.

        max_tokens: the request's output limit; None for the configured maximum.
        """
        line = b'{"custom_id":"%s","method":"POST","url":"%s","body":%s}\n' % (key.encode(), ENDPOINT.encode(), body)
        if len(self.keys) >= self._max_requests or self.n_bytes + len(line) > self._max_bytes:
            return False
        with explain_os_errors(self.path):
            self._file.write(line)
        self._sha.update(line)
        self.keys.append(key)
        self.max_tokens.append(max_tokens)
        self.n_bytes += len(line)
        self.worst_usd += worst_usd
        return True

    def close(self) -> None:
        """Finish writing; deletes the file if it has no requests."""
        with explain_os_errors(self.path):
            self._file.close()
        if not self.keys:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class BatchResultRow:
    """The result of one request. status: the HTTP status; None if the request was never processed, with `error`."""

    key: str
    status: int | None
    body: bytes
    error: str

    @property
    def is_reply(self) -> bool:
        return self.status is not None and self.status < 400


class _Response(BaseModel):
    status_code: int
    body: Any = None


class _Error(BaseModel):
    code: str | None = None
    message: str | None = None


class _ResultLine(BaseModel):
    custom_id: str
    response: _Response | None = None
    error: _Error | None = None


def read_rows(path: Path) -> Iterator[BatchResultRow]:
    """The rows of a downloaded file. Raises TransientError at an unreadable line: the download was incomplete."""
    for line in read_records(path, _ResultLine):
        if isinstance(line, Failure):
            raise TransientError("unreadable reply", f"{path.parent}/{line.message}")
        if line.response:
            yield BatchResultRow(line.custom_id, line.response.status_code, to_json(line.response.body), "")
        else:
            error = line.error or _Error()
            reason = f"{error.code or 'no reply'}: {error.message or ''}"
            yield BatchResultRow(line.custom_id, None, b"", " ".join(scrub(reason).split())[:500])
