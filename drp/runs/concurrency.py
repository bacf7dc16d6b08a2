"""Run asynchronous tasks behind a plain iterator, at most so many at a time."""

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
    """Yield the result of `do(record)` for each record, as it finishes; an exception becomes a Failure.

    concurrency: how many records are in flight at most. A record is taken from `records` only when one can start.
    close: awaited at the end, in the same event loop, however the iteration ends.
    Raises UserError (a wrong key, the cost cap) after the records in flight have finished; no new ones are started.
    """
    finished: deque[asyncio.Task[OutT | Failure]] = deque()
    running: set[asyncio.Task[OutT | Failure]] = set()
    stop: UserError | None = None
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        wake = asyncio.Event()

        def collect(task: asyncio.Task[OutT | Failure]) -> None:
            running.discard(task)
            finished.append(task)
            wake.set()

        try:
            while True:
                while stop is None and len(running) < concurrency and (record := next(records, None)) is not None:
                    task = loop.create_task(_attempt(do, record))
                    running.add(task)
                    task.add_done_callback(collect)
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
            runner.run(_cancel(running, close))


async def call(do: Callable[[], T], *, slow: bool) -> T:
    """Run `do` in a thread if `slow`, so that the event loop is not blocked; else inline, which has less overhead."""
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
    except Exception as error:  # a bug that one record triggers must not end the stage
        return Failure(id=record.id, error=type(error).__name__, message=str(error), attempts=1)


async def _wait(wake: asyncio.Event) -> None:
    await wake.wait()
    wake.clear()


async def _cancel(running: set[asyncio.Task[OutT | Failure]], close: Callable[[], Awaitable[None]]) -> None:
    for task in list(running):
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await close()
