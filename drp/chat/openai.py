"""OpenAI's chat completions, and every server that speaks like them (`teacher.base_url`).

The SDK says where requests go and with which headers. The bytes themselves go over one aiohttp session: the SDK's own
request path takes 1.2 ms of CPU a call against 0.2 ms, and at 400 calls in flight that decides the rate
(scripts/bench/teacher.py measures both).
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic_core import to_json

from drp.chat.wire import (
    Answer,
    FinishReason,
    Key,
    Message,
    TransientError,
    count_roughly,
    find_text,
    raise_for_status,
    read_error,
)
from drp.config.sections import TeacherSettings
from drp.errors import UserError

if TYPE_CHECKING:
    import aiohttp

_FINISHES: dict[str, FinishReason] = {"length": "length", "content_filter": "filtered"}
_FILTER_CODES = {"content_filter", "content_policy_violation"}
_CONNECT_TIMEOUT_S = 30.0


class OpenAIWire:
    """One model behind POST {base_url}/chat/completions."""

    def __init__(self, settings: TeacherSettings, key: Key) -> None:
        import openai

        # Never asked for anything; with the environment's proxies it would not even open where one speaks SOCKS.
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        sdk = openai.AsyncOpenAI(api_key=key.value or "none", base_url=settings.base_url, http_client=http)
        self.address = str(sdk.base_url).rstrip("/")
        self._url = f"{self.address}/chat/completions"
        self._headers = {name: value for name, value in sdk.default_headers.items() if isinstance(value, str)}
        if key.value:
            self._headers["Authorization"] = f"Bearer {key.value}"
        self._settings, self._key = settings, key
        self._session: aiohttp.ClientSession | None = None
        # Servers other than OpenAI's do not all know the name that its newer models demand.
        own = (urlsplit(self.address).hostname or "").endswith("api.openai.com")
        self._limit_name = "max_completion_tokens" if own else "max_tokens"

    async def send(self, messages: Sequence[Message]) -> Answer:
        import aiohttp

        self._session = self._session or self._connect()
        timeout_s = self._settings.timeout_s
        try:
            async with self._session.post(self._url, data=self.write(messages)) as response:
                body = await response.read()
        except TimeoutError:
            raise TransientError("timeout", f"{self.address} did not answer within {timeout_s:g} s") from None
        except aiohttp.ClientError as error:
            raise TransientError("connection", self.scrub(f"{self.address}: {error or type(error).__name__}")) from None
        return self.read(response.status, body, response.headers, messages)

    def write(self, messages: Sequence[Message]) -> bytes:
        """A request's body."""
        body = {
            "model": self._settings.model,
            "messages": [{"role": message.role, "content": find_text(message.content)} for message in messages],
            "temperature": self._settings.temperature,
            self._limit_name: self._settings.max_output_tokens,
        }
        return to_json(body)

    def read(self, status: int, body: bytes, headers: Mapping[str, str], messages: Sequence[Message]) -> Answer:
        """What a response says. Raises as `send` does."""
        if status >= 400:
            return self._refuse(status, body, headers)
        return read_answer(body, headers, messages)

    def scrub(self, text: str) -> str:
        return self._key.scrub(text)

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    def _connect(self) -> "aiohttp.ClientSession":
        import aiohttp
        import httpx2

        scheme, proxy = urlsplit(self.address).scheme, _find_proxy(self.address)
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_connect=_CONNECT_TIMEOUT_S)
        ssl = httpx2.create_ssl_context() if scheme == "https" else True
        # The client's window limits the calls in flight, the connector need not.
        connector = aiohttp.TCPConnector(limit=0, ssl=ssl, keepalive_timeout=60)
        return aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=timeout, proxy=proxy)

    def _refuse(self, status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
        """An error status: the filter's verdict on the prompt is an answer, all else is raised."""
        codes, message = read_error(body)
        if status != 400 or not codes & _FILTER_CODES:
            model = self._settings.model or ""
            raise_for_status(status, body, headers, model=model, address=self.address, key=self._key)
        return Answer(find_text(self.scrub(message)), "filtered", 0, 0, headers)


def _find_proxy(address: str) -> str | None:
    """The environment's proxy for this address. Raises UserError where it is of a kind that aiohttp does not speak."""
    parts, proxies = urlsplit(address), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        name, kind = f"{parts.scheme.upper()}_PROXY or ALL_PROXY", urlsplit(proxy).scheme
        raise UserError(f"{name} names a {kind} proxy, and only HTTP ones can be used; see also NO_PROXY.")
    return proxy


def read_answer(body: bytes, headers: Mapping[str, str], messages: Sequence[Message]) -> Answer:
    """A chat completion as an Answer. Raises TransientError where the body is not whole JSON."""
    try:
        reply = json.loads(body)
    except ValueError:
        raise TransientError("unreadable reply", f"{len(body)} bytes that are not whole JSON", headers) from None
    choice = _find_choice(reply)
    text, refusal = _read_content(choice["message"].get("content")), find_text(choice["message"].get("refusal"))
    finish = _FINISHES.get(str(choice.get("finish_reason")), "stop")
    if refusal and not text.strip():
        text, finish = refusal, "filtered"
    usage = reply.get("usage") if isinstance(reply, dict) else None
    counts = usage if isinstance(usage, dict) else {}
    # A server that counts nothing is counted for, so that limits hold; roughly is better than not at all.
    n_input = _read_count(counts.get("prompt_tokens")) or count_roughly(messages, 4)
    n_output = _read_count(counts.get("completion_tokens")) or len(text) // 4
    if finish == "stop" and not text.strip():
        return Answer(text, "empty", n_input, n_output, headers, raw=find_text(body.decode("utf-8", "replace")))
    return Answer(text, finish, n_input, n_output, headers)


def _find_choice(reply: Any) -> dict[str, Any]:
    try:
        choice = reply["choices"][0]
        return choice if isinstance(choice["message"], dict) else {"message": {}}
    except (KeyError, IndexError, TypeError):
        return {"message": {}}


def _read_content(content: Any) -> str:
    """Text, or the text among the parts that some servers send in its place."""
    if not isinstance(content, list):
        return find_text(content)
    return "".join(find_text(part.get("text")) for part in content if isinstance(part, dict))


def _read_count(count: Any) -> int:
    """Tokens; 0 where it is no number, so that a strange count never costs the reply that it came with."""
    return int(count) if isinstance(count, int | float) and 0 < count < 1e9 else 0
