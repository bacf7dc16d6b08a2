"""One trace decomposed by a chat model: divided into parts that fit a reply, asked for together, and joined again.

thinking --divide--> parts --dialogue--> steps of each part --shift offsets--> steps that tile the thinking
"""

import asyncio
from collections.abc import Sequence

from drp.records import Trace
from drp.teachers.clauses import Span
from drp.teachers.llm.dialogue import CutOffReply, Dialogue, PlannedRequest
from drp.teachers.llm.division import divide, halve, shorten
from drp.teachers.llm.reply import PartSegmentation, ReplyFormat

_CONTEXT = 400
"""Characters of the reasoning before a later part that its prompt shows."""


class Segmenter:
    """Splits one trace. with_skills: whether each step gets a skill."""

    def __init__(self, trace: Trace, dialogue: Dialogue, reply_format: ReplyFormat, *, with_skills: bool) -> None:
        self._trace = trace
        self._dialogue = dialogue
        self._format = reply_format
        self._with_skills = with_skills

    async def segment(self, token_budget: int) -> PartSegmentation:
        """The steps of the whole thinking. token_budget: output tokens that a reply is planned to fill at most."""
        spans = self._divide(token_budget)
        return await self._segment_all(spans, len(spans))

    def plan(self, token_budget: int) -> list[PlannedRequest]:
        """The requests of `segment` if no reply is refused or cut off."""
        requests = []
        for start, end in self._divide(token_budget):
            n_tokens = self._estimate(self._trace.thinking[start:end])
            requests.append(PlannedRequest(self._write_prompt((start, end)), n_tokens))
        return requests

    def _divide(self, token_budget: int) -> list[Span]:
        return divide(self._trace.thinking, token_budget, self._format.bound_steps)

    async def _segment_all(self, spans: Sequence[Span], n_parts: int) -> PartSegmentation:
        """The steps of all parts, with offsets into the thinking. If one part fails, the replies of the others are
        still received: they are paid for.

        n_parts: how many parts were planned.
        """
        asked = (self._segment_part(span, n_parts) for span in spans)
        parts: list[PartSegmentation] = []
        for result in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            parts.append(result)
        return _join(parts)

    async def _segment_part(self, span: Span, n_parts: int) -> PartSegmentation:
        start, end = span
        text = self._trace.thinking[start:end]

        async def read(reply: str) -> PartSegmentation:
            return self._format.read_steps(reply, text, self._with_skills)

        try:
            part = await self._dialogue.ask(self._write_prompt(span), read, expected_tokens=self._estimate(text))
        except CutOffReply as cut_off:
            halves = [(start + a, start + b) for a, b in halve(text, self._format.bound_steps)]
            if len(halves) < 2 or not self._dialogue.may_divide(n_parts):
                raise cut_off.give_up() from None
            return await self._segment_all(halves, n_parts)
        if start == 0:
            return part
        steps = [step.model_copy(update={"start": step.start + start, "end": step.end + start}) for step in part.steps]
        return PartSegmentation(steps, part.coverage)

    def _estimate(self, text: str) -> int:
        return self._format.estimate_steps(text, self._with_skills)

    def _write_prompt(self, span: Span) -> str:
        start, end = span
        thinking, prompts = self._trace.thinking, self._dialogue.prompts
        name = f"decompose_{'skill' if self._with_skills else 'default'}_{self._format.name}"
        shown = self._format.show_thinking(thinking[start:end])
        prompt = prompts.render(name, question=self._trace.question, **shown)
        if end - start == len(thinking):
            return prompt
        return f"{prompt}\n\n{prompts.render('decompose_part', before=shorten(thinking[:start], _CONTEXT))}"


def _join(parts: Sequence[PartSegmentation]) -> PartSegmentation:
    """All steps, and the mean coverage by the lengths of the parts."""
    steps = [step for part in parts for step in part.steps]
    covered = [
        part.coverage * (part.steps[-1].end - part.steps[0].start) for part in parts if part.coverage is not None
    ]
    return PartSegmentation(steps, sum(covered) / (steps[-1].end - steps[0].start) if covered else None)
