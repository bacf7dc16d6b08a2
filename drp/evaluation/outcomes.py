"""An evaluated model's samples, reduced to the numbers that scoring needs, and the policies for overlong responses.

Reads eval/MODEL/BENCHMARK.jsonl (`Sample` records). The texts are not kept in memory:

    Outcome(id="gsm8k-7#0", predicted="72", correct=True, n_tokens=310, n_thinking_tokens=250, truncated=False, ...)

The policies (paper, section 4.6, whose wording allows both `cap` and `exclude`):

    none     every response as generated
    cap      as if generation had been stopped at the cutoff: a longer response counts as the cutoff's number of tokens
             and as incorrect, because it had no summary, and so no answer, at that point
    exclude  responses longer than the cutoff are left out
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from drp.records import Sample
from drp.runs.jsonl import read_records

Policy = Literal["none", "cap", "exclude"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

MIN_COPIES = 3
"""A response loops if it ends in at least this many copies of one text ..."""
MIN_CHARACTERS = 200
"""... that are together at least this long."""

# Loops are found by looking backwards for the last _PROBE characters; the distance to each earlier occurrence is a
# candidate for the loop's period.
_PROBE = 24
# Bounds the work on texts in which the probe itself occurs many times.
_MAX_CANDIDATES = 64


class Outcome(NamedTuple):
    """What scoring needs of one sample."""

    id: str
    predicted: str | None
    correct: bool | None
    n_tokens: int
    n_thinking_tokens: int
    truncated: bool
    """Generation was stopped by the engine's limit."""
    looping: bool
    """See `ends_in_loop`."""

    @property
    def problem_id(self) -> str:
        return self.id.rpartition("#")[0] or self.id


def benchmark_files(folder: Path) -> list[tuple[str, Path]]:
    """(benchmark, file) for each benchmark in a model's eval folder, sorted by name."""
    paths = sorted(folder.glob("*.jsonl"))
    return [(path.stem, path) for path in paths if not path.name.endswith(".failed.jsonl")]


def read_outcomes(path: Path) -> Iterator[Outcome]:
    """Yield the outcomes of one BENCHMARK.jsonl. Skips an incomplete last line: the file may still be written to.

    Raises InputError with the line number on any other unreadable record.
    """
    for sample in read_records(path, Sample, "raise", fix="correct the line, or run `drp eval` again with --overwrite"):
        yield Outcome(
            id=sample.id,
            predicted=sample.predicted,
            correct=sample.correct,
            n_tokens=sample.n_tokens,
            n_thinking_tokens=sample.n_thinking_tokens,
            truncated=sample.finish_reason == "length",
            looping=ends_in_loop(sample.response),
        )


def ends_in_loop(text: str) -> bool:
    """Whether a response ends in degenerate repetition (paper, section 4.6). Takes time linear in the text's length.

    It does if, with white space normalised, it ends in at least MIN_COPIES copies of one text, together at least
    MIN_CHARACTERS long. The last copy may be cut anywhere. A response that says something else after a loop does not
    end in one.

        ends_in_loop("So x = 4. " + "Wait, let me check. " * 40)  # True
    """
    text = " ".join(text.split())
    if len(text) < MIN_CHARACTERS:
        return False
    end = len(text) - _PROBE
    probe, place = text[end:], end
    for _ in range(_MAX_CANDIDATES):
        # Occurrences may overlap: a period can be shorter than the probe.
        place = text.rfind(probe, 0, place + _PROBE - 1)
        if place < 0 or (end - place) * MIN_COPIES > len(text):
            return False
        if _has_period(text, end - place):
            return True
    return False


def _has_period(text: str, period: int) -> bool:
    """Whether the end of the text repeats every `period` characters, for long enough to count as a loop."""
    length = max(MIN_COPIES * period, MIN_CHARACTERS)
    return length <= len(text) and text[-length:-period] == text[-length + period :]


def apply_policy(outcomes: Iterable[Outcome], policy: Policy, cutoff_tokens: int) -> list[Outcome]:
    """The outcomes as the policy counts them."""
    if policy == "none":
        return list(outcomes)
    if policy == "exclude":
        return [outcome for outcome in outcomes if outcome.n_tokens <= cutoff_tokens]
    return [_cap(outcome, cutoff_tokens) for outcome in outcomes]


def _cap(outcome: Outcome, cutoff_tokens: int) -> Outcome:
    if outcome.n_tokens <= cutoff_tokens:
        return outcome
    thinking = min(outcome.n_thinking_tokens, cutoff_tokens)
    return outcome._replace(
        n_tokens=cutoff_tokens, n_thinking_tokens=thinking, correct=False, predicted=None, truncated=True
    )


def group_by_problem(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Problem id -> the outcomes of its samples, in the order given."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.problem_id].append(outcome)
    return dict(groups)
