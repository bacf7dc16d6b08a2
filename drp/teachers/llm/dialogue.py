"""One record's conversations with the teacher: a prompt, its reply, and re-asks until the reply passes.

user       Below are a math problem and ...
assistant  1-3 | Addition                      <- does not cover clause 4
user       Your reply cannot be used: no step has clause 4 ...
assistant  1-3 | Addition ...
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from drp.chat.wire import ChatClient, Message, Reply
from drp.errors import RefusedReply
from drp.records import Usage
from drp.teachers.llm.prompts import Prompts
from drp.teachers.llm.reply import BadReply

T = TypeVar("T")

_MAX_PROBLEMS = 10
"""Problems that one re-ask lists."""
_MAX_CUT_OFF = 5
"""Replies that may be cut off, for each part of a task."""
_EMPTY = "(empty reply)"
"""Stands for an empty reply in the conversation, as providers refuse messages without content."""


@dataclass(frozen=True)
class PlannedRequest:
    """A request that a task would send. output_tokens: the expected length of its reply."""

    prompt: str
    output_tokens: int


class CutOffReply(Exception):
    """A reply that reached the output limit. The same request would reach it again: the task has to be divided."""

    def __init__(self, attempts: int, raw: str) -> None:
        super().__init__("the reply reached the teacher's output limit")
        self.attempts = attempts
        self.raw = raw

    def give_up(self) -> RefusedReply:
        """The failure of a task that cannot be divided further."""
        message = f"{self}, and smaller parts would not help; raise teacher.max_output_tokens or look at its raw reply"
        return RefusedReply(message, attempts=self.attempts, raw=self.raw, reason="cut off")


class Dialogue:
    """All requests about one record.

    client: None if requests are only planned.
    max_reasks: how often a reply that fails a check is asked for again.
    """

    def __init__(self, client: ChatClient | None, prompts: Prompts, max_reasks: int) -> None:
        self.prompts = prompts
        self.usage = Usage(cost_usd=0.0)
        """The sum over all replies so far."""
        self._client = client
        self._max_reasks = max_reasks
        self._n_cut_off = 0

    async def ask(self, prompt: str, read: Callable[[str], Awaitable[T]], *, expected_tokens: int) -> T:
        """What `read` returns for the reply. If it raises BadReply, the problems go back to the teacher.

        expected_tokens: about how long the reply will be.
        Raises CutOffReply if the reply reached the output limit, and RefusedReply if the provider withheld the reply or
        the last permitted reply is still bad.
        """
        assert self._client, "a teacher without a client only plans its requests"
        messages = [Message("user", prompt)]
        for attempt in range(1, self._max_reasks + 2):
            reply = await self._client.complete(messages, expected_tokens=expected_tokens)
            self.usage += reply.usage
            self._n_cut_off += reply.finish_reason == "length"
            _refuse_unfinished(reply, attempt)
            try:
                return await read(reply.text)
            except BadReply as error:
                bad = error
            messages += [Message("assistant", reply.text.strip() or _EMPTY), Message("user", self._write_reask(bad))]
        message = f"the teacher's reply failed: {bad} (more tries: a higher teacher.max_reasks)"
        raise RefusedReply(message, attempts=attempt, raw=reply.text, reason=bad.reason)

    def may_divide(self, n_parts: int) -> bool:
        """Whether a task that was planned in so many parts may be divided further after a cut-off reply. The number of
        cut-off replies is limited, as a teacher that never ends its replies would otherwise cost a call a word."""
        return self._n_cut_off <= _MAX_CUT_OFF * (n_parts + 1)

    def _write_reask(self, bad: BadReply) -> str:
        problems = [f"- {problem}" for problem in bad.problems[:_MAX_PROBLEMS]]
        if len(bad.problems) > _MAX_PROBLEMS:
            problems.append(f"- and {len(bad.problems) - _MAX_PROBLEMS} more problems of this kind")
        return self.prompts.render("reask", problems="\n".join(problems))


def _refuse_unfinished(reply: Reply, attempt: int) -> None:
    if reply.finish_reason == "filtered":
        message = "the provider withheld the teacher's reply (finish_reason: filtered)"
        raise RefusedReply(message, attempts=attempt, raw=reply.text, reason="withheld")
    if reply.finish_reason == "length":
        raise CutOffReply(attempt, reply.text)
