"""What became of the records of one run of a stage, and the summary by reason that ends it.

decompose: 12 failed: answer changed 7, rate limit 3, withheld 2; run again to retry them: runs/x/steps.failed.jsonl
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drp.errors import InputError, TooManyFailures
from drp.manifest import Counts, is_empty
from drp.progress import say
from drp.records import Failure, Usage


@dataclass
class Tally:
    """done: ids that earlier runs wrote. ids: those met in this run. usage: of the records written, all runs."""

    done: set[str]
    counts: Counts = field(default_factory=Counts)
    filtered: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    usage: Usage | None = None
    ids: set[str] = field(default_factory=set)

    def fail(self, failure: Failure) -> None:
        self.counts.failed += 1
        self.reasons[failure.kind] += 1

    def use(self, usage: Any) -> None:
        """Add what a written record says of its teacher, if anything."""
        if usage is not None:
            self.usage = Usage.model_validate(usage) + (self.usage or Usage(cost_usd=0.0))

    def settle(self) -> Counts:
        return self.counts.model_copy(update={"filtered": dict(self.filtered)})


def failures_path(target: Path) -> Path:
    return target.with_name(f"{target.stem}.failed.jsonl")


def check_failures(name: str, counts: Counts, target: Path, max_failures: float, reasons: Counter[str]) -> None:
    """Say what failed, by reason; raise TooManyFailures where that is more than allowed."""
    if not counts.failed:
        return
    say(f"{name}: {counts.failed} failed: {_list(reasons)}; run again to retry them: {failures_path(target)}")
    allowed = max_failures * counts.read if max_failures < 1 else max_failures
    if counts.failed > allowed:
        raise TooManyFailures(
            f"{name}: {counts.failed} of {counts.read} records failed, max_failures allows {max_failures:g}"
        )


def check_worth(tally: Tally, target: Path) -> None:
    """Raise InputError where `target` would be given up for an empty artifact: with another model, address or prompt no
    stored reply is found."""
    if tally.counts.failed and not tally.counts.written and not is_empty(target):
        raise InputError(
            f"{target}: stays as it is, for nothing could be made of the stored replies ({_list(tally.reasons)}). "
            "Are the teacher's model, address, temperature, max_output_tokens and prompts those they were paid with?"
        )


def _list(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())
