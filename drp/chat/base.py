"""What a chat client does, whichever provider is behind it: messages in, one reply out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from drp.records import Usage

FinishReason = Literal["stop", "length", "filtered"]


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Reply:
    """A provider's answer.

    finish_reason: `stop`; `length` where the output limit cut it; `filtered` where the provider refused or withheld it.
    usage: what this reply cost when it was paid for, in this call or in an earlier run: a record says the same however
        often its run was interrupted. What a process itself paid is the client's to tell.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage


class ChatClient(Protocol):
    """A model at a provider. Retries, rate limits, the store of raw replies and the cost cap are its business."""

    model: str

    async def complete(self, messages: Sequence[Message]) -> Reply:
        """Ask once. Raises RecordError where the provider gave no usable reply within the allowed tries, and
        UserError where no request can succeed (bad key, unknown model, cost cap reached)."""
        ...

    async def close(self) -> None:
        """Give back connections and files."""
        ...
