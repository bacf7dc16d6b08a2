"""A judge of decompositions: a chat model is shown two and says which one is cut better (paper, Appendix D).

    judge = open_judge(config, ReplyStore(rundir.replies, "judge plain"))
    verdicts, usage = await judge.compare(a.steps, b.steps)

A reply:

    REASON: the steps of A end where a computation ends.
    VERDICT: A

Judges tend to prefer one position, so each pair is shown in both orders. The judge sees numbered steps, and nothing
that says which method made them. Skills are not shown: the paper's instruction asks about the steps only, and as
sentences have no skills, they would tell the two versions apart.
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
from drp.teachers.llm.dialogue import CutOffReply, Dialogue
from drp.teachers.llm.prompts import Prompts
from drp.teachers.llm.reply import BadReply, clean_reply

Side = Literal["a", "b"]
"""One of the two decompositions that are compared."""
Position = Literal["first", "second", "same"]
"""The preferred one by its place in the prompt."""

_PROMPTS = ("judge", "reask")
_POSITIONS: dict[str, Position] = {"a": "first", "b": "second", "same": "same", "tie": "same"}
_WORD = re.compile(r"[^\W_]+")
_REASON = re.compile(r"^[\W_]*reason[\s*_`]*[:=](.*)$", re.IGNORECASE)
_EXPECTED_TOKENS = 100
"""A reason of a few sentences, and the verdict."""
_MAX_REASON = 500
"""Characters of a reason that are kept."""


def open_judge(config: Config, store: ReplyStore, *, stored_only: bool = False) -> "Judge":
    """The configured judge. Opens `store`, which is closed with the judge.

    stored_only: answer from the stored replies alone, without requests and without a key.
    Raises UserError if the judge's key is missing.
    """
    settings = find_settings(config)
    return Judge(open_stored(settings, store) if stored_only else open_client(settings, store), settings)


def find_settings(config: Config) -> TeacherSettings:
    """The judge's settings. Raises ConfigError if it is the offline teacher, which cannot answer prompts."""
    settings = config.judge.teacher or config.teacher
    if settings.provider == "rules":
        raise ConfigError(
            "judge: the provider `rules` cannot judge; name a model: judge.teacher: {provider: openai, model: ...} "
            "(or provider: gemini)"
        )
    return settings


def describe_judge(config: Config) -> dict[str, Any]:
    """The judge's part of a fingerprint: its settings, and the hashes of its prompts."""
    settings = find_settings(config)
    identity = {key: value for key, value in settings.identity().items() if key != "format"}
    return {**identity, "prompts": Prompts.load(settings.prompts_dir).hashes(_PROMPTS)}


class Judge:
    """A chat model that compares decompositions. name: the model's."""

    def __init__(self, client: ChatClient, settings: TeacherSettings) -> None:
        self.name = client.model
        self._client = client
        self._prompts = Prompts.load(settings.prompts_dir)
        self._max_reasks = settings.max_reasks

    async def compare(self, a: Sequence[Step], b: Sequence[Step]) -> tuple[list[Verdict], Usage]:
        """Two verdicts, with `a` first and with `b` first, and their cost.

        Raises RecordError if a reply stays unreadable. The other order's reply is received first: it is paid for.
        """
        dialogue = Dialogue(self._client, self._prompts, self._max_reasks)
        asked = (self._ask(dialogue, "a", a, b), self._ask(dialogue, "b", b, a))
        verdicts: list[Verdict] = []
        for result in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            verdicts.append(result)
        return verdicts, dialogue.usage

    async def close(self) -> None:
        """Close connections and files."""
        await self._client.close()

    async def _ask(self, dialogue: Dialogue, first: Side, one: Sequence[Step], other: Sequence[Step]) -> Verdict:
        prompt = self._prompts.render("judge", version_a=show_steps(one), version_b=show_steps(other))

        async def read(reply: str) -> tuple[Position, str | None]:
            return read_reply(reply)

        try:
            position, reason = await dialogue.ask(prompt, read, expected_tokens=_EXPECTED_TOKENS)
        except CutOffReply as cut_off:
            raise cut_off.give_up() from None
        return Verdict(first=first, winner=find_winner(first, position), reason=reason)


def show_steps(steps: Sequence[Step]) -> str:
    """One line for each step, so that no text can be taken for the beginning of another step."""
    return "\n".join(f"[{number}] {' '.join(step.text.split())}" for number, step in enumerate(steps, start=1))


def find_winner(first: Side, position: Position) -> Literal["a", "b", "tie"]:
    """The side that stood at the preferred position. first: the side that was shown first."""
    if position == "same":
        return "tie"
    second: Side = "b" if first == "a" else "a"
    return first if position == "first" else second


def read_reply(reply: str) -> tuple[Position, str | None]:
    """The verdict and its reason. A reply of only A, B or Same, as the paper asks for, is read too.

    Raises BadReply if there is no verdict, or two that contradict each other.
    """
    text = clean_reply(reply.rpartition(CLOSING)[2])
    lines = text.splitlines()
    found = [_read_choice(_find_words(text)), *map(_read_verdict, lines)]
    positions = {position for position in found if position is not None}
    if len(positions) > 1:
        raise BadReply("it has verdicts that contradict each other; write one VERDICT line")
    if not positions:
        raise BadReply(f"no line 'VERDICT: A', 'VERDICT: B' or 'VERDICT: SAME'; the reply begins {excerpt(reply)}")
    reasons = (match[1].strip(" \t*_`") for match in map(_REASON.match, lines) if match)
    return positions.pop(), next(reasons, "")[:_MAX_REASON] or None


def _find_words(text: str) -> list[str]:
    """The words in lower case, without the signs around them."""
    return _WORD.findall(text.lower())


def _read_verdict(line: str) -> Position | None:
    match _find_words(line):
        case ["verdict", *rest] | ["final", "verdict", *rest]:
            return _read_choice(rest)
    return None


def _read_choice(words: Sequence[str]) -> Position | None:
    """A, B, Same or tie, or `version A`. Anything more, such as `not A` or `A or B`, is no choice."""
    match words:
        case ["version", word] | [word]:
            return _POSITIONS.get(word)
    return None
