"""The LLM teacher: prompts + a chat client + strict reading of the replies (paper, section 3 and Appendix C).

    prompts = Prompts.load(config.teacher.prompts_dir)
    teacher = LLMTeacher(client, config.teacher, "skill", prompts, same_answer=grader.same_answer)
    segmentation = await teacher.decompose(trace)
    revision = await teacher.prune(decomposition)

Traces too long for one reply are worked on in parts. A reply that fails a check goes back to the teacher with what was
wrong, at most `max_reasks` times; one that was cut off makes the task smaller instead.
"""

from collections.abc import Callable
from typing import Literal

from drp.chat.wire import ChatClient
from drp.config.sections import TeacherSettings
from drp.errors import RecordError
from drp.records import Decomposition, Step, Trace, Usage
from drp.teachers.base import Revision, Segmentation
from drp.teachers.checks import SameAnswer
from drp.teachers.clauses import split_sentences
from drp.teachers.llm.dialogue import Ask, Dialogue
from drp.teachers.llm.prompts import Prompts
from drp.teachers.llm.reply import ReplyFormat
from drp.teachers.llm.reviser import Reviser
from drp.teachers.llm.segmenter import Segmenter
from drp.teachers.llm.spans import SpansFormat
from drp.teachers.llm.text import TextFormat

Method = Literal["skill", "default", "sentence"]
Task = Literal["decompose", "prune"]

_FILL = 0.9
"""Share of the output limit that a reply is planned to fill."""


def prompt_names(task: Task, settings: TeacherSettings, method: Method) -> list[str]:
    """The prompts that a task uses: their hashes belong to its stage's fingerprint."""
    if task == "prune":
        return [f"prune_{settings.format}", "prune_part", "prune_last_part", "reask"]
    return [] if method == "sentence" else [f"decompose_{method}_{settings.format}", "decompose_part", "reask"]


class LLMTeacher:
    """A Teacher that asks a chat model.

    client: None for an estimate, which plans requests and sends none.
    same_answer: grades an answer segment against the expected answer; None leaves that check out.
    count: tokens of a text, for the check that a response became shorter; characters unless given.
    """

    def __init__(
        self,
        client: ChatClient | None,
        settings: TeacherSettings,
        method: Method,
        prompts: Prompts,
        *,
        same_answer: SameAnswer | None = None,
        count: Callable[[str], int] = len,
    ) -> None:
        self.name = client.model if client else settings.model or ""
        self._client = client
        self._settings = settings
        self._method = method
        self._prompts = prompts
        self._same_answer = same_answer
        self._count = count
        self._format: ReplyFormat = SpansFormat() if settings.format == "spans" else TextFormat()
        self._room = int(_FILL * settings.max_output_tokens)

    async def decompose(self, trace: Trace) -> Segmentation:
        """See Teacher. The parts of a long trace are asked for at the same time."""
        if not trace.thinking.strip():
            raise RecordError("the thinking is empty: there is nothing to decompose", reason="empty thinking")
        if self._method == "sentence":
            return Segmentation(split_by_sentence(trace.thinking), Usage(cost_usd=0.0))
        dialogue = self._open_dialogue()
        segmenter = Segmenter(trace, dialogue, self._format, self._prompts, self._method)
        return Segmentation(await segmenter.segment(self._room), dialogue.usage)

    def foresee_decompose(self, trace: Trace) -> list[Ask]:
        """What `decompose` asks, as long as no reply is refused or cut off."""
        if self._method == "sentence":
            return []
        return Segmenter(trace, self._open_dialogue(), self._format, self._prompts, self._method).foresee(self._room)

    async def prune(self, decomposition: Decomposition) -> Revision:
        """See Teacher. The parts of a long trace are asked for in turn, each with what became of those before it."""
        if not decomposition.steps:
            raise RecordError("the trace has no steps: there is nothing to prune", reason="no steps")
        return await self._open_reviser(decomposition).revise(self._room)

    def foresee_prune(self, decomposition: Decomposition) -> list[Ask]:
        """What `prune` asks, as long as no reply is refused or cut off."""
        return self._open_reviser(decomposition).foresee(self._room) if decomposition.steps else []

    async def close(self) -> None:
        """See Teacher."""
        if self._client:
            await self._client.close()

    def _open_reviser(self, decomposition: Decomposition) -> Reviser:
        return Reviser(
            decomposition, self._open_dialogue(), self._format, self._prompts, self._same_answer, self._count
        )

    def _open_dialogue(self) -> Dialogue:
        return Dialogue(self._client, self._prompts, self._settings.max_reasks)


def split_by_sentence(text: str) -> list[Step]:
    """The naive baseline of Appendix D: one step a sentence, no skills, no model."""
    return [
        Step(text=sentence.text, skill=None, start=sentence.start, end=sentence.end)
        for sentence in split_sentences(text)
    ]
