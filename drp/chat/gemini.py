"""Gemini through google-generativeai: the only file that knows that SDK, which is at the end of its life.

Its REST transport is synchronous, so each call has a thread of a pool as large as the concurrency. Its asynchronous
client speaks gRPC only, which few proxies let through.
"""

import asyncio
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

from drp.chat.wire import Answer, FinishReason, Key, Message, TransientError, count_roughly, find_text, raise_for_status
from drp.config.sections import TeacherSettings

_ADDRESS = "https://generativelanguage.googleapis.com"
_ROLES = {"user": "user", "assistant": "model"}
_FILTERED = {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"}


class GeminiWire:
    """One model behind POST {base_url}/v1beta/models/MODEL:generateContent."""

    def __init__(self, settings: TeacherSettings, key: Key) -> None:
        self.address = (settings.base_url or _ADDRESS).rstrip("/")
        self._settings, self._key = settings, key
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="gemini")
        self._service = _open_service(self.address, key, settings.concurrency)

    async def send(self, messages: Sequence[Message]) -> Answer:
        timeout_s = self._settings.timeout_s
        try:
            # The socket's timeout ends the thread; this one also ends a reply that trickles.
            async with asyncio.timeout(timeout_s + 1):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._send, messages)
        except TimeoutError:
            raise TransientError("timeout", f"{self.address} did not answer within {timeout_s:g} s") from None

    def scrub(self, text: str) -> str:
        return self._key.scrub(text)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._service.transport.close()

    def _send(self, messages: Sequence[Message]) -> Answer:
        import requests.exceptions
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import TransportError
        from google.protobuf.json_format import ParseError

        request = self._write(messages)
        try:
            reply = self._service.generate_content(request, timeout=self._settings.timeout_s, retry=None)
        except requests.exceptions.Timeout:
            raise TimeoutError from None
        except (requests.exceptions.RequestException, TransportError) as error:
            raise TransientError("connection", self.scrub(f"{self.address}: {error}")) from None
        except (ParseError, ValueError):
            raise TransientError("unreadable reply", "a body that is not whole JSON") from None
        except GoogleAPICallError as error:
            refusal = error
            reply = None
        if reply is None:
            # Outside the block above: what is raised there would drag the SDK's own text along, the key in it.
            self._refuse(refusal)
        return read_answer(reply, messages)

    def _write(self, messages: Sequence[Message]) -> Any:
        from google.generativeai import protos

        system = [protos.Part(text=find_text(message.content)) for message in messages if message.role == "system"]
        turns = [
            protos.Content(role=_ROLES[message.role], parts=[protos.Part(text=find_text(message.content))])
            for message in messages
            if message.role != "system"
        ]
        return protos.GenerateContentRequest(
            model=f"models/{(self._settings.model or '').removeprefix('models/')}",
            contents=turns,
            system_instruction=protos.Content(parts=system) if system else None,
            generation_config=protos.GenerationConfig(
                temperature=self._settings.temperature, max_output_tokens=self._settings.max_output_tokens
            ),
        )

    def _refuse(self, error: Any) -> NoReturn:
        response = error.response
        headers: Mapping[str, str] = response.headers if response is not None else {}
        body = response.content if response is not None else str(error)
        raise_for_status(
            int(error.code or 500), body, headers, model=self._settings.model or "", address=self.address, key=self._key
        )


def _open_service(address: str, key: Key, n_connections: int) -> Any:
    """The SDK's own service client, without `genai.configure`, which is global to the process."""
    with warnings.catch_warnings():
        # The package says at each import that its time is over; whoever runs `drp` can do nothing about that.
        warnings.simplefilter("ignore", FutureWarning)
        import google.generativeai  # noqa: F401
        from google.ai.generativelanguage import GenerativeServiceClient
    from requests.adapters import HTTPAdapter

    options = {"api_key": key.value or "none", "api_endpoint": address}
    service = GenerativeServiceClient(transport="rest", client_options=options)
    # requests keeps ten connections by default and throws the others away after each call.
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=n_connections)
    service.transport._session.mount(f"{address}/", adapter)
    return service


def read_answer(reply: Any, messages: Sequence[Message]) -> Answer:
    """A GenerateContentResponse as an Answer; a blocked prompt and an empty list of candidates are `filtered`."""
    usage = reply.usage_metadata
    n_input = usage.prompt_token_count or count_roughly(messages, 4)
    # A thinking model's thoughts are paid as output, and counted only in the total.
    n_output = max(usage.candidates_token_count, usage.total_token_count - usage.prompt_token_count)
    if not reply.candidates:
        reason = reply.prompt_feedback.block_reason.name if reply.prompt_feedback else "no candidates"
        return Answer(f"blocked: {reason}", "filtered", n_input, n_output)
    candidate = reply.candidates[0]
    text = find_text("".join(part.text for part in candidate.content.parts))
    finish = _read_finish(candidate.finish_reason.name)
    if finish == "stop" and not text.strip():
        return Answer(text, "empty", n_input, n_output, raw=type(reply).to_json(reply, indent=None))
    return Answer(text, finish, n_input, n_output)


def _read_finish(name: str) -> FinishReason:
    return "length" if name == "MAX_TOKENS" else "filtered" if name in _FILTERED else "stop"
