"""One trace decomposed by a chat model: cut into parts that fit a reply, asked for together, joined again.

thinking --divide--> parts --dialogue--> steps of each part --offsets--> steps that tile the thinking
"""

import asyncio
from collections.abc import Sequence
from typing import Literal

from drp.records import Step, Trace
from drp.teachers.llm.dialogue import Ask, Dialogue, TooLong
from drp.teachers.llm.division import Span, divide, halve, shorten
from drp.teachers.llm.prompts import Prompts
from drp.teachers.llm.reply import ReplyFormat

_CONTEXT = 400
"""Characters of what came before, shown with a later part."""


class Segmenter:
    """Works on one trace. method: whether steps get skills."""

    def __init__(
        self,
        trace: Trace,
        dialogue: Dialogue,
        reply_format: ReplyFormat,
        prompts: Prompts,
        method: Literal["skill", "default"],
    ) -> None:
        self._trace = trace
        self._dialogue = dialogue
        self._format = reply_format
        self._prompts = prompts
        self._method = method
        self._n_planned = 1

    async def segment(self, room: int) -> list[Step]:
        """Steps that tile the thinking. room: output tokens that a reply is planned to fill at most."""
        spans = self._plan(room)
        self._n_planned = len(spans)
        return await self._segment_all(spans)

    def foresee(self, room: int) -> list[Ask]:
        """What `segment` asks, as long as no reply is refused or cut off."""
        skills = self._method == "skill"
        return [
            Ask(self._write_prompt(span), self._format.foresee_steps(self._trace.thinking[slice(*span)], skills))
            for span in self._plan(room)
        ]

    def _plan(self, room: int) -> list[Span]:
        return divide(self._trace.thinking, room, self._format.measure_thinking)

    async def _segment_all(self, spans: Sequence[Span]) -> list[Step]:
        """When one part fails, the others are still waited for: their replies are paid."""
        results = await asyncio.gather(*map(self._segment_part, spans), return_exceptions=True)
        steps: list[Step] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            steps += result
        return steps

    async def _segment_part(self, span: Span) -> list[Step]:
        start, end = span
        text = self._trace.thinking[start:end]

        async def read(reply: str) -> list[Step]:
            return self._format.read_steps(reply, text, with_skills=self._method == "skill")

        try:
            steps = await self._dialogue.ask(self._write_prompt(span), read)
        except TooLong as too_long:
            halves = [(start + a, start + b) for a, b in halve(text, self._format.measure_thinking)]
            if len(halves) < 2 or not self._dialogue.may_divide(self._n_planned):
                raise too_long.give_up() from None
            return await self._segment_all(halves)
        return [step.model_copy(update={"start": step.start + start, "end": step.end + start}) for step in steps]

    def _write_prompt(self, span: Span) -> str:
        start, end = span
        thinking = self._trace.thinking
        name = f"decompose_{self._method}_{self._format.name}"
        shown = self._format.show_thinking(thinking[start:end])
        prompt = self._prompts.render(name, question=self._trace.question, **shown)
        if end - start == len(thinking):
            return prompt
        before = shorten(thinking[:start], _CONTEXT)
        return f"{prompt}\n\n{self._prompts.render('decompose_part', before=before)}"
