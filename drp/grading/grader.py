"""Grade responses: simple answers are compared in this process, the others by math-verify in worker processes.

Equal text and plain numbers, which are most of what benchmarks ask, need no computer algebra. Everything else goes to a
`pebble` pool, which kills and replaces a worker that exceeds its time limit and survives one that crashes. Workers are
forked from a small server process with math-verify already loaded (`drp.grading.warmup`), so that a new worker is ready
at once and inherits nothing from this process: no model, no CUDA context, no locks.
"""

import os
import queue
import threading
from collections.abc import Hashable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from drp.config.sections import GradingSettings
from drp.errors import DrpError
from drp.grading.answers import MAX_ANSWER_CHARS, extract_answer
from drp.grading.forms import canonical, tidy, to_fraction
from drp.grading.worker import compare_within, prepare

Key = TypeVar("Key", bound=Hashable)

_MAX_WORKERS = 8
_MAX_PENDING = 32  # answers in flight per worker
_NEARLY_EQUAL = Fraction(1, 10**5)  # numbers closer than this are left to math-verify, which rounds to six decimals
_WALL_FACTOR = 6  # the limit is CPU time; a worker that gets no CPU is stopped after this multiple in wall-clock time
_TASKS_PER_WORKER = 20_000  # then a worker is replaced, because sympy's caches grow; a new one takes milliseconds


class Grade(NamedTuple):
    """The verdict on one response."""

    predicted: str | None
    """The response's final answer; None if it has none."""
    correct: bool | None
    """None if it could not be graded."""


class Grader:
    """Grades responses. It may be used from several threads, and from asyncio through `asyncio.to_thread`.

    The workers are started with the first answer that needs one and ended with the `with` block. As with all of
    multiprocessing, the program's main module needs an `if __name__ == "__main__"` guard.
    """

    def __init__(self, settings: GradingSettings) -> None:
        self.settings = settings
        self.n_workers = settings.workers or min(_n_cores(), _MAX_WORKERS)
        self._pool: _Pool | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. If the grader is used again, it starts new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()

    def grade(self, summary: str, gold: str) -> Grade:
        """Grade the text after `</think>` against the gold answer.

        A summary without an answer, such as an empty one, is wrong. `correct` is None if the gold answer cannot be
        parsed or the comparison exceeded its limit of time or memory.
        """
        predicted = extract_answer(summary)
        if predicted is None:
            return Grade(None, False)
        return Grade(predicted, self._equal(predicted, gold))

    def same_answer(self, summary: str, expected: str | None) -> bool:
        """Whether a rewritten summary states the expected answer; False if that cannot be graded."""
        return expected is not None and self.grade(summary, expected).correct is True

    def grade_stream(self, items: Iterable[tuple[Key, str, str]]) -> Iterator[tuple[Key, Grade]]:
        """Grade (key, summary, gold) triples and yield (key, grade) as each is finished, so not in order.

        At most 32 answers per worker are in flight, so memory does not grow with the length of the stream.
        """
        finished: queue.SimpleQueue[tuple[Key, str | None, _Question]] = queue.SimpleQueue()
        n_pending = 0
        for key, summary, gold in items:
            predicted = extract_answer(summary)
            verdict = False if predicted is None else _settle(predicted, gold)
            if not isinstance(verdict, _Pair):
                yield key, Grade(predicted, verdict)
                continue
            question = self._ask(verdict)
            # If the stream is left early, the comparisons in flight run to their end: cancelling one kills its worker.
            question.future.add_done_callback(partial(_put, finished, (key, predicted, question)))
            n_pending += 1
            while n_pending >= _MAX_PENDING * self.n_workers or not finished.empty():
                yield self._take(finished)
                n_pending -= 1
        for _ in range(n_pending):
            yield self._take(finished)

    def _take(self, finished: "queue.SimpleQueue[tuple[Key, str | None, _Question]]") -> tuple[Key, Grade]:
        key, predicted, question = finished.get()
        return key, Grade(predicted, self._answer(question))

    def _equal(self, predicted: str, gold: str) -> bool | None:
        verdict = _settle(predicted, gold)
        return self._answer(self._ask(verdict)) if isinstance(verdict, _Pair) else verdict

    def _ask(self, pair: "_Pair") -> "_Question":
        arguments = (self.settings.timeout_s, *pair)
        wall_s = self.settings.timeout_s * _WALL_FACTOR
        pool = self._started_pool()
        try:
            future = pool.schedule(compare_within, args=arguments, timeout=wall_s)
        except RuntimeError:  # the pool has broken or been closed since
            pool = self._started_pool(broken=pool)
            future = pool.schedule(compare_within, args=arguments, timeout=wall_s)
        return _Question(pair, future, pool)

    def _answer(self, question: "_Question") -> bool | None:
        """Wait for a verdict; None if the worker exceeded its limits or crashed.

        A pool is broken when idle workers end, because something killed them or they could not start. The question is
        then sent once more, to a new pool.
        """
        try:
            return _verdict(question.future)
        except BrokenProcessPool:
            self._started_pool(broken=question.pool)
        try:
            return _verdict(self._ask(question.pair).future)
        except BrokenProcessPool:
            raise DrpError(
                "the grading workers do not start: is math-verify installed, and grading.memory_mib "
                f"({self.settings.memory_mib}) large enough?"
            ) from None

    def _started_pool(self, broken: "_Pool | None" = None) -> "_Pool":
        with self._lock:
            if self._pool is not None and self._pool is broken:
                self._pool.stop()
                self._pool = None
            if self._pool is None:
                self._pool = _start_pool(self.n_workers, self.settings.memory_mib)
            return self._pool


class _Pool(Protocol):
    """The part of pebble.ProcessPool that is used here; pebble has no type hints."""

    def schedule(self, function: Any, args: Any, *, timeout: float) -> "Future[bool | None]": ...
    def stop(self) -> None: ...
    def join(self) -> None: ...


class _Pair(NamedTuple):
    """Two tidy answers that need computer algebra to compare."""

    predicted: str
    gold: str


class _Question(NamedTuple):
    """A comparison that was sent to a pool."""

    pair: _Pair
    future: "Future[bool | None]"
    pool: "_Pool"


def _settle(predicted: str, gold: str) -> bool | _Pair | None:
    """The verdict if it needs no computer algebra, else the two answers to compare."""
    if not gold.strip() or len(gold) > MAX_ANSWER_CHARS:
        return None
    left, right = canonical(predicted), canonical(gold)
    if left == right:
        return True
    x, y = to_fraction(left), to_fraction(right)
    if x is not None and y is not None and (x == y or abs(x - y) > _NEARLY_EQUAL):
        return x == y
    return _Pair(tidy(predicted), tidy(gold))


def _put(finished: "queue.SimpleQueue[Any]", item: object, _: "Future[bool | None]") -> None:
    finished.put(item)


def _verdict(future: "Future[bool | None]") -> bool | None:
    try:
        return future.result()
    except (BrokenProcessPool, CancelledError):
        raise
    except Exception:  # the worker exceeded its time or memory, or crashed
        return None


def _start_pool(n_workers: int, memory_mib: int) -> "_Pool":
    import multiprocessing

    from pebble import ProcessPool

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["drp.grading.warmup"])
    return ProcessPool(
        max_workers=n_workers,
        max_tasks=_TASKS_PER_WORKER,
        initializer=prepare,
        initargs=(memory_mib,),
        context=context,
    )


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
