"""A judge of decompositions: a chat model that is shown two of them and says which is cut better (paper, Appendix D).

    judge = open_judge(config, ReplyStore(rundir.replies, "judge plain"))
    verdicts, usage = await judge.compare(a.steps, b.steps)

REASON: the steps of A end where a computation ends.
VERDICT: A

A judge has a liking for one position, so each pair is shown in both orders. It sees numbered steps and nothing that
says where they came from. Skills are not shown either: the paper's instruction asks about the steps only, and
sentences have no skills, so that a label would give the version away.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Literal

from drp.chat.factory import open_client, open_stored
from drp.chat.store import ReplyStore
from drp.chat.wire import ChatClient
from drp.config.sections import Config, TeacherSettings
from drp.errors import ConfigError
from drp.records import Step, Usage, Verdict
from drp.student.response import CLOSING
from drp.teachers.checks import excerpt
from drp.teachers.llm.dialogue import Dialogue, TooLong
from drp.teachers.llm.prompts import Prompts
from drp.teachers.llm.reply import BadReply, strip_fence

Name = Literal["a", "b"]
Position = Literal["first", "second", "same"]

PROMPTS = ("judge", "reask")

_WORD = re.compile(r"[^\W_]+")
_REASON = re.compile(r"^[\W_]*reason[\s*_`]*[:=](.*)$", re.IGNORECASE)
_POSITIONS: dict[str, Position] = {"a": "first", "b": "second", "same": "same", "tie": "same"}
_LONGEST_REASON = 500


def find_settings(config: Config) -> TeacherSettings:
    """Who judges. Raises ConfigError where that is the offline teacher, which reads no prompt."""
    settings = config.judge.teacher or config.teacher
    if settings.provider == "rules":
        raise ConfigError(
            "judge: the provider `rules` cannot judge; name a model: judge.teacher: {provider: openai, model: ...} "
            "(or provider: gemini)"
        )
    return settings


def describe_judge(config: Config) -> dict[str, Any]:
    """What a fingerprint holds of the judge: its settings, and the hashes of its prompts."""
    settings = find_settings(config)
    identity = {key: value for key, value in settings.identity().items() if key != "format"}
    return {**identity, "prompts": Prompts.load(settings.prompts_dir).hashes(PROMPTS)}


def open_judge(config: Config, store: ReplyStore, *, stored_only: bool = False) -> "Judge":
    """The configured judge. Opens `store`, which is closed with the judge.

    stored_only: answer from the stored replies alone, without requests and without a key.
    Raises UserError if the judge's key is missing.
    """
    settings = find_settings(config)
    client = open_stored(settings, store) if stored_only else open_client(settings, store)
    return Judge(client, Prompts.load(settings.prompts_dir), settings.max_reasks)


class Judge:
    """A chat model with the judge's prompt. name: the model's."""

    def __init__(self, client: ChatClient, prompts: Prompts, max_reasks: int) -> None:
        self.name = client.model
        self._client, self._prompts, self._max_reasks = client, prompts, max_reasks

    async def compare(self, a: Sequence[Step], b: Sequence[Step]) -> tuple[list[Verdict], Usage]:
        """The verdicts, a first and b first, and what they cost. Raises RecordError where a reply stays unreadable."""
        # When one order fails, the other is still waited for: its reply is paid.
        asked = await asyncio.gather(self._ask("a", a, b), self._ask("b", b, a), return_exceptions=True)
        verdicts, usage = [], Usage(cost_usd=0.0)
        for outcome in asked:
            if isinstance(outcome, BaseException):
                raise outcome
            verdicts.append(outcome[0])
            usage += outcome[1]
        return verdicts, usage

    async def close(self) -> None:
        """Give back connections and files."""
        await self._client.close()

    async def _ask(self, first: Name, one: Sequence[Step], other: Sequence[Step]) -> tuple[Verdict, Usage]:
        dialogue = Dialogue(self._client, self._prompts, self._max_reasks)
        prompt = self._prompts.render("judge", version_a=show_steps(one), version_b=show_steps(other))

        async def read(reply: str) -> tuple[Position, str | None]:
            return read_reply(reply)

        try:
            position, reason = await dialogue.ask(prompt, read)
        except TooLong as too_long:
            raise too_long.give_up() from None
        return Verdict(first=first, winner=find_winner(first, position), reason=reason), dialogue.usage


def show_steps(steps: Sequence[Step]) -> str:
    """One line a step, so that no text can pass for the beginning of another one."""
    return "\n".join(f"[{number}] {' '.join(step.text.split())}" for number, step in enumerate(steps, start=1))


def find_winner(first: Name, position: Position) -> Literal["a", "b", "tie"]:
    """Who was meant by a position."""
    if position == "same":
        return "tie"
    second: Name = "b" if first == "a" else "a"
    return first if position == "first" else second


def read_reply(reply: str) -> tuple[Position, str | None]:
    """The verdict and its reason. A reply that is nothing but A, B or Same (the paper's form) will do.

    Raises BadReply where there is no verdict, or more than one.
    """
    text = strip_fence(reply.rpartition(CLOSING)[2])
    lines = text.splitlines()
    found = [_read_choice(_words(text)), *map(_read_verdict, lines)]
    positions = {position for position in found if position is not None}
    if len(positions) > 1:
        raise BadReply("it has verdicts that contradict each other; write one VERDICT line")
    if not positions:
        raise BadReply(f"no line 'VERDICT: A', 'VERDICT: B' or 'VERDICT: SAME'; the reply begins {excerpt(reply)}")
    return positions.pop(), _find_reason(lines)


def _words(text: str) -> list[str]:
    """In small letters, without whatever marks stand around them."""
    return _WORD.findall(text.lower())


def _read_verdict(line: str) -> Position | None:
    match _words(line):
        case ["verdict", *rest] | ["final", "verdict", *rest]:
            return _read_choice(rest)
    return None


def _read_choice(words: Sequence[str]) -> Position | None:
    """A, B, Same or tie; `version A` too. Anything more is no choice: `not A`, `A or B`."""
    match words:
        case ["version", word] | [word]:
            return _POSITIONS.get(word)
    return None


def _find_reason(lines: Sequence[str]) -> str | None:
    reasons = (match[1].strip(" \t*_`") for match in map(_REASON.match, lines) if match)
    return next(reasons, "")[:_LONGEST_REASON] or None
