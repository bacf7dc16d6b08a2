"""Gemini through google-generativeai. The SDK is end-of-life, so no other file uses it.

Its REST transport is synchronous, so each call runs in a thread of its own. Its asynchronous client has gRPC only,
which many proxies block.
"""

import asyncio
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from drp.chat.wire import (
    CONNECT_TIMEOUT_S,
    ApiKey,
    FinishReason,
    Message,
    TransientError,
    WireReply,
    check_page,
    clean_text,
    estimate_tokens,
    explain_size,
    explain_status,
    has_error,
)
from drp.config.sections import TeacherSettings
from drp.credentials import Address, scrub

T = TypeVar("T")

_ADDRESS = "https://generativelanguage.googleapis.com"
_ROLES = {"user": "user", "assistant": "model"}
_FILTERED = {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"}


class GeminiWire:
    """One model behind POST {base_url}/v1beta/models/MODEL:generateContent."""

    def __init__(self, settings: TeacherSettings, key: ApiKey) -> None:
        server = Address.parse(settings.base_url or _ADDRESS)
        self.address = server.identity
        self._settings, self._key = settings, key
        self._service = _open_service(server, key, settings)

    async def send(self, messages: Sequence[Message], max_tokens: int | None = None) -> WireReply:
        timeout_s = self._settings.timeout_s
        try:
            # The socket's timeout restarts with every byte; this one also ends a reply that arrives too slowly.
            async with asyncio.timeout(timeout_s + 1):
                return await _run_in_thread(lambda: self._send(messages, max_tokens))
        except TimeoutError:
            raise TransientError("timeout", f"{self.address} did not answer within {timeout_s:g} s") from None

    async def close(self) -> None:
        self._service.transport.close()

    def _send(self, messages: Sequence[Message], max_tokens: int | None) -> WireReply:
        import requests.exceptions
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import TransportError
        from google.protobuf.json_format import ParseError

        request = self._write(messages, max_tokens)
        try:
            reply = self._service.generate_content(request, timeout=self._settings.timeout_s, retry=None)
        except requests.exceptions.ConnectTimeout:
            raise TransientError("connection", f"{self.address}: no connection in {CONNECT_TIMEOUT_S:g} s") from None
        except requests.exceptions.Timeout:
            raise TimeoutError from None
        except requests.exceptions.TooManyRedirects as error:
            response = error.response
            assert response is not None
            raise self._explain_response(response.status_code, b"", response.headers) from None
        except (requests.exceptions.RequestException, TransportError) as error:
            raise TransientError("connection", f"{self.address}: {error}") from None
        except (ParseError, ValueError):
            raise TransientError("unreadable reply", "a body that is not complete JSON") from None
        except GoogleAPICallError as error:
            raise self._explain(error) from None  # the SDK's own message may contain the key
        return read_reply(reply, messages)

    def _write(self, messages: Sequence[Message], max_tokens: int | None) -> Any:
        from google.generativeai import protos

        system = [protos.Part(text=clean_text(message.content)) for message in messages if message.role == "system"]
        turns = [
            protos.Content(role=_ROLES[message.role], parts=[protos.Part(text=clean_text(message.content))])
            for message in messages
            if message.role != "system"
        ]
        return protos.GenerateContentRequest(
            model=f"models/{(self._settings.model or '').removeprefix('models/')}",
            contents=turns,
            system_instruction=protos.Content(parts=system) if system else None,
            generation_config=protos.GenerationConfig(
                temperature=self._settings.temperature,
                max_output_tokens=max_tokens or self._settings.max_output_tokens,
            ),
        )

    def _explain(self, error: Any) -> Exception:
        response = error.response
        headers: Mapping[str, str] = response.headers if response is not None else {}
        body = response.content if response is not None else str(error)
        return self._explain_response(int(error.code or 500), body, headers)

    def _explain_response(self, status: int, body: bytes | str, headers: Mapping[str, str]) -> Exception:
        return explain_status(status, body, headers, settings=self._settings, address=self.address, key=self._key)


async def _run_in_thread(do: Callable[[], T]) -> T:
    """Return `do()`. Unlike those of an executor, the thread does not keep an interrupted process alive."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def finish(value: T | None, error: Exception | None) -> None:
        if result.cancelled():
            return
        if error:
            result.set_exception(error)
        else:
            result.set_result(cast(T, value))

    def run() -> None:
        value, error = None, None
        try:
            value = do()
        except Exception as caught:
            error = caught
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, value, error)

    threading.Thread(target=run, name="gemini", daemon=True).start()
    return await result


def _open_service(server: Address, key: ApiKey, settings: TeacherSettings) -> Any:
    """The SDK's service client, made without `genai.configure`, which would set the key for the whole process."""
    with warnings.catch_warnings():
        # Each import warns that the package is end-of-life, about which a user of `drp` can do nothing.
        warnings.simplefilter("ignore", FutureWarning)
        import google.generativeai  # noqa: F401
        from google.ai.generativelanguage import GenerativeServiceClient
    import requests.exceptions
    from requests.adapters import HTTPAdapter

    class BoundedAdapter(HTTPAdapter):
        """Receives a reply within the time limit and up to `max_reply_mib`, which requests itself does not bound."""

        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            deadline = time.monotonic() + settings.timeout_s
            kwargs |= {"stream": True, "timeout": (CONNECT_TIMEOUT_S, settings.timeout_s)}
            response = super().send(request, *args, **kwargs)
            body = bytearray()
            for block in response.iter_content(1 << 14):
                body += block
                if len(body) > settings.max_reply_mib << 20 or time.monotonic() > deadline:
                    response.close()
                    if time.monotonic() > deadline:
                        raise requests.exceptions.ReadTimeout
                    raise explain_size(settings, server.identity)
            response._content = scrub(bytes(body))
            if response.ok:
                check_page(response._content, response.headers)
            if response.ok and has_error(response._content):
                raise explain_status(
                    response.status_code,
                    response._content,
                    response.headers,
                    settings=settings,
                    address=server.identity,
                    key=key,
                )
            return response

    options = {"api_key": key.value or "none", "api_endpoint": server.url}
    service = GenerativeServiceClient(transport="rest", client_options=options)
    session = service.transport._session
    session.max_redirects = 0
    session.headers.update(server.headers)
    # By default, requests keeps ten connections and closes the others after each call.
    session.mount(f"{server.url}/", BoundedAdapter(pool_connections=1, pool_maxsize=settings.concurrency))
    return service


def read_reply(reply: Any, messages: Sequence[Message]) -> WireReply:
    """Read a GenerateContentResponse. A blocked prompt and an empty list of candidates are `filtered`."""
    usage = reply.usage_metadata
    n_input = usage.prompt_token_count or estimate_tokens(messages, 4)
    # A thinking model's thoughts are paid as output but counted in the total only.
    n_output = max(usage.candidates_token_count, usage.total_token_count - usage.prompt_token_count)
    if not reply.candidates:
        reason = reply.prompt_feedback.block_reason.name if reply.prompt_feedback else "no candidates"
        return WireReply(f"blocked: {reason}", "filtered", n_input, n_output)
    candidate = reply.candidates[0]
    text = clean_text("".join(part.text for part in candidate.content.parts))
    finish = _read_finish(candidate.finish_reason.name)
    if finish == "stop" and not text.strip():
        return WireReply(text, "empty", n_input, n_output, raw=type(reply).to_json(reply, indent=None))
    return WireReply(text, finish, n_input, n_output)


def _read_finish(name: str) -> FinishReason:
    return "length" if name == "MAX_TOKENS" else "filtered" if name in _FILTERED else "stop"
