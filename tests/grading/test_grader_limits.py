"""The grader's streams and threads, its limits of time and memory, and workers that crash."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from drp.config.sections import GradingSettings
from drp.errors import DrpError
from drp.grading import Grade, Grader

HARD = (r"\boxed{\sqrt{4}}", "2")
"""A pair that needs computer algebra, and so a worker."""


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(GradingSettings(workers=2, timeout_s=20)) as grader:
        yield grader


def test_stream_grades_all_and_reads_a_bounded_number_ahead(grader: Grader) -> None:
    pulled = 0

    def items() -> Iterator[tuple[int, str, str]]:
        nonlocal pulled
        for number in itertools.count():
            pulled += 1
            yield number, rf"\boxed{{\sqrt{{{number**2}}}}}", "3"

    stream = grader.grade_stream(items())
    first = [next(stream) for _ in range(10)]
    stream.close()  # type: ignore[attr-defined]
    assert pulled < 10 + 40 * grader.n_workers
    assert {key: grade.correct for key, grade in first} == {key: key == 3 for key, _ in first}
    finished = dict(grader.grade_stream((n, str(n), r"\sqrt{9}" if n < 20 else "3") for n in range(120)))
    assert [n for n, grade in finished.items() if grade.correct] == [3]
    assert len(finished) == 120


def test_an_error_of_the_input_is_raised_by_the_stream(grader: Grader) -> None:
    def items() -> Iterator[tuple[int, str, str]]:
        yield 1, *HARD
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(grader.grade_stream(items()))
    assert grader.grade(*HARD).correct is True


def test_threads_and_tasks_may_share_a_grader(grader: Grader) -> None:
    async def grade_all() -> list[Grade]:
        calls = [asyncio.to_thread(grader.grade, rf"\boxed{{{n}/8}}", r"\sqrt{1/16}") for n in range(20)]
        return await asyncio.gather(*calls)

    assert [grade.correct for grade in asyncio.run(grade_all())] == [n == 2 for n in range(20)]


HOSTILE = [
    r"9^{9^{9^9}}",
    r"10^{10^{10}}",
    r"9!!!!!!!!",
    r"100000!",
    r"\sum_{n=1}^{10^9} n^n",
    "7" * 5000,
    "9" * 900,
    "{" * 400 + "1" + "}" * 400,
    r"\sqrt{" * 150 + "2" + "}" * 150,
    r"\begin{pmatrix}" + "&".join("1" * 400) + r"\end{pmatrix}",
    r"\begin{pmatrix}" * 50,
    "1\x002",
    "\ud800",
    "\\",
    "^_^",
    "1/0",
]


def test_hostile_answers_stay_within_the_limits_of_time_and_memory() -> None:
    peak = 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.05):
            for process in _workers():
                with_rss = process.info["memory_info"]
                peak = max(peak, with_rss.rss if with_rss else 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    with Grader(GradingSettings(workers=2, timeout_s=0.3, memory_mib=256)) as grader:
        grades = dict(grader.grade_stream((answer, rf"\boxed{{{answer}}}", "x^2 + 1") for answer in HOSTILE))
        elapsed = time.monotonic() - started
        assert grader.grade(*HARD).correct is True
    stop.set()
    watcher.join()
    assert len(grades) == len(HOSTILE)
    assert all(grade.correct in (None, False) for grade in grades.values())
    assert grades[HOSTILE[0]] == Grade(HOSTILE[0], None)
    assert elapsed < 5 + len(HOSTILE)
    assert peak < 512 << 20


def test_crashed_workers_are_replaced() -> None:
    with Grader(GradingSettings(workers=2)) as grader:
        grader.grade(*HARD)
        for worker in _workers():
            worker.kill()
        assert grader.grade(*HARD).correct is True

        graded: list[Grade] = []
        thread = threading.Thread(target=lambda: graded.append(grader.grade(r"\boxed{9^{9^{9^9}}}", "2")))
        thread.start()
        time.sleep(1)
        max(_workers(), key=lambda worker: sum(worker.cpu_times()[:2])).kill()
        thread.join(20)
        assert graded == [Grade("9^{9^{9^9}}", None)]
        assert grader.grade(*HARD).correct is True
    assert not _workers()


def test_workers_that_cannot_start_are_an_error_with_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drp.grading.grader.prepare", os._exit)
    settings = GradingSettings(workers=1, memory_mib=7)
    with Grader(settings) as grader, pytest.raises(DrpError, match=r"grading\.memory_mib \(7\)"):
        grader.grade(*HARD)


def test_workers_die_with_a_killed_parent() -> None:
    program = textwrap.dedent(
        """
        import sys, threading
        from drp.grading import Grader
        from drp.config.sections import GradingSettings
        grader = Grader(GradingSettings(workers=2, timeout_s=1))
        grader.grade(r"\\boxed{\\sqrt{4}}", "2")
        threading.Thread(target=grader.grade, args=(r"\\boxed{9^{9^{9^9}}}", "2")).start()
        assert "math_verify" not in sys.modules and "sympy" not in sys.modules
        print("ready", flush=True)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    time.sleep(0.5)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 3
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def _workers() -> list[psutil.Process]:
    """The workers: processes that this process's fork server has started."""
    mine = psutil.Process().pid
    processes = list(psutil.process_iter(["pid", "ppid", "cmdline", "memory_info", "status"]))
    servers = {
        p.pid for p in processes if p.info["ppid"] == mine and "multiprocessing.forkserver" in str(p.info["cmdline"])
    }
    return [p for p in processes if p.info["ppid"] in servers and p.info["status"] != psutil.STATUS_ZOMBIE]
