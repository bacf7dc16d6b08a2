"""One decomposed trace pruned by a chat model: its steps in parts that fit a reply, asked for in turn, each checked.

steps --pack--> parts --dialogue, with what became of the parts before--> part revisions --join--> revision
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
from drp.teachers.llm.dialogue import CutOffReply, Dialogue, PlannedRequest
from drp.teachers.llm.division import bound_tokens, pack, shorten
from drp.teachers.llm.reply import BadReply, PartRevision, ReplyFormat, TracePart
from drp.teachers.numbers import Value, find_values

_CONTEXT = 1500
"""Characters of the revised reasoning before a later part that its prompt shows."""
_NO_SUMMARY = "(the student wrote no answer segment)"


class Reviser:
    """Prunes one trace. same_answer, count: see LLMTeacher."""

    def __init__(
        self,
        source: Decomposition,
        dialogue: Dialogue,
        reply_format: ReplyFormat,
        *,
        same_answer: SameAnswer | None,
        count: Callable[[str], int],
    ) -> None:
        self._source = source
        self._dialogue = dialogue
        self._format = reply_format
        self._same_answer = same_answer
        self._count = count

    async def revise(self, token_budget: int) -> Revision:
        """A revision that passes every check. token_budget: output tokens that a reply is planned to fill at most."""
        waiting, done = deque(self._divide(token_budget)), list[PartRevision]()
        n_parts = len(waiting)
        while waiting:
            indexes = waiting.popleft()
            try:
                done.append(await self._revise_part(self._make_part(indexes), done))
            except CutOffReply as cut_off:
                if len(indexes) < 2 or not self._dialogue.may_divide(n_parts):
                    raise cut_off.give_up() from None
                middle = len(indexes) // 2
                waiting.extendleft([indexes[middle:], indexes[:middle]])
        return self._join(done)

    def plan(self, token_budget: int) -> list[PlannedRequest]:
        """The requests of `revise` if no reply is refused or cut off. Prompts of later parts show the original of the
        parts before instead of their revision, which is not known yet."""
        requests, done = list[PlannedRequest](), list[PartRevision]()
        for part in map(self._make_part, self._divide(token_budget)):
            requests.append(PlannedRequest(self._write_prompt(part, done), self._estimate(part)))
            done.append(PartRevision([], "".join(step.text for step in part.steps), None))
        return requests

    def _divide(self, token_budget: int) -> list[range]:
        """Indexes of the steps in groups whose revisions fit one reply, together with the answer segment."""
        token_budget -= min(token_budget // 2, bound_tokens(self._source.summary))
        return pack([self._format.bound_edit(step) for step in self._source.steps], token_budget)

    def _make_part(self, indexes: range) -> TracePart:
        steps = self._source.steps
        return TracePart(steps[indexes[0] : indexes[-1] + 1], indexes[0], is_last=indexes[-1] == len(steps) - 1)

    async def _revise_part(self, part: TracePart, done: Sequence[PartRevision]) -> PartRevision:
        async def read(reply: str) -> PartRevision:
            revised = self._format.read_revision(reply, part)
            slow = is_slow(self._source, revised.summary)
            violations = await call(lambda: self._check(part, [*done, revised]), slow=slow)
            if violations:
                raise BadReply(*violations)
            return revised

        return await self._dialogue.ask(self._write_prompt(part, done), read, expected_tokens=self._estimate(part))

    def _estimate(self, part: TracePart) -> int:
        return self._format.estimate_edits(part, self._source.summary)

    def _write_prompt(self, part: TracePart, done: Sequence[PartRevision]) -> str:
        source, prompts = self._source, self._dialogue.prompts
        prompt = prompts.render(
            f"prune_{self._format.name}",
            question=source.question,
            steps=self._format.show_steps(part),
            summary=source.summary.strip() or _NO_SUMMARY,
        )
        if len(part.steps) == len(source.steps):
            return prompt
        note = prompts.render(
            "prune_last_part" if part.is_last else "prune_part",
            first=str(part.numbers[0]),
            last=str(part.numbers[-1]),
            total=str(len(source.steps)),
            before=shorten(_join_thinking(done), _CONTEXT),
        )
        return f"{prompt}\n\n{note}"

    def _check(self, part: TracePart, revised: Sequence[PartRevision]) -> list[Violation]:
        """revised: all parts up to this one."""
        violations = check_edits(part.steps, revised[-1].edits, part.first)
        return violations or (self._check_whole(revised) if part.is_last else self._check_part(part, revised[-1]))

    def _check_whole(self, revised: Sequence[PartRevision]) -> list[Violation]:
        revision = self._join(revised)
        if revision.keeps_all(self._source):
            return []  # The stage leaves the record out.
        return check_revision(
            self._source,
            revision.edits,
            revision.thinking,
            revision.summary,
            count=self._count,
            same_answer=self._same_answer,
        )

    def _check_part(self, part: TracePart, revised: PartRevision) -> list[Violation]:
        """What can be checked before the other parts are revised."""
        original = "".join(step.text for step in part.steps)
        violations = check_form(revised.thinking, original)
        violations += check_numbers("\n".join([revised.thinking, *new_texts(revised.edits)]), self._known)
        if self._count(revised.thinking.strip()) > self._count(original):
            violations.append(Violation("these steps became longer than they were", "not shorter"))
        return violations

    @cached_property
    def _known(self) -> frozenset[Value]:
        return find_values("\n".join([self._source.question, self._source.thinking, self._source.summary]))

    def _join(self, revised: Sequence[PartRevision]) -> Revision:
        summary = revised[-1].summary
        return Revision(
            edits=[edit for part in revised for edit in part.edits],
            thinking=_join_thinking(revised),
            summary=self._source.summary if summary is None else summary,
            usage=self._dialogue.usage,
        )


def _join_thinking(revised: Sequence[PartRevision]) -> str:
    return "".join(part.thinking for part in revised).strip()
