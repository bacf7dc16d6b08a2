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

from drp.artifacts import read_records
from drp.errors import InputError
from drp.records import Failure, Sample
from drp.scores.loops import ends_in_loop

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
    """It ends in degenerate repetition, see `drp.scores.loops`."""

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
