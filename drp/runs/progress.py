"""What a user sees while a stage runs: progress and remarks on stderr, results on stdout; without credentials."""

import sys
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

from drp.credentials import scrub_message
from drp.records import Usage

T = TypeVar("T")


def report(line: str) -> None:
    """Print a result on stdout."""
    print(scrub_message(line), flush=True)


def say(line: str) -> None:
    """Print a remark on stderr, above any progress bar."""
    tqdm.write(scrub_message(line), file=sys.stderr)


def write_dollars(usd: float | None) -> str:
    """Such as `$1,204.50`; below ten cents with two more digits, and `unknown` for None."""
    if usd is None:
        return "unknown"
    return f"${usd:.4f}" if 0 < usd < 0.1 else f"${usd:,.2f}"


class Progress:
    """A bar with records done, rate and time left, the number of failures, and the dollars paid to a teacher."""

    def __init__(self, name: str, total: int | None) -> None:
        # In a log file each refresh is another line.
        interval = 0.1 if sys.stderr.isatty() else 15.0
        self._bar = tqdm(total=total, desc=name, unit="rec", file=sys.stderr, mininterval=interval, dynamic_ncols=True)

    def advance(self, *, failed: int, paid: Usage | None) -> None:
        """One more record is done. failed, paid: so far."""
        notes = {}
        if failed:
            notes["failed"] = str(failed)
        if paid is not None and paid.calls:
            notes["spent"] = write_dollars(paid.cost_usd)
        if notes:
            self._bar.set_postfix(notes, refresh=False)
        self._bar.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.close()


def show_progress(name: str, records: Iterable[T], total: int) -> Iterator[T]:
    """Yield the records and show a bar, which appears after a second and is removed at the end."""
    return iter(tqdm(records, desc=name, unit="rec", total=total, file=sys.stderr, leave=False, delay=1.0))
