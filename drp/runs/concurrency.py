"""Many asynchronous tasks behind a plain iterator, with a bound on how many are in flight."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from drp.errors import RecordError, UserError
from drp.records import Failure, Record

InT = TypeVar("InT", bound=Record)
OutT = TypeVar("OutT", bound=Record)
T = TypeVar("T")


def map_concurrently(
    do: Callable[[InT], Awaitable[OutT]],
    records: Iterator[InT],
    concurrency: int,
    close: Callable[[], Awaitable[None]],
) -> Iterator[OutT | Failure]:
    """Yield `await do(record)` as each finishes; a record that fails becomes a Failure.

    A UserError (bad key, cost cap) is no record's fault: what is in flight is let finish and yielded, nothing new is
    started, and then it is raised. `close` runs last, in the same event loop.
    """
    finished: deque[asyncio.Task[OutT | Failure]] = deque()
    running: set[asyncio.Task[OutT | Failure]] = set()
    stop: UserError | None = None
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        wake = asyncio.Event()

        def settle(task: asyncio.Task[OutT | Failure]) -> None:
            running.discard(task)
            finished.append(task)
            wake.set()

        try:
            while True:
                while stop is None and len(running) < concurrency and (record := next(records, None)) is not None:
                    task = loop.create_task(_attempt(do, record))
                    running.add(task)
                    task.add_done_callback(settle)
                if not running and not finished:
                    break
                runner.run(_wait(wake))
                while finished:
                    try:
                        yield finished.popleft().result()
                    except UserError as error:
                        stop = stop or error
            if stop is not None:
                raise stop
        finally:
            runner.run(_abandon(running, close))


async def call(do: Callable[[], T], *, slow: bool) -> T:
    """`do()`: where it is slow in a thread, so that the calls in flight go on meanwhile; else at once, which is half
    the work."""
    return await asyncio.to_thread(do) if slow else do()


async def _attempt(do: Callable[[InT], Awaitable[OutT]], record: InT) -> OutT | Failure:
    try:
        return await do(record)
    except UserError:
        raise
    except RecordError as error:
        return Failure(
            id=record.id,
            error=type(error).__name__,
            reason=error.reason,
            message=str(error),
            attempts=error.attempts,
            raw=error.raw,
        )
    except Exception as error:  # a bug met on one record must not cost the others
        return Failure(id=record.id, error=type(error).__name__, message=str(error), attempts=1)


async def _wait(wake: asyncio.Event) -> None:
    await wake.wait()
    wake.clear()


async def _abandon(running: set[asyncio.Task[OutT | Failure]], close: Callable[[], Awaitable[None]]) -> None:
    for task in list(running):
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await close()
