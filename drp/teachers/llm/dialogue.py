"""Asking a chat model until its reply passes: prompt, reply, what was wrong, next reply, a bounded number of times.

user       Below are a math problem and ...
assistant  1-3 | Addition                      <- does not cover clause 4
user       Your reply cannot be used: no step has clause 4 ...
assistant  1-3 | Addition ...
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from drp.chat.wire import ChatClient, Message, Reply
from drp.errors import RecordError
from drp.records import Usage
from drp.teachers.llm.prompts import Prompts
from drp.teachers.llm.reply import BadReply

T = TypeVar("T")

_MOST_PROBLEMS = 10
_MOST_CUT = 5
_EMPTY = "(empty reply)"


@dataclass(frozen=True)
class Ask:
    """A request as it is planned. output_tokens: what its reply takes on average."""

    prompt: str
    output_tokens: int


class TooLong(Exception):
    """The reply reached the output limit. The same request would again: the task has to be divided."""

    def __init__(self, attempts: int, raw: str) -> None:
        super().__init__("the reply reached the teacher's output limit")
        self.attempts = attempts
        self.raw = raw

    def give_up(self) -> RecordError:
        """The failure of a task that is not divided further."""
        message = f"{self}, and smaller parts would not help; raise teacher.max_output_tokens or look at its raw reply"
        return RecordError(message, attempts=self.attempts, raw=self.raw, reason="cut off")


class Dialogue:
    """All that is asked about one record. usage: the sum over all its calls so far. n_cut: replies cut off so far."""

    def __init__(self, client: ChatClient | None, prompts: Prompts, max_reasks: int) -> None:
        self.usage = Usage(cost_usd=0.0)
        self.n_cut = 0
        self._client = client
        self._prompts = prompts
        self._max_reasks = max_reasks

    async def ask(self, prompt: str, read: Callable[[str], Awaitable[T]]) -> T:
        """What `read` makes of the reply. Where `read` raises BadReply, the problems go back to the teacher.

        Raises TooLong for a reply that was cut off, and RecordError where the provider withheld its reply, or when the
        last permitted reply is still bad.
        """
        messages = [Message("user", prompt)]
        for attempt in range(1, self._max_reasks + 2):
            assert self._client, "a teacher without a client only plans its requests"
            reply = await self._client.complete(messages)
            self.usage += reply.usage
            self.n_cut += reply.finish_reason == "length"
            _refuse_unfinished(reply, attempt)
            try:
                return await read(reply.text)
            except BadReply as bad:
                problem, raw = bad, reply.text
            messages += [Message("assistant", raw.strip() or _EMPTY), Message("user", self._complain(problem))]
        message = f"the teacher's reply failed: {problem} (more tries: a higher teacher.max_reasks)"
        raise RecordError(message, attempts=attempt, raw=raw, reason=problem.reason)

    def may_divide(self, n_planned: int) -> bool:
        """Whether cut-off replies are still few for a task that was planned in so many parts. A teacher that never
        ends its replies would otherwise cost a call a word."""
        return self.n_cut <= _MOST_CUT * (n_planned + 1)

    def _complain(self, bad: BadReply) -> str:
        problems = [f"- {problem}" for problem in bad.problems[:_MOST_PROBLEMS]]
        if len(bad.problems) > _MOST_PROBLEMS:
            problems.append(f"- and {len(bad.problems) - _MOST_PROBLEMS} more problems of this kind")
        return self._prompts.render("reask", problems="\n".join(problems))


def _refuse_unfinished(reply: Reply, attempt: int) -> None:
    if reply.finish_reason == "filtered":
        message = "the provider withheld the teacher's reply (finish_reason: filtered)"
        raise RecordError(message, attempts=attempt, raw=reply.text, reason="withheld")
    if reply.finish_reason == "length":
        raise TooLong(attempt, reply.text)
