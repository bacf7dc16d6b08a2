"""The summary that ends a stage."""

from collections import Counter
from pathlib import Path

import pytest

from drp.errors import TooManyFailures
from drp.records import Failure, Usage
from drp.runs.manifest import Counts
from drp.runs.stage import Tally, check_failures


def fail(tally: Tally, n: int, error: str, reason: str | None = None) -> None:
    for number in range(n):
        tally.fail(Failure(id=f"{error}-{number}", error=error, reason=reason, message="...", attempts=1))


def test_failures_are_summed_up_by_reason_with_what_would_help(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally(Counts(read=100))
    fail(tally, 3, "RecordError", "rate limit")
    fail(tally, 7, "RefusedReply", "answer changed")
    fail(tally, 1, "DuplicateId")
    check_failures("prune", tally.counts, Path("run/pruned.jsonl"), 0.5, tally.reasons, tally.n_refused)
    failed, refused, others = capsys.readouterr().err.strip().splitlines()
    assert failed == ("prune: 11 failed: answer changed 7, rate limit 3, duplicate id 1; see run/pruned.failed.jsonl")
    assert "replies to 7 of them were refused" in refused
    assert "teacher.max_reasks" in refused
    assert others == "prune: run again to retry the other 4"


def test_a_rerun_is_advised_only_where_it_would_ask_again(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally(Counts(read=100))
    fail(tally, 7, "RefusedReply", "answer changed")
    check_failures("prune", tally.counts, Path("run/pruned.jsonl"), 0.5, tally.reasons, tally.n_refused)
    assert "run again" not in capsys.readouterr().err


def test_more_failures_than_allowed_are_an_error() -> None:
    counts = Counts(read=10, failed=2)
    check_failures("x", counts, Path("x.jsonl"), 0.2, Counter(a=2))
    check_failures("x", counts, Path("x.jsonl"), 2, Counter(a=2))
    with pytest.raises(TooManyFailures, match="2 of 10"):
        check_failures("x", counts, Path("x.jsonl"), 0.1, Counter(a=2))


def test_an_unknown_price_stays_unknown_in_a_sum() -> None:
    tally = Tally()
    tally.use(Usage(calls=1, input_tokens=5, output_tokens=6, cost_usd=0.5))
    assert tally.usage == Usage(calls=1, input_tokens=5, output_tokens=6, cost_usd=0.5)
    tally.use(Usage(calls=1))
    assert tally.usage is not None
    assert tally.usage.cost_usd is None
