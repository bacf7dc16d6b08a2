"""The grader: easy answers are settled in this process, the others by math-verify in workers.

Equal text and plain numbers need no computer algebra; they are most of what benchmarks ask. Everything else goes to a
worker of a `pebble` pool, which kills and replaces a worker that is over its time, and survives one that crashes.
Workers are forked from a small server process that has math-verify loaded and warm, so that a new one works at once and
holds nothing of this process (no model, no CUDA, no locks).
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
from drp.grading.worker import judge_for, prepare

Key = TypeVar("Key", bound=Hashable)

_MAX_WORKERS = 8
_LOOK_AHEAD = 32
_NEARLY_EQUAL = Fraction(1, 10**5)  # math-verify decides where numbers differ by less; it rounds to six decimals
_WALL_FACTOR = 6  # the limit is of CPU time; for a worker that gets none there is one of wall-clock time as well
_TASKS_A_WORKER = 20_000  # sympy's caches grow; a fresh worker costs milliseconds


class Grade(NamedTuple):
    """predicted: the final answer, None where there is none. correct: None where it could not be graded."""

    predicted: str | None
    correct: bool | None


class Grader:
    """Grades responses; safe to use from several threads, and from asyncio through `asyncio.to_thread`.

    Workers start with the first answer that needs one, and end with the `with` block. A program that uses this must
    guard its main module with `if __name__ == "__main__"`, as for every use of multiprocessing.
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
        """End the workers. The grader may be used again; it then starts new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()

    def grade(self, summary: str, gold: str) -> Grade:
        """Grade the text after `</think>` against the gold answer.

        No answer in it (an empty summary: the thinking never ended) is wrong, with `predicted` None. `correct` is None
        where the gold answer cannot be parsed, or the comparison took too long or too much memory.
        """
        predicted = extract_answer(summary)
        if predicted is None:
            return Grade(None, False)
        return Grade(predicted, self._equal(predicted, gold))

    def same_answer(self, summary: str, expected: str | None) -> bool:
        """Whether a (rewritten) summary still states the expected answer; False where that cannot be told."""
        return expected is not None and self.grade(summary, expected).correct is True

    def grade_stream(self, items: Iterable[tuple[Key, str, str]]) -> Iterator[tuple[Key, Grade]]:
        """Grade (key, summary, gold) triples as they come, each when it is finished, so not in order.

        All workers are kept busy, and at most 32 answers a worker are in flight, so memory does not grow.
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
            # Where the stream is left early, what is in flight runs out unheard: to cancel it would cost its worker.
            question.future.add_done_callback(partial(_put, finished, (key, predicted, question)))
            n_pending += 1
            while n_pending >= _LOOK_AHEAD * self.n_workers or not finished.empty():
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
            future = pool.schedule(judge_for, args=arguments, timeout=wall_s)
        except RuntimeError:  # the pool broke, or was closed, a moment ago
            pool = self._started_pool(broken=pool)
            future = pool.schedule(judge_for, args=arguments, timeout=wall_s)
        return _Question(pair, future, pool)

    def _answer(self, question: "_Question") -> bool | None:
        """Wait for a verdict. A worker that was over its time or crashed leaves None.

        A pool breaks where workers end without having had work: when something outside kills them, or when they cannot
        start. A new one gets the question again, once.
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
    """What is used of pebble.ProcessPool, which is not typed."""

    def schedule(self, function: Any, args: Any, *, timeout: float) -> "Future[bool | None]": ...
    def stop(self) -> None: ...
    def join(self) -> None: ...


class _Pair(NamedTuple):
    """Two tidy answers that need computer algebra to compare."""

    predicted: str
    gold: str


class _Question(NamedTuple):
    pair: _Pair
    future: "Future[bool | None]"
    pool: "_Pool"


def _settle(predicted: str, gold: str) -> bool | _Pair | None:
    """The verdict where it needs no computer algebra, else what to compare."""
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
    except Exception:  # over its time, out of memory, or a crash that the pool survived
        return None


def _start_pool(n_workers: int, memory_mib: int) -> "_Pool":
    import multiprocessing

    from pebble import ProcessPool

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["drp.grading.warmup"])
    return ProcessPool(
        max_workers=n_workers,
        max_tasks=_TASKS_A_WORKER,
        initializer=prepare,
        initargs=(memory_mib,),
        context=context,
    )


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
