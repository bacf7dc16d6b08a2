"""What scoring needs of an evaluated model's samples, and the three ways to treat overlong ones.

Reads eval/MODEL/BENCHMARK.jsonl (`Sample` records). The texts stay on disk; an outcome is a few numbers:

    Outcome(id="gsm8k-7#0", predicted="72", correct=True, n_tokens=310, n_thinking_tokens=250, truncated=False, ...)

The policies (paper, section 4.6, whose wording fits both of the latter):

    none     every response as it is
    cap      as if generation had been stopped at the cutoff: a longer response counts as the cutoff's tokens, and as
             wrong, since it had not finished (no summary, so no answer) when it was stopped
    exclude  responses longer than the cutoff are left out
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from drp.errors import InputError
from drp.records import Failure, Sample
from drp.runs.jsonl import read_records

MIN_COPIES = 3
MIN_CHARACTERS = 200
# The end of the text, looked for further back: each place where it stands again is a candidate for the loop's length.
_PROBE = 24
# A loop in which the probe itself stands more often than this inside one copy is not looked for, so that time stays
# linear in the text's length.
_MAX_CANDIDATES = 64


def ends_in_loop(text: str) -> bool:
    """Whether a response ends in degenerate repetition. Linear in the text's length."""
    text = " ".join(text.split())
    if len(text) < MIN_CHARACTERS:
        return False
    end = len(text) - _PROBE
    probe, place = text[end:], end
    for _ in range(_MAX_CANDIDATES):
        # Occurrences may overlap: a loop can be shorter than the probe.
        place = text.rfind(probe, 0, place + _PROBE - 1)
        if place < 0 or (end - place) * MIN_COPIES > len(text):
            return False
        if _has_period(text, end - place):
            return True
    return False


def _has_period(text: str, period: int) -> bool:
    """Whether enough of the text's end repeats itself every `period` characters."""
    length = max(MIN_COPIES * period, MIN_CHARACTERS)
    return length <= len(text) and text[-length:-period] == text[-length + period :]


Policy = Literal["none", "cap", "exclude"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


class Outcome(NamedTuple):
    """What scoring needs of one sample; the texts stay on disk."""

    id: str
    predicted: str | None
    correct: bool | None
    n_tokens: int
    n_thinking_tokens: int
    truncated: bool
    """The engine stopped it at its limit."""
    looping: bool
    """It ends in degenerate repetition, see `drp.evaluation.outcomes`."""

    @property
    def problem_id(self) -> str:
        return self.id.rpartition("#")[0] or self.id


def benchmark_files(folder: Path) -> list[tuple[str, Path]]:
    """(benchmark, file) of a model's eval folder, by name."""
    paths = sorted(folder.glob("*.jsonl"))
    return [(path.stem, path) for path in paths if not path.name.endswith(".failed.jsonl")]


def read_outcomes(path: Path) -> Iterator[Outcome]:
    """The outcomes of one BENCHMARK.jsonl. A torn last line is skipped: its writer may still be at it.

    Raises InputError with the line on any other unreadable record.
    """
    broken: Failure | None = None
    for record in read_records(path, Sample):
        if broken is not None:
            break
        if isinstance(record, Failure):
            broken = record
            continue
        yield _take_outcome(record)
    else:
        if broken is None or _ends_torn(path):
            return
    raise InputError(f"{path.parent}/{broken.message}; mend the line, or run `drp eval` again with --overwrite")


def _take_outcome(sample: Sample) -> Outcome:
    return Outcome(
        id=sample.id,
        predicted=sample.predicted,
        correct=sample.correct,
        n_tokens=sample.n_tokens,
        n_thinking_tokens=sample.n_thinking_tokens,
        truncated=sample.finish_reason == "length",
        looping=ends_in_loop(sample.response),
    )


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def apply_policy(outcomes: Iterable[Outcome], policy: Policy, cutoff_tokens: int) -> list[Outcome]:
    """The outcomes as the policy counts them."""
    if policy == "none":
        return list(outcomes)
    if policy == "exclude":
        return [outcome for outcome in outcomes if outcome.n_tokens <= cutoff_tokens]
    return [_stop_at(outcome, cutoff_tokens) for outcome in outcomes]


def _stop_at(outcome: Outcome, cutoff_tokens: int) -> Outcome:
    if outcome.n_tokens <= cutoff_tokens:
        return outcome
    thinking = min(outcome.n_thinking_tokens, cutoff_tokens)
    return outcome._replace(
        n_tokens=cutoff_tokens, n_thinking_tokens=thinking, correct=False, predicted=None, truncated=True
    )


def group_by_problem(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.problem_id].append(outcome)
    return dict(groups)


# FOLDED DOC of scores.loops:
# Degenerate repetition: a response that ends in the same text over and over (paper, section 4.6).
#
# A response loops where, with white space evened out, it ends in at least three copies of one text and those copies
# are at least 200 characters long together. Every rotation of the repeated text is the same loop, so where the last copy
# was cut does not matter. A response that got out of its loop and then said something else does not end in one.
#
#     ends_in_loop("So x = 4. " + "Wait, let me check. " * 40)  # True
#
