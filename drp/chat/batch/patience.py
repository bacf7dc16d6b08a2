"""How long to insist on a call that belongs to no request: batches go on by themselves, so there is time."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

from drp.chat.client import Backoff
from drp.chat.wire import TransientError
from drp.errors import UserError
from drp.progress import say

T = TypeVar("T")


class Patience:
    """n_tries: allowed until the provider has answered for the first time; after that `backoff.patience_s` counts."""

    def __init__(self, backoff: Backoff, n_tries: int) -> None:
        self._backoff, self._n_tries = backoff, n_tries
        self._grow_wait = wait_exponential_jitter(backoff.first_s, backoff.longest_s, 2, backoff.jitter_s)
        self._reached = False

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call's result, tried again after each TransientError. Raises UserError where it stays without."""

        async def attempt() -> T:
            return await call()

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=self._is_over,
            wait=self._find_wait_s,
            before_sleep=_tell_first,
            reraise=True,
        )
        try:
            result: T = await retrying(attempt)
        except TransientError as error:
            if not self._reached:
                raise UserError(f"{error}\nNothing was reached there: see teacher.base_url.") from None
            kept = "All replies are kept, and batches go on at the provider: run this again later."
            raise UserError(f"{error}\n{kept}") from None
        self._reached = True
        return result

    def _is_over(self, state: RetryCallState) -> bool:
        if not self._reached:
            return state.attempt_number >= self._n_tries
        return (state.seconds_since_start or 0.0) >= self._backoff.patience_s

    def _find_wait_s(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, TransientError) else None
        return self._grow_wait(state) if asked_s is None else min(asked_s, self._backoff.patience_s)


def _tell_first(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome:
        say(f"{state.outcome.exception()}; trying again")
