"""What decompose and prune would ask a teacher: the same traces, parts and prompts as theirs, and no reply.

Steps that are not made yet stand as the offline teacher would cut them. What is written already, and what has a stored
reply, costs nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from drp.chat.batch.journal import read_batches
from drp.chat.factory import find_address
from drp.chat.prices import find_price
from drp.chat.store import StoredReply, hash_request
from drp.chat.wire import Message, Reply
from drp.config.sections import Config
from drp.estimate.table import Bill, Line, allow_for_reasks
from drp.records import Decomposition, Trace, Usage
from drp.runs.jsonl import read_records
from drp.runs.progress import write_dollars
from drp.runs.rundir import RunDir
from drp.teachers.llm.dialogue import Ask
from drp.teachers.llm.prompts import Prompts
from drp.teachers.llm.teacher import LLMTeacher
from drp.teachers.rules.segmentation import segment

TraceT = TypeVar("TraceT", bound=Trace)

_COMPLAINT_TOKENS = 80


class Nobody:
    """The chat client of a teacher that only plans."""

    def __init__(self, model: str) -> None:
        self.model = model

    async def complete(self, messages: Sequence[Message]) -> Reply:
        raise NotImplementedError("an estimate asks nobody")

    async def close(self) -> None:
        """Nothing is held."""


class Stored:
    """The replies of a run directory, without a lock: an estimate may be asked for while a run goes on.

    spent_usd: what they cost, as far as their price was known.
    """

    def __init__(self, config: Config) -> None:
        self._settings = config.teacher
        self._keys: set[str] = set()
        self.spent_usd = 0.0
        for reply in read_records(RunDir(config.run_dir).replies, StoredReply, "raise"):
            self.spent_usd += reply.usage.cost_usd or 0.0
            if reply.finish_reason != "empty":
                self._keys.add(reply.id)

    def has(self, ask: Ask) -> bool:
        if not self._keys:
            return False
        return hash_request(self._settings, self._address, [Message("user", ask.prompt)]) in self._keys

    @cached_property
    def _address(self) -> str:
        return find_address(self._settings)


class Teaching:
    """The two stages' requests, trace by trace."""

    def __init__(self, config: Config) -> None:
        settings, self._method = config.teacher, config.decompose.method
        self._config, self.stored, self._asks = config, Stored(config), settings.provider != "rules"
        self.price = find_price(settings)
        self.decompose, self.prune = Bill(self.price), Bill(self.price)
        self._teacher = LLMTeacher(
            Nobody(settings.model or ""), settings, self._method, Prompts.load(settings.prompts_dir)
        )

    def add_trace(self, trace: Trace, times: int = 1) -> None:
        """A trace, or so many like it, that is still to be decomposed and then pruned."""
        self._add(self.decompose, trace, self._teacher.foresee_decompose, times)
        steps = segment(trace.thinking, self._method) if self._asks else []
        self.add_decomposition(Decomposition(**dict(trace), steps=steps, teacher="rules", usage=Usage()), times)

    def add_decomposition(self, decomposition: Decomposition, times: int = 1) -> None:
        """Steps that are still to be pruned."""
        self._add(self.prune, decomposition, self._teacher.foresee_prune, times)

    def _add(self, bill: Bill, record: TraceT, plan: Callable[[TraceT], list[Ask]], times: int) -> None:
        bill.records += times
        for ask in plan(record) if self._asks else []:
            if self.stored.has(ask):
                bill.stored += times
            else:
                bill.add(ask, times)

    def write(self) -> list[Line]:
        share, bills = self._config.estimate.reask_share, [self.decompose, self.prune]
        reasks = allow_for_reasks(bills, share, _COMPLAINT_TOKENS).write(f"re-asks, {share:.0%}")
        return [
            self.decompose.write("decompose", _tell_stored(self.decompose)),
            self.prune.write("prune", _tell_stored(self.prune)),
            replace(reasks, records=None),
        ]

    def explain(self) -> list[str]:
        """What the figures rest on."""
        settings = self._config.teacher
        if not self._asks:
            return ["the teacher `rules` asks nobody and costs nothing"]
        return [
            "tokens as GPT-4o counts them, within some 4%; other models' tokenizers differ",
            f"replies as long as the format `{settings.format}` makes them on average, answer segments left unchanged",
            "steps that are not made yet as the offline teacher would cut them",
            f"re-asks: {self._config.estimate.reask_share:.0%} of all calls (estimate.reask_share)",
            self._tell_price(),
            *self._tell_cap(),
            *self._tell_batches(),
        ]

    def _tell_price(self) -> str:
        model = self._config.teacher.model
        if self.price is None:
            return f"the price of `{model}` is unknown; set teacher.prices (input, output)"
        n_input, n_output = (1000 * self.price(*tokens) for tokens in ((1000, 0), (0, 1000)))
        price = f"{model}: ${n_input:g} a million input tokens, ${n_output:g} a million output tokens"
        return f"{price}, in batches" if self._config.teacher.mode == "batch" else price

    def _tell_cap(self) -> list[str]:
        cap = self._config.teacher.max_cost_usd
        if cap is None:
            return []
        if self.price is None:
            return [f"teacher.max_cost_usd is ${cap:g}, which a run refuses as long as the price is unknown"]
        left, usd = cap - self.stored.spent_usd, sum(line.usd or 0.0 for line in self.write())
        verdict = "the estimate fits" if usd <= left else "the run would stop before its end"
        spent = write_dollars(self.stored.spent_usd)
        return [f"teacher.max_cost_usd is ${cap:g}, of which {spent} is spent: {verdict}"]

    def _tell_batches(self) -> list[str]:
        batches = read_batches(RunDir(self._config.run_dir).batches)
        n = sum(batch.n_requests for batch in batches if batch.is_under_way)
        return [f"{n:,} of the calls are on their way in batches already (drp batches)"] if n else []


def _tell_stored(bill: Bill) -> list[str]:
    return [f"{bill.stored:,} more calls find a stored reply and cost nothing"] if bill.stored else []
