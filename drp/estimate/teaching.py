"""Decompose and prune: the requests that they would send to the teacher, made with the same code, and none is sent.

Steps that do not exist yet are expected to be those of the offline teacher. Records that are done and requests with a
stored reply cost nothing.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from drp.chat.batch.journal import read_batches
from drp.chat.factory import find_address
from drp.chat.prices import explain_unknown_price, find_price
from drp.chat.store import StoredReply, hash_request
from drp.chat.wire import Message
from drp.config.sections import Config
from drp.estimate.table import RequestTotals, StageEstimate, expect_reasks
from drp.records import Decomposition, Trace, Usage
from drp.runs.jsonl import read_records
from drp.runs.progress import write_dollars
from drp.runs.rundir import RunDir
from drp.teachers.llm.dialogue import PlannedRequest
from drp.teachers.llm.division import estimate_tokens
from drp.teachers.llm.teacher import LLMTeacher
from drp.teachers.rules.segmentation import segment

TraceT = TypeVar("TraceT", bound=Trace)

_COMPLAINT_TOKENS = 80  # expected length of what a re-ask says about the rejected reply
_THINKING_TOKENS = 1500  # of a thinking teacher for one reply; a rough figure, nobody has measured it for these tasks
_THINKING_MODELS = re.compile(
    r"^(?:.*/)?(?:o\d|gpt-5|gpt-oss|gemini-(?:2\.5|[3-9])|deepseek-(?:reasoner|r\d)|qwq|magistral|.*(?:thinking|reasoner))",
    re.IGNORECASE,
)
"""Names of models that think before they reply and charge for it as output."""
_MIN_REPLIES = 10
"""Stored replies from which on they tell how much a teacher thinks."""
_MAX_REPLIES = 1000
"""Stored replies that are looked at for that."""
_OTHER_TOKENIZER = 1.3
"""A reply may have so many times the estimated tokens without any thinking."""
_TYPICAL_LIMIT = 450_000
"""Tokens per minute of a rate limit by which the hours are given if none is configured: OpenAI's for GPT-4o in its
second usage tier."""


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
        self._n_limited = 0
        """Tokens that a rate limit counts: the input, and the output that a request allows."""

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
                continue
            n_input, n_output = estimate_tokens(request.prompt), request.output_tokens + self._n_thinking
            totals.add_tokens(n_input, n_output, times)
            headroom, limit = self._config.teacher.reply_headroom, self._config.teacher.max_output_tokens
            n_allowed = min(limit, round(headroom * request.output_tokens)) if headroom else limit
            self._n_limited += times * (n_input + max(n_allowed, n_output))

    @cached_property
    def _n_thinking(self) -> int:
        """Tokens that the teacher thinks for one reply: configured, else as in the stored replies, else by its name."""
        settings = self._config.teacher
        if self._config.estimate.teacher_thinking_tokens is not None:
            return self._config.estimate.teacher_thinking_tokens
        if self._stored.n_thinking is not None:
            return self._stored.n_thinking
        return _THINKING_TOKENS if self._asks_model and _THINKING_MODELS.match(settings.model or "") else 0

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
            f"replies of the mean length for the format `{settings.format}`",
            *self._describe_thinking(),
            "steps that do not exist yet are those that the offline teacher would make",
            f"re-asks: {self._config.estimate.reask_share:.0%} of all calls (estimate.reask_share)",
            self._describe_price(),
            *self._describe_cap(),
            *self._describe_time(),
            *self._describe_batches(),
        ]

    def _describe_price(self) -> str:
        model = self._config.teacher.model
        if self._price is None:
            return f"{explain_unknown_price(self._config.teacher)}; set teacher.prices (input, output)"
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

    def _describe_thinking(self) -> list[str]:
        if not self._n_thinking:
            return []
        return [f"{self._n_thinking:,} tokens of thinking for each reply (estimate.teacher_thinking_tokens)"]

    def _describe_time(self) -> list[str]:
        settings = self._config.teacher
        if settings.mode == "batch":
            return ["each round of batches takes up to 24 hours: decompose, prune, and what is asked again after each"]
        limit = settings.tokens_per_minute
        if settings.provider == "openai" and not settings.base_url:
            limit = limit or _TYPICAL_LIMIT
        if limit is None:
            return []
        hours = (1 + self._config.estimate.reask_share) * self._n_limited / limit / 60
        return [f"{hours:.1f} hours of asking at a rate limit of {limit:,} tokens per minute"]

    def _describe_batches(self) -> list[str]:
        batches = read_batches(RunDir(self._config.run_dir).batches)
        n = sum(batch.n_requests for batch in batches if batch.is_under_way)
        return [f"{n:,} of the calls are already in batches under way (drp batches)"] if n else []


class _StoredReplies:
    """The replies stored in a run directory, and in the one of `reuse`. No lock is taken, so an estimate can be made
    while a stage runs."""

    def __init__(self, config: Config) -> None:
        self._settings = config.teacher
        self.spent_usd = 0.0
        """What the run's own replies cost, without those whose price was unknown."""
        self._keys, n_written, n_paid, n_replies = set[str](), 0, 0, 0
        for reply, is_own in self._read(config):
            self.spent_usd += (reply.usage.cost_usd or 0.0) if is_own else 0.0
            if reply.is_usable:
                self._keys.add(reply.id)
            if reply.model == self._settings.model and reply.finish_reason == "stop" and n_replies < _MAX_REPLIES:
                n_replies += 1
                n_written += estimate_tokens(reply.text)
                n_paid += reply.usage.output_tokens
        self.n_thinking: int | None = None
        """Tokens that were paid for each reply beside its text; None if there are too few replies to tell."""
        if n_replies >= _MIN_REPLIES:
            self.n_thinking = round((n_paid - n_written) / n_replies) if n_paid > _OTHER_TOKENIZER * n_written else 0

    @staticmethod
    def _read(config: Config) -> Iterator[tuple[StoredReply, bool]]:
        """Each reply, and whether it is the run's own."""
        for folder in filter(None, (config.run_dir, config.reuse)):
            for reply in read_records(RunDir(folder).replies, StoredReply, "raise"):
                yield reply, folder == config.run_dir

    def has(self, request: PlannedRequest) -> bool:
        if not self._keys:
            return False
        return hash_request(self._settings, self._address, [Message("user", request.prompt)]) in self._keys

    @cached_property
    def _address(self) -> str:
        return find_address(self._settings)


def _describe_stored(totals: RequestTotals) -> list[str]:
    return [f"{totals.stored:,} more calls find a stored reply and cost nothing"] if totals.stored else []
