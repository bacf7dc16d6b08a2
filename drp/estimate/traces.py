"""The traces that the teacher gets: those that are sampled already, and those that are still expected, by source.

Each source is estimated by its own traces: a sample of GSM8K tells nothing about the length of PRM12K's. A source
without any goes by published figures.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from drp.config.sections import Config, SourceSettings
from drp.estimate.published import find_billions, find_length
from drp.problems import BENCHMARKS, load_problems
from drp.records import Failure, Problem, Trace
from drp.teachers.llm.division import estimate_tokens

OTHER_TOKENS = 2486
"""Mean length of MATH500's responses, for a source or benchmark without published lengths."""
_THINKING_SHARE = 0.7  # of a response
_STUDENT_TOKENS = 1.1  # of R1's tokenizer, for each of GPT-4o's that `estimate_tokens` counts
_SENTENCE = "There are 12 bags with 5 apples each, so that makes 12 * 5 = 60 apples in all of the bags.\n\n"


@dataclass
class SourceTraces:
    """The traces of one source. A trace that may be decomposed is called usable."""

    name: str
    n_planned: int | None
    """Responses that `generate` samples in all; None if the number of problems is unknown."""
    expected_tokens: int
    """Mean length of a response, before there are any."""
    expected_usable_tokens: int
    """The same of a usable one."""
    expected_usable_share: float
    n_sampled: int = 0
    n_usable: int = 0
    tokens: Counter[bool] = field(default_factory=Counter)
    """Sum of the sampled lengths, by whether the trace is usable."""

    @property
    def n_missing(self) -> int:
        return max(0, (self.n_planned or 0) - self.n_sampled)

    @property
    def n_usable_missing(self) -> int:
        """How many of the missing traces will be usable."""
        share = self.n_usable / self.n_sampled if self.n_sampled else self.expected_usable_share
        return round(self.n_missing * share)

    @property
    def mean_tokens(self) -> int:
        return round(self.tokens.total() / self.n_sampled) if self.n_sampled else self.expected_tokens

    @property
    def mean_usable_tokens(self) -> int:
        return round(self.tokens[True] / self.n_usable) if self.n_usable else self.expected_usable_tokens

    def add(self, trace: Trace, usable: bool) -> None:
        self.n_sampled += 1
        self.n_usable += usable
        self.tokens[usable] += trace.n_tokens or round(_STUDENT_TOKENS * estimate_tokens(trace.response))


def plan_traces(config: Config, limit: int | None) -> dict[str, SourceTraces]:
    """The configured sources by name, none of their traces sampled yet. limit: problems of all sources, at most."""
    planned = dict[str, SourceTraces]()
    for source, n in count_problems(config.generate.problems, config.generate.sampling.n, config.seed, limit):
        length = find_length(source.name, find_billions(config.student.model))
        limit_tokens = config.generate.sampling.max_new_tokens
        n_tokens = n_usable_tokens = config.estimate.tokens_per_response or min(OTHER_TOKENS, limit_tokens)
        if length and not config.estimate.tokens_per_response:
            n_tokens, n_usable_tokens = length.expect_tokens(limit_tokens), length.finished
        share = length.accuracy if length and config.decompose.only_correct else 1.0
        planned[source.name] = SourceTraces(source.name, n, n_tokens, n_usable_tokens, share)
    return planned


def survey_traces(
    planned: dict[str, SourceTraces], traces: Iterable[Trace | Failure], find_defect: Callable[[Trace], str | None]
) -> Counter[str]:
    """Add the sampled traces to their sources; count those that are not usable, by reason."""
    defects = Counter[str]()
    for trace in traces:
        if isinstance(trace, Failure):
            defects[trace.kind] += 1
            continue
        reason = find_defect(trace)
        if reason:
            defects[reason] += 1
        name = _find_source(trace, planned)
        if name not in planned:
            planned[name] = SourceTraces(name, None, OTHER_TOKENS, OTHER_TOKENS, 1.0)
        planned[name].add(trace, reason is None)
    return defects


def _find_source(trace: Trace, planned: dict[str, SourceTraces]) -> str:
    """The source by the trace's own field, else by its problem's id, which begins with the name."""
    by_id = (name for name in sorted(planned, key=len, reverse=True) if trace.problem_id.startswith(f"{name}-"))
    return trace.source or next(by_id, "unknown")


def count_problems(
    sources: Sequence[SourceSettings], n_samples: int, seed: int, limit: int | None
) -> list[tuple[SourceSettings, int | None]]:
    """Each source with the number of its responses; None for a data set on the hub of unknown size.

    limit: problems of all sources together, at most.
    """
    counted, left = list[tuple[SourceSettings, int | None]](), limit
    for source in sources:
        count = _count_problems(source, seed)
        if left is not None:
            count = left if count is None else min(count, left)
            left -= count
        counted.append((source, None if count is None else n_samples * count))
    return counted


def _count_problems(source: SourceSettings, seed: int) -> int | None:
    if source.path is not None:
        return sum(isinstance(problem, Problem) for problem in load_problems([source], seed))
    known = None if source.dataset else BENCHMARKS.get(source.name)
    return min(filter(None, (known.n_problems if known else None, source.limit)), default=None)


def make_typical_trace(n_tokens: int) -> Trace:
    """A trace that stands for a response of this length in the student's tokens, seven tenths of which are thinking."""
    n_sentences = max(1, round(n_tokens / _STUDENT_TOKENS / estimate_tokens(_SENTENCE)))
    n_thinking = max(1, round(_THINKING_SHARE * n_sentences))
    return Trace(
        id="typical#0",
        problem_id="typical",
        question=4 * _SENTENCE,
        answer="60",
        response="",
        thinking=(n_thinking * _SENTENCE).strip(),
        summary=((n_sentences - n_thinking) * _SENTENCE).strip(),
        predicted="60",
        correct=True,
        finish_reason="stop",
        n_tokens=n_tokens,
        model="typical",
    )
