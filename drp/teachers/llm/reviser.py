"""One decomposed trace pruned by a chat model: its steps in parts that fit a reply, one after another, each checked.

steps --pack--> parts --dialogue, with what became of the parts before--> drafts --> edits, thinking, summary
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property

from drp.records import Decomposition
from drp.runs.concurrency import call
from drp.teachers.base import Revision
from drp.teachers.checks import (
    SameAnswer,
    Violation,
    check_edits,
    check_form,
    check_numbers,
    check_revision,
    is_slow,
    new_texts,
)
from drp.teachers.llm.dialogue import Ask, Dialogue, TooLong
from drp.teachers.llm.division import estimate_tokens, pack, shorten
from drp.teachers.llm.prompts import Prompts
from drp.teachers.llm.reply import BadReply, Draft, Part, ReplyFormat
from drp.teachers.numbers import Value, find_values

_CONTEXT = 1500
"""Characters of what came before, shown with a later part."""
_NO_SUMMARY = "(the student wrote no answer segment)"


class Reviser:
    """Works on one trace. same_answer, count: see LLMTeacher."""

    def __init__(
        self,
        source: Decomposition,
        dialogue: Dialogue,
        reply_format: ReplyFormat,
        prompts: Prompts,
        same_answer: SameAnswer | None,
        count: Callable[[str], int],
    ) -> None:
        self._source = source
        self._dialogue = dialogue
        self._format = reply_format
        self._prompts = prompts
        self._same_answer = same_answer
        self._count = count

    async def revise(self, room: int) -> Revision:
        """A revision that passes every check. room: output tokens that a reply is planned to fill at most."""
        waiting, drafts = deque(self._plan(room)), list[Draft]()
        n_planned = len(waiting)
        while waiting:
            indexes = waiting.popleft()
            try:
                drafts.append(await self._revise_part(indexes, drafts))
            except TooLong as too_long:
                if len(indexes) < 2 or not self._dialogue.may_divide(n_planned):
                    raise too_long.give_up() from None
                middle = len(indexes) // 2
                waiting.extendleft([indexes[middle:], indexes[:middle]])
        return self._join(drafts)

    def foresee(self, room: int) -> list[Ask]:
        """What `revise` asks, as long as no reply is refused or cut off. The original stands for what will have become
        of earlier parts, of which a prompt shows a few lines."""
        asks, done = list[Ask](), list[Draft]()
        for part in map(self._take, self._plan(room)):
            asks.append(Ask(self._write_prompt(part, done), self._format.foresee_revision(part)))
            done.append(Draft([], "".join(step.text for step in part.steps), None))
        return asks

    def _plan(self, room: int) -> list[range]:
        """The steps in groups whose revisions fit one reply, beside the answer segment."""
        room -= min(room // 2, estimate_tokens(self._source.summary))
        return pack([self._format.measure_step(step) for step in self._source.steps], room)

    async def _revise_part(self, indexes: range, done: Sequence[Draft]) -> Draft:
        part = self._take(indexes)

        async def read(reply: str) -> Draft:
            draft = self._format.read_revision(reply, part)
            slow = is_slow(self._source, draft.summary)
            problems = await call(lambda: self._check(part, [*done, draft]), slow=slow)
            if problems:
                raise BadReply(*problems)
            return draft

        return await self._dialogue.ask(self._write_prompt(part, done), read)

    def _take(self, indexes: range) -> Part:
        steps = self._source.steps
        return Part(steps[indexes[0] : indexes[-1] + 1], indexes[0], is_last=indexes[-1] == len(steps) - 1)

    def _check(self, part: Part, drafts: Sequence[Draft]) -> list[Violation]:
        problems = check_edits(part.steps, drafts[-1].edits, part.first)
        return problems or (self._check_whole(drafts) if part.is_last else self._check_part(part, drafts[-1]))

    def _check_whole(self, drafts: Sequence[Draft]) -> list[Violation]:
        revision = self._join(drafts)
        if revision.keeps_all(self._source):
            return []  # the stage leaves it out
        return check_revision(
            self._source,
            revision.edits,
            revision.thinking,
            revision.summary,
            count=self._count,
            same_answer=self._same_answer,
        )

    def _check_part(self, part: Part, draft: Draft) -> list[Violation]:
        """What can be known before the other parts are."""
        original = "".join(step.text for step in part.steps)
        problems = check_form(draft.thinking, original)
        problems += check_numbers("\n".join([draft.thinking, *new_texts(draft.edits)]), self._known)
        if self._count(draft.thinking.strip()) > self._count(original):
            problems.append(Violation("these steps became longer than they were", "not shorter"))
        return problems

    @cached_property
    def _known(self) -> frozenset[Value]:
        return find_values("\n".join([self._source.question, self._source.thinking, self._source.summary]))

    def _join(self, drafts: Sequence[Draft]) -> Revision:
        summary = drafts[-1].summary
        return Revision(
            edits=[edit for draft in drafts for edit in draft.edits],
            thinking=_join_thinking(drafts),
            summary=self._source.summary if summary is None else summary,
            usage=self._dialogue.usage,
        )

    def _write_prompt(self, part: Part, done: Sequence[Draft]) -> str:
        source = self._source
        prompt = self._prompts.render(
            f"prune_{self._format.name}",
            question=source.question,
            steps=self._format.show_steps(part),
            summary=source.summary.strip() or _NO_SUMMARY,
        )
        if len(part.steps) == len(source.steps):
            return prompt
        note = self._prompts.render(
            "prune_last_part" if part.is_last else "prune_part",
            first=str(part.numbers[0]),
            last=str(part.numbers[-1]),
            total=str(len(source.steps)),
            before=shorten(_join_thinking(done), _CONTEXT),
        )
        return f"{prompt}\n\n{note}"


def _join_thinking(drafts: Sequence[Draft]) -> str:
    return "".join(draft.thinking for draft in drafts).strip()
