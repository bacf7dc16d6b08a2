"""What a user sees of money."""

import pytest

from drp.runs.progress import write_dollars


@pytest.mark.parametrize(
    ("usd", "text"),
    [(None, "unknown"), (0.0, "$0.00"), (0.00251, "$0.0025"), (1.5, "$1.50"), (1204.5, "$1,204.50")],
)
def test_dollars_are_told_apart_from_nothing_and_from_unknown(usd: float | None, text: str) -> None:
    assert write_dollars(usd) == text
