"""Any OpenAI-compatible completions server, such as `python -m vllm.entrypoints.openai.api_server`.

Prompts go as token ids, so that the server's template and BOS have no say. The server decides on its own seed.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from drp.config.sections import EngineSettings, SamplingSettings
from drp.errors import InputError, UserError
from drp.student.base import Completion, Rejection, Request, limit_response, read_completion
from drp.student.response import CLOSING, Tokenizer, count_tokens

CONNECT_TIMEOUT_S = 10.0
RESPONSE_TIMEOUT_S = 3600.0
"""A long response of a busy server is slow, not lost."""
MAX_RETRIES = 6
"""After a rate limit, a server error or a broken connection; the SDK waits longer each time."""


class ServerSampler:
    """A student behind an address. Raises UserError where nobody answers there, or not for this model."""

    def __init__(self, model: str, engine: EngineSettings, sampling: SamplingSettings, tokenizer: Tokenizer) -> None:
        self._model, self._sampling, self._tokenizer = model, sampling, tokenizer
        self._address, self._key_env = engine.base_url or "", engine.api_key_env
        self._max_in_flight = engine.max_num_seqs
        # The loop has a thread of its own, so that calls go on while the consumer writes or grades.
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

    def sample(self, requests: Iterator[Request]) -> Iterator[Completion | Rejection]:
        """Draw one response a request, `max_num_seqs` calls in flight, in the order in which they finish.

        Raises UserError where the server refuses the key or no longer knows the model.
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
        """End the connections and the thread. Does nothing the second time."""
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

        # The default transport manages a quarter of this one's rate at hundreds of calls in flight.
        return openai.AsyncOpenAI(
            base_url=self._address,
            api_key=os.environ.get(self._key_env) or "none",
            max_retries=MAX_RETRIES,
            timeout=openai.Timeout(RESPONSE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            http_client=openai.DefaultAioHttpClient(),
        )

    async def _find_model(self) -> Any:
        """The server's card of the model."""
        import openai

        try:
            listing = await self._client.with_options(max_retries=1, timeout=CONNECT_TIMEOUT_S).models.list()
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.APIError as error:
            raise UserError(f"engine.base_url: nobody answers at {self._address} ({error}); is it running?") from None
        cards = {card.id: card for card in listing.data}
        if self._model not in cards:
            served = ", ".join(sorted(cards)) or "none"
            raise InputError(f"student.model: {self._address} does not serve {self._model!r}; it serves: {served}")
        return cards[self._model]

    async def _draw(self, request: Request) -> Completion | Rejection:
        import openai

        limit = limit_response(request, self._sampling.max_new_tokens, self.max_model_len)
        if isinstance(limit, Rejection):
            return limit
        try:
            answer = await self._client.completions.create(
                model=self._model,
                prompt=request.prompt_ids,
                temperature=self._sampling.temperature,
                top_p=self._sampling.top_p,
                max_tokens=limit,
                extra_body={"return_token_ids": True} if self._gives_token_ids else None,
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise self._refusal(error) from None
        except openai.APIError as error:
            return Rejection(request.id, f"{self._address}: {type(error).__name__}: {error}", "server error")
        return self._read(request.id, answer)

    def _read(self, request_id: str, answer: Any) -> Completion | Rejection:
        if not getattr(answer, "choices", None):
            return Rejection(request_id, f"{self._address} gave no completion: {str(answer)[:200]}", "empty reply")
        choice = answer.choices[0]
        token_ids = getattr(choice, "token_ids", None)
        if token_ids is not None:
            return read_completion(request_id, token_ids, choice.finish_reason, self._tokenizer)
        if answer.usage is None:
            return Rejection(request_id, f"{self._address} does not say how many tokens it generated (`usage`)")
        n_tokens = answer.usage.completion_tokens
        thinking, closing, _ = choice.text.partition(CLOSING)
        n_thinking = min(n_tokens, count_tokens(self._tokenizer, thinking)) if closing else n_tokens
        return Completion(request_id, choice.text, n_tokens, n_thinking, choice.finish_reason)

    def _refusal(self, error: Any) -> UserError:
        """Without the server's own words where they may repeat the key."""
        if error.status_code in (401, 403):
            return UserError(f"{self._address} refuses the key in {self._key_env} (status {error.status_code})")
        return UserError(f"{self._address} answers with status {error.status_code}: {error}")
