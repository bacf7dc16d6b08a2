"""Decompose and prune: the requests that they would send to the teacher, made with the same code, and none is sent.

Steps that do not exist yet are expected to be those of the offline teacher. Records that are done and requests with a
stored reply cost nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from drp.chat.batch.journal import read_batches
from drp.chat.factory import find_address
from drp.chat.prices import find_price
from drp.chat.store import StoredReply, hash_request
from drp.chat.wire import Message
from drp.config.sections import Config
from drp.estimate.table import RequestTotals, StageEstimate, expect_reasks
from drp.records import Decomposition, Trace, Usage
from drp.runs.jsonl import read_records
from drp.runs.progress import write_dollars
from drp.runs.rundir import RunDir
from drp.teachers.llm.dialogue import PlannedRequest
from drp.teachers.llm.teacher import LLMTeacher
from drp.teachers.rules.segmentation import segment

TraceT = TypeVar("TraceT", bound=Trace)

_COMPLAINT_TOKENS = 80  # expected length of what a re-ask says about the rejected reply


class TeachingEstimate:
    """The requests of decompose and prune, added up trace by trace."""

    def __init__(self, config: Config) -> None:
        settings, self._method = config.teacher, config.decompose.method
        self._config = config
        self._asks_model = settings.provider != "rules"
        self._stored = _StoredReplies(config)
        self._price = find_price(settings)
        self._teacher = LLMTeacher(None, settings, self._method)
        self.decompose, self.prune = RequestTotals(self._price), RequestTotals(self._price)

    def add_trace(self, trace: Trace, times: int = 1) -> None:
        """Add a trace that is still to be decomposed and then pruned, or `times` traces like it."""
        self._add(self.decompose, trace, self._teacher.plan_decompose, times)
        steps = segment(trace.thinking, self._method) if self._asks_model else []
        self.add_decomposition(Decomposition(**dict(trace), steps=steps, teacher="rules", usage=Usage()), times)

    def add_decomposition(self, decomposition: Decomposition, times: int = 1) -> None:
        """Add steps that are still to be pruned."""
        self._add(self.prune, decomposition, self._teacher.plan_prune, times)

    def _add(
        self, totals: RequestTotals, record: TraceT, plan: Callable[[TraceT], list[PlannedRequest]], times: int
    ) -> None:
        totals.records += times
        for request in plan(record) if self._asks_model else []:
            if self._stored.has(request):
                totals.stored += times
            else:
                totals.add(request, times)

    def list_stages(self) -> list[StageEstimate]:
        """Decompose, prune, and the expected re-asks of both."""
        share = self._config.estimate.reask_share
        reasks = expect_reasks([self.decompose, self.prune], share, _COMPLAINT_TOKENS)
        return [
            self.decompose.to_estimate("decompose", _describe_stored(self.decompose)),
            self.prune.to_estimate("prune", _describe_stored(self.prune)),
            replace(reasks.to_estimate(f"re-asks, {share:.0%}"), records=None),
        ]

    def list_assumptions(self) -> list[str]:
        """What the figures are based on."""
        settings = self._config.teacher
        if not self._asks_model:
            return ["the teacher `rules` sends no requests and costs nothing"]
        return [
            "tokens as GPT-4o counts them, within some 4%; other models' tokenizers differ",
            f"replies of the mean length for the format `{settings.format}`, answer segments left unchanged",
            "steps that do not exist yet are those that the offline teacher would make",
            f"re-asks: {self._config.estimate.reask_share:.0%} of all calls (estimate.reask_share)",
            self._describe_price(),
            *self._describe_cap(),
            *self._describe_batches(),
        ]

    def _describe_price(self) -> str:
        model = self._config.teacher.model
        if self._price is None:
            return f"the price of `{model}` is unknown; set teacher.prices (input, output)"
        n_input, n_output = (1000 * self._price(*tokens) for tokens in ((1000, 0), (0, 1000)))
        price = f"{model}: ${n_input:g} a million input tokens, ${n_output:g} a million output tokens"
        return f"{price}, in batches" if self._config.teacher.mode == "batch" else price

    def _describe_cap(self) -> list[str]:
        cap = self._config.teacher.max_cost_usd
        if cap is None:
            return []
        if self._price is None:
            return [f"teacher.max_cost_usd is ${cap:g}, which a run refuses as long as the price is unknown"]
        left = cap - self._stored.spent_usd
        usd = sum(stage.usd or 0.0 for stage in self.list_stages())
        verdict = "the estimate fits" if usd <= left else "the run would stop before its end"
        spent = write_dollars(self._stored.spent_usd)
        return [f"teacher.max_cost_usd is ${cap:g}, of which {spent} is spent: {verdict}"]

    def _describe_batches(self) -> list[str]:
        batches = read_batches(RunDir(self._config.run_dir).batches)
        n = sum(batch.n_requests for batch in batches if batch.is_under_way)
        return [f"{n:,} of the calls are already in batches under way (drp batches)"] if n else []


class _StoredReplies:
    """The replies stored in a run directory. No lock is taken, so an estimate can be made while a stage runs."""

    def __init__(self, config: Config) -> None:
        self._settings, self._keys = config.teacher, set[str]()
        self.spent_usd = 0.0
        """What the replies cost, without those whose price was unknown."""
        for reply in read_records(RunDir(config.run_dir).replies, StoredReply, "raise"):
            self.spent_usd += reply.usage.cost_usd or 0.0
            if reply.finish_reason != "empty":
                self._keys.add(reply.id)

    def has(self, request: PlannedRequest) -> bool:
        if not self._keys:
            return False
        return hash_request(self._settings, self._address, [Message("user", request.prompt)]) in self._keys

    @cached_property
    def _address(self) -> str:
        return find_address(self._settings)


def _describe_stored(totals: RequestTotals) -> list[str]:
    return [f"{totals.stored:,} more calls find a stored reply and cost nothing"] if totals.stored else []
