"""OpenAI's chat completions, at OpenAI and at every server with the same API (`teacher.base_url`).

The SDK gives the address and the headers. The requests themselves go over one aiohttp session: the SDK's own request
path takes 1.2 ms of CPU a call against 0.2 ms, which limits the rate at 400 calls in flight (scripts/bench/teacher.py
measures both).

Replies are read from plain JSON and not through the SDK's types: other servers send content in parts, counts that are
no numbers, or choices without a message, and none of these may lose a reply that is paid for.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic_core import to_json

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
    read_error,
)
from drp.config.sections import TeacherSettings
from drp.credentials import Address, scrub
from drp.errors import UserError

if TYPE_CHECKING:
    import aiohttp

_OPENAI = "https://api.openai.com/v1"
_FINISHES: dict[str, FinishReason] = {"length": "length", "content_filter": "filtered"}
_FILTER_CODES = {"content_filter", "content_policy_violation"}


class OpenAIWire:
    """One model behind POST {base_url}/chat/completions."""

    def __init__(self, settings: TeacherSettings, key: ApiKey) -> None:
        import openai

        # The SDK sends no request here. With the environment's proxies its client would not open if one speaks SOCKS.
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        server = find_server(settings)
        sdk = openai.AsyncOpenAI(api_key=key.value or "none", base_url=server.url, http_client=http)
        server = replace(server, url=str(sdk.base_url).rstrip("/"))  # in lower case, without a default port
        self.address, self._query = server.identity, server.query
        self._url = f"{server.url}/chat/completions"
        self._headers = {name: value for name, value in sdk.default_headers.items() if isinstance(value, str)}
        if key.value:
            self._headers["Authorization"] = f"Bearer {key.value}"
        self._headers |= server.headers
        self._settings, self._key = settings, key
        self._session: aiohttp.ClientSession | None = None
        # OpenAI's newer models require `max_completion_tokens`; not every other server knows it.
        is_openai = (urlsplit(server.url).hostname or "").endswith("api.openai.com")
        self._limit_name = "max_completion_tokens" if is_openai else "max_tokens"

    async def send(self, messages: Sequence[Message], max_tokens: int | None = None) -> WireReply:
        import aiohttp

        self._session = self._session or self._connect()
        timeout_s = self._settings.timeout_s
        try:
            body = self.write(messages, max_tokens)
            async with self._session.post(self._url, params=self._query, data=body, allow_redirects=False) as response:
                reply = scrub(await self._receive(response))
        except aiohttp.ConnectionTimeoutError:
            raise TransientError("connection", f"{self.address}: no connection in {CONNECT_TIMEOUT_S:g} s") from None
        except TimeoutError:
            raise TransientError("timeout", f"{self.address} did not answer within {timeout_s:g} s") from None
        except aiohttp.ClientError as error:
            reason = str(error) or type(error).__name__
            raise TransientError("connection", f"{self.address}: {reason}") from None
        return self.read(response.status, reply, response.headers, messages)

    def write(self, messages: Sequence[Message], max_tokens: int | None = None) -> bytes:
        """A request's body. max_tokens: as in `send`."""
        body = {
            "model": self._settings.model,
            "messages": [{"role": message.role, "content": clean_text(message.content)} for message in messages],
            "temperature": self._settings.temperature,
            self._limit_name: max_tokens or self._settings.max_output_tokens,
        }
        return to_json(body)

    def read(self, status: int, body: bytes, headers: Mapping[str, str], messages: Sequence[Message]) -> WireReply:
        """Read a response. messages: of the request, for a server that counts no tokens. Raises as `send` does."""
        if status < 300:
            reply = read_reply(body, headers, messages)
            if reply.finish != "empty" or not has_error(body):
                return reply
        codes, message = read_error(body)
        if status == 400 and codes & _FILTER_CODES:
            return WireReply(clean_text(message), "filtered", 0, 0, headers)
        raise explain_status(status, body, headers, settings=self._settings, address=self.address, key=self._key)

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def _receive(self, response: "aiohttp.ClientResponse") -> bytes:
        """The body, decompressed. Raises RecordError as soon as it is larger than `max_reply_mib`."""
        body = bytearray()
        async for block in response.content.iter_any():
            body += block
            if len(body) > self._settings.max_reply_mib << 20:
                response.close()
                raise explain_size(self._settings, self.address)
        return bytes(body)

    def _connect(self) -> "aiohttp.ClientSession":
        import aiohttp
        import httpx2

        scheme, proxy = urlsplit(self._url).scheme, _find_proxy(self._url)
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        ssl = httpx2.create_ssl_context() if scheme == "https" else True
        # No limit here: `drp.chat.limits` bounds the calls in flight.
        connector = aiohttp.TCPConnector(limit=0, ssl=ssl, keepalive_timeout=60)
        return aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=timeout, proxy=proxy)


def find_server(settings: TeacherSettings) -> Address:
    """The server's address; as in the SDK, without `base_url` that of the environment variable or OpenAI's own."""
    return Address.parse(settings.base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI)


def _find_proxy(address: str) -> str | None:
    """The environment's proxy for this address, or None. Raises UserError for a proxy that aiohttp cannot use."""
    parts, proxies = urlsplit(address), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    Address.parse(proxy)  # protects its password
    if not proxy.startswith(("http://", "https://")):
        name, kind = f"{parts.scheme.upper()}_PROXY or ALL_PROXY", urlsplit(proxy).scheme
        raise UserError(f"{name} is a {kind} proxy; only HTTP proxies can be used. NO_PROXY lists exceptions.")
    return proxy


def read_reply(body: bytes, headers: Mapping[str, str], messages: Sequence[Message]) -> WireReply:
    """Read a chat completion. Raises TransientError if the body is not complete JSON."""
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        check_page(body, headers)
        raise TransientError("unreadable reply", f"{len(body)} bytes that are not complete JSON", headers) from None
    choice = _find_choice(reply)
    text, refusal = _read_content(choice["message"].get("content")), clean_text(choice["message"].get("refusal"))
    finish = _FINISHES.get(str(choice.get("finish_reason")), "stop")
    if refusal and not text.strip():
        text, finish = refusal, "filtered"
    usage = reply.get("usage") if isinstance(reply, dict) else None
    counts = usage if isinstance(usage, dict) else {}
    # Estimated if the server sends no counts, so that rate limits and the cost cap still work.
    n_input = _read_count(counts.get("prompt_tokens")) or estimate_tokens(messages, 4)
    n_output = _read_count(counts.get("completion_tokens")) or len(text) // 4
    if finish == "stop" and not text.strip():
        return WireReply(text, "empty", n_input, n_output, headers, raw=clean_text(body.decode("utf-8", "replace")))
    return WireReply(text, finish, n_input, n_output, headers)


def _find_choice(reply: Any) -> dict[str, Any]:
    try:
        choice = reply["choices"][0]
        return choice if isinstance(choice["message"], dict) else {"message": {}}
    except (KeyError, IndexError, TypeError):
        return {"message": {}}


def _read_content(content: Any) -> str:
    """The text, or the text of the parts that some servers send instead."""
    if not isinstance(content, list):
        return clean_text(content)
    return "".join(clean_text(part.get("text")) for part in content if isinstance(part, dict))


def _read_count(count: Any) -> int:
    """Tokens; 0 if the count is not a sensible number."""
    return int(count) if isinstance(count, int | float) and 0 < count < 1e9 else 0
