"""The LLM teacher: prompts, a chat client, and checked reading of the replies (paper, section 3 and Appendix C).

    teacher = LLMTeacher(client, config.teacher, "skill", same_answer=grader.same_answer)
    segmentation = await teacher.decompose(trace)
    revision = await teacher.prune(decomposition)

Traces too long for one reply are worked on in parts. A reply that fails a check goes back to the teacher with what was
wrong, at most `max_reasks` times. After a reply that was cut off at the output limit, the part is divided further.
"""

from collections.abc import Callable

from drp.chat.wire import ChatClient
from drp.config.sections import MIN_COVERAGE, Copy, TeacherSettings
from drp.errors import RecordError
from drp.records import Decomposition, Step, Trace, Usage
from drp.teachers.base import Method, Revision, Segmentation, Task
from drp.teachers.checks import SameAnswer
from drp.teachers.clauses import split_sentences
from drp.teachers.llm.dialogue import Dialogue, PlannedRequest
from drp.teachers.llm.prompts import Prompts
from drp.teachers.llm.reply import ReplyFormat
from drp.teachers.llm.reviser import Reviser
from drp.teachers.llm.segmenter import Segmenter
from drp.teachers.llm.spans import SpansFormat
from drp.teachers.llm.text import TextFormat

_FILL = 0.9
"""Share of the output limit that a reply is planned to fill at most."""


class LLMTeacher:
    """A Teacher that asks a chat model.

    client: None for an estimate, which plans requests and sends none.
    method: how `decompose` splits a trace.
    copy, min_coverage: see DecomposeSettings.
    same_answer: grades an answer segment against the expected answer; None leaves that check out.
    count: tokens of a text, for the check that a response became shorter; characters by default.
    """

    def __init__(
        self,
        client: ChatClient | None,
        settings: TeacherSettings,
        method: Method,
        *,
        copy: Copy = "aligned",
        min_coverage: float = MIN_COVERAGE,
        same_answer: SameAnswer | None = None,
        count: Callable[[str], int] = len,
    ) -> None:
        self.name = client.model if client else settings.model or ""
        self._client = client
        self._settings = settings
        self._method = method
        self._prompts = Prompts.load(settings.prompts_dir)
        self._same_answer = same_answer
        self._count = count
        self._format: ReplyFormat = SpansFormat() if settings.format == "spans" else TextFormat(copy, min_coverage)
        self._token_budget = int(_FILL * settings.max_output_tokens)

    async def decompose(self, trace: Trace) -> Segmentation:
        """See Teacher. The parts of a long trace are asked for at the same time."""
        if not trace.thinking.strip():
            raise RecordError("the thinking is empty: there is nothing to decompose", reason="empty thinking")
        if self._method == "sentence":
            return Segmentation(split_by_sentence(trace.thinking), Usage(cost_usd=0.0))
        dialogue = self._open_dialogue()
        segmenter = Segmenter(trace, dialogue, self._format, with_skills=self._method == "skill")
        whole = await segmenter.segment(self._token_budget)
        return Segmentation(whole.steps, dialogue.usage, whole.coverage)

    async def prune(self, decomposition: Decomposition) -> Revision:
        """See Teacher. The parts of a long trace are asked for in turn, each with what became of those before it."""
        if not decomposition.steps:
            raise RecordError("the trace has no steps: there is nothing to prune", reason="no steps")
        return await self._open_reviser(decomposition).revise(self._token_budget)

    def plan_decompose(self, trace: Trace) -> list[PlannedRequest]:
        """The requests of `decompose` if no reply is refused or cut off."""
        if self._method == "sentence":
            return []
        segmenter = Segmenter(trace, self._open_dialogue(), self._format, with_skills=self._method == "skill")
        return segmenter.plan(self._token_budget)

    def plan_prune(self, decomposition: Decomposition) -> list[PlannedRequest]:
        """The requests of `prune` if no reply is refused or cut off."""
        return self._open_reviser(decomposition).plan(self._token_budget) if decomposition.steps else []

    async def close(self) -> None:
        """See Teacher."""
        if self._client:
            await self._client.close()

    def _open_reviser(self, decomposition: Decomposition) -> Reviser:
        dialogue = self._open_dialogue()
        return Reviser(decomposition, dialogue, self._format, same_answer=self._same_answer, count=self._count)

    def _open_dialogue(self) -> Dialogue:
        return Dialogue(self._client, self._prompts, self._settings.max_reasks)


def split_by_sentence(text: str) -> list[Step]:
    """The baseline of Appendix D: one step for each sentence, without skills and without a model."""
    return [
        Step(text=sentence.text, skill=None, start=sentence.start, end=sentence.end)
        for sentence in split_sentences(text)
    ]


def prompt_names(task: Task, settings: TeacherSettings, method: Method) -> list[str]:
    """The prompts that a task uses; their hashes belong to the fingerprint of its stage."""
    if task == "prune":
        return [f"prune_{settings.format}", "prune_part", "prune_last_part", "reask"]
    return [] if method == "sentence" else [f"decompose_{method}_{settings.format}", "decompose_part", "reask"]
