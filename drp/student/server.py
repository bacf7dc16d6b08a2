"""The backend `server`: any OpenAI-compatible completions server, for example vLLM's
(`python -m vllm.entrypoints.openai.api_server`).

Prompts are sent as token ids, so the server applies no chat template and adds no beginning-of-sequence token. The
random seed is the server's own. Responses are streamed, so that no time limit ends a long one.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from drp.config.sections import EngineSettings, SamplingSettings
from drp.credentials import Address, protect
from drp.errors import InputError, UserError
from drp.student.base import (
    Completion,
    GeneratedTokens,
    Rejection,
    SamplingRequest,
    limit_response,
    read_completion,
)
from drp.student.response import CLOSING, ChatFormat, count_tokens, unify_tags

CONNECT_TIMEOUT_S = 10.0
SILENCE_TIMEOUT_S = 3600.0
"""Longest pause between two parts of a response. A busy server may let a request wait for long before its first token;
the length of a response does not matter."""
_REFUSED = (401, 403, 404)
"""Statuses with which a server refuses every request."""
MAX_RETRIES = 6
"""Retries after a rate limit, a server error or a broken connection; the SDK waits longer before each."""


class ServerSampler:
    """A student on a server. Raises UserError if no server answers at the address or it does not have the model."""

    def __init__(self, model: str, engine: EngineSettings, sampling: SamplingSettings, format: ChatFormat) -> None:
        self.format = format
        self._model, self._sampling = model, sampling
        self._server, self._key_env = Address.parse(engine.base_url or ""), engine.api_key_env
        self._address = self._server.identity
        self._max_in_flight = engine.max_num_seqs
        # The event loop runs in its own thread, so that calls continue while the caller writes or grades.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server-sampler", daemon=True)
        self._thread.start()
        try:
            self._client: Any = self._submit(self._connect()).result()
            card = self._submit(self._find_model()).result()
        except BaseException:
            self.close()
            raise
        self._gives_token_ids = card.owned_by == "vllm"
        served_limit = getattr(card, "max_model_len", None)
        self.max_model_len: int | None = min(filter(None, (engine.max_model_len, served_limit)), default=None)

    def sample(self, requests: Iterator[SamplingRequest]) -> Iterator[Completion | Rejection]:
        """Sample one response for each request, with `max_num_seqs` calls in flight, in the order in which they finish.

        Raises UserError if the server refuses the key or no longer has the model.
        """
        in_flight: set[Future[Completion | Rejection]] = set()
        exhausted = False
        try:
            while in_flight or not exhausted:
                while not exhausted and len(in_flight) < self._max_in_flight:
                    request = next(requests, None)
                    if request is None:
                        exhausted = True
                    else:
                        in_flight.add(self._submit(self._draw(request)))
                done, in_flight = wait(in_flight, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in in_flight:
                future.cancel()

    def close(self) -> None:
        """Close the connections and end the thread. A second call does nothing."""
        if self._loop.is_closed():
            return
        client = getattr(self, "_client", None)
        if client is not None:
            self._submit(client.close()).result(timeout=CONNECT_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=CONNECT_TIMEOUT_S)
        self._loop.close()

    def _submit(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _connect(self) -> Any:
        import openai

        key = os.environ.get(self._key_env, "")
        protect(key)
        return openai.AsyncOpenAI(
            base_url=self._server.url,
            default_query=self._server.query,
            default_headers=self._server.headers,
            api_key=key or "none",
            max_retries=MAX_RETRIES,
            timeout=openai.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # With hundreds of calls in flight, the SDK's default transport reaches a quarter of aiohttp's rate.
            http_client=openai.DefaultAioHttpClient(follow_redirects=False),
        )

    async def _find_model(self) -> Any:
        """The model's entry in the server's list of models."""
        import openai

        try:
            listing = await self._client.with_options(max_retries=1, timeout=CONNECT_TIMEOUT_S).models.list()
        except openai.APIStatusError as error:
            raise self._explain_status(error) from None
        except openai.APIError as error:
            raise UserError(
                f"engine.base_url: no server answers at {self._address} ({error}); is it running?"
            ) from None
        cards = {card.id: card for card in listing.data}
        if self._model not in cards:
            served = ", ".join(sorted(cards)) or "none"
            raise InputError(f"student.model: {self._address} does not serve {self._model!r}; it serves: {served}")
        return cards[self._model]

    async def _draw(self, request: SamplingRequest) -> Completion | Rejection:
        import httpx2
        import openai

        limit = limit_response(request, self._sampling.max_new_tokens, self.max_model_len)
        if isinstance(limit, Rejection):
            return limit
        try:
            stream = await self._client.completions.create(
                model=self._model,
                prompt=request.prompt_ids,
                temperature=self._sampling.temperature,
                top_p=self._sampling.top_p,
                max_tokens=limit,
                stream=True,
                stream_options={"include_usage": True},
                extra_body={"return_token_ids": True} if self._gives_token_ids else None,
            )
            reply = _StreamedReply()
            async with stream:
                async for part in stream:
                    reply.add(part)
        except openai.APIError as error:
            if isinstance(error, openai.APIStatusError) and (error.status_code < 400 or error.status_code in _REFUSED):
                raise self._explain_status(error) from None
            return Rejection(request.id, f"{self._address}: {type(error).__name__}: {error}", "server error")
        except (TimeoutError, OSError, httpx2.HTTPError) as error:  # openai 3.0 lets what a stream raises through
            return Rejection(request.id, f"{self._address}: the stream broke off: {error!r}", "server error")
        return self._read(request.id, reply)

    def _read(self, request_id: str, reply: "_StreamedReply") -> Completion | Rejection:
        if reply.finish_reason is None:
            return Rejection(request_id, f"{self._address} ended the stream too early", "cut off")
        if reply.token_ids:
            return read_completion(GeneratedTokens(request_id, reply.token_ids, reply.finish_reason), self.format)
        # Other servers than vLLM return text only; the split between thinking and summary is counted here.
        if reply.n_tokens is None:
            return Rejection(request_id, f"{self._address} does not report how many tokens it generated (`usage`)")
        text, n_tokens = unify_tags(reply.text, self.format.tags), reply.n_tokens
        thinking, closing, _ = text.partition(CLOSING)
        n_thinking = min(n_tokens, count_tokens(self.format.tokenizer, thinking)) if closing else n_tokens
        return Completion(request_id, text, n_tokens, n_thinking, reply.finish_reason)

    def _explain_status(self, error: Any) -> UserError:
        if error.status_code < 400:
            target = error.response.headers.get("Location", "an unknown address")
            return UserError(
                f"{self._address} redirects to {target} (status {error.status_code}). Requests are not sent on to "
                "another address: if it is the right one, set engine.base_url to it."
            )
        if error.status_code in (401, 403):
            return UserError(
                f"{self._address} refuses the key in {self._key_env} (status {error.status_code}): {error}"
            )
        return UserError(f"{self._address} answers with status {error.status_code}: {error}")


@dataclass
class _StreamedReply:
    """A response as far as it has come."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    """Empty if the server sends text only."""
    finish_reason: str | None = None
    """None until the response is finished."""
    n_tokens: int | None = None
    """As the server counts them, at the end of the stream; None if it does not."""

    def add(self, part: Any) -> None:
        """Add one chunk of the stream."""
        if part.usage is not None:
            self.n_tokens = part.usage.completion_tokens
        for choice in part.choices:
            self.text += choice.text
            self.token_ids += getattr(choice, "token_ids", None) or []
            self.finish_reason = choice.finish_reason or self.finish_reason
