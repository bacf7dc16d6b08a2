"""OpenAI's Files and Batches endpoints, one call each through its SDK; what may go wrong is said as in `drp.chat.wire`.

Nothing is retried here: that is for whoever knows whether a try may be repeated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from drp.artifacts import explain_os_errors
from drp.chat.batch.files import ENDPOINT
from drp.chat.batch.rows import read_rows
from drp.chat.wire import Key, TransientError, raise_for_status
from drp.errors import RecordError, UserError
from drp.settings import TeacherSettings

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
