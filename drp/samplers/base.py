"""What a sampler does, whichever engine is behind it: a stream of prompts in, a stream of responses out.

Responses come as they finish, not in the order of the prompts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Request:
    """One response to draw. `prompt_ids`: token ids, the beginning-of-sequence token included once."""

    id: str
    prompt_ids: list[int]


@dataclass(frozen=True)
class Completion:
    """One response as the engine gave it.

    text: decoded, without the end-of-sequence token; `</think>` stays in it.
    n_tokens: what the engine generated, the end-of-sequence token included.
    n_thinking_tokens: those before `</think>`; all of them where it never came.
    finish_reason: "stop" or "length".
    """

    id: str
    text: str
    n_tokens: int
    n_thinking_tokens: int
    finish_reason: str | None


@dataclass(frozen=True)
class Rejection:
    """A request that the engine could not serve, such as a prompt that leaves no room for a response.

    reason: two or three words for the summary that ends a stage.
    """

    id: str
    message: str
    reason: str = "refused by the engine"


class Sampler(Protocol):
    """An engine with a student loaded."""

    def sample(self, requests: Iterator[Request]) -> Iterator[Completion | Rejection]:
        """Draw one response a request. Takes requests as it has room for them; holds only those in flight."""
        ...

    def close(self) -> None:
        """Give back memory and processes; the next engine may need them."""
        ...
