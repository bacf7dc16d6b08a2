r"""A thousand answers made to hang a grader or to eat its memory, graded; how long, how slow at worst, how much memory.

    python scripts/check/hostile_answers.py
    python scripts/check/hostile_answers.py --n 200 --timeout-s 10

Exit status 0 where every answer got a verdict that is not "right", none took longer than its limit allows (CPU time, on
a machine that may be busy: six times as long by the clock), workers stayed within their memory, and the grader still
grades afterwards. The last line is JSON.
"""

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil

from drp.config.sections import GradingSettings
from drp.grading import Grade, Grader

START_UP_S = 30.0
"""What a worker may take to start, on a machine that may be busy."""
OWN_MIB = 256
"""What a worker has loaded before it grades anything, at most."""


def power_tower(draw: random.Random) -> str:
    height, base = draw.randint(3, 12), draw.randint(2, 99)
    return f"{base}^{{" * height + "9" + "}" * height


def factorials(draw: random.Random) -> str:
    return draw.choice([f"{draw.randint(9, 99)}{'!' * draw.randint(2, 9)}", f"{draw.randint(10**5, 10**9)}!"])


def endless_sum(draw: random.Random) -> str:
    name = draw.choice([r"\sum", r"\prod", r"\int"])
    return rf"{name}_{{n=1}}^{{10^{{{draw.randint(6, 30)}}}}} n^{{n}} \sin(n)"


def long_number(draw: random.Random) -> str:
    return str(draw.randint(1, 9)) * draw.randint(300, 100_000)


def matrix(draw: random.Random) -> str:
    side = draw.randint(10, 60)
    row = " & ".join(draw.choice(["1", "x", r"\frac{1}{y}"]) for _ in range(side))
    return r"\begin{pmatrix}" + r" \\ ".join([row] * side) + r"\end{pmatrix}"


def nesting(draw: random.Random) -> str:
    opening, closing = draw.choice([("{", "}"), (r"\sqrt{", "}"), (r"\frac{1}{1+", "}"), ("(", ")"), (r"\boxed{", "}")])
    depth = draw.choice([50, 400, 5000, 200_000])
    return opening * depth + "x" + closing * draw.choice([depth, 0])


def megabytes(draw: random.Random) -> str:
    piece = draw.choice(
        ["{", "}", "{}", r"\boxed{", "$", "\\", "1,", "= ", "the answer is ", r"\frac{", "\ud800", "\0"]
    )
    return piece * (draw.randint(1_000_000, 4_000_000) // len(piece))


def expansion(draw: random.Random) -> str:
    power = draw.randint(100, 10**6)
    return rf"(x+y+z+1)^{{{power}}} - (x-y)^{{{power + 1}}}"


def many_members(draw: random.Random) -> str:
    return r"\{" + ", ".join(rf"\sqrt{{{draw.randint(2, 10**6)}}}" for _ in range(draw.randint(50, 120))) + r"\}"


def numbers_with_no_end(draw: random.Random) -> str:
    return draw.choice(
        ["1/0", r"\frac{0}{0}", r"\infty - \infty", r"\tan(\frac{\pi}{2})", "10^{10^{10}}^{2}", "0^{-1}"]
    )


def noise(draw: random.Random) -> str:
    pieces = [
        r"\sqrt",
        "{",
        "}",
        "^",
        "_",
        r"\frac",
        "9",
        "x",
        r"\log",
        "!",
        "=",
        "<",
        ",",
        "&",
        r"\\",
        "(",
        "]",
        r"\pm",
    ]
    return "".join(draw.choices(pieces, k=draw.randint(20, 300)))


FAMILIES: list[Callable[[random.Random], str]] = [
    power_tower,
    factorials,
    endless_sum,
    long_number,
    matrix,
    nesting,
    megabytes,
    expansion,
    many_members,
    numbers_with_no_end,
    noise,
]


def make_answers(n: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """(family, summary, gold): half against a number, half against something that needs computer algebra."""
    draw = random.Random(seed)
    for number in range(n):
        family = FAMILIES[number % len(FAMILIES)]
        answer = family(draw)
        summary = draw.choice([rf"\boxed{{{answer}}}", f"The answer is {answer}", answer])
        yield family.__name__, summary, draw.choice(["12345678901", r"\frac{\sqrt{7}}{x^2+1}"])


class MemoryWatch(threading.Thread):
    """The largest resident size of any worker, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        while True:
            for process in psutil.Process().children(recursive=True):
                try:
                    self.peak = max(self.peak, process.memory_info().rss)
                except psutil.Error:
                    continue
            time.sleep(0.02)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout-s", type=float, default=1.0, help="CPU time for one answer")
    parser.add_argument("--memory-mib", type=int, default=512)
    args = parser.parse_args()
    settings = GradingSettings(workers=args.workers, timeout_s=args.timeout_s, memory_mib=args.memory_mib)
    answers = list(make_answers(args.n, args.seed))
    watch = MemoryWatch()
    with Grader(settings) as grader, ThreadPoolExecutor(args.workers) as threads:
        grader.grade(r"\boxed{\sqrt{4}}", "2")
        watch.start()
        started = time.monotonic()
        timed = list(threads.map(lambda one: time_grade(grader, *one[1:]), answers))
        seconds = time.monotonic() - started
        alive = grader.grade(r"\boxed{\sqrt{4}}", "2").correct is True
    return report([family for family, *_ in answers], timed, seconds, watch.peak, alive, settings)


def time_grade(grader: Grader, summary: str, gold: str) -> tuple[Grade, float]:
    started = time.monotonic()
    grade = grader.grade(summary, gold)
    return grade, time.monotonic() - started


def report(
    families: list[str],
    timed: list[tuple[Grade, float]],
    seconds: float,
    peak: int,
    alive: bool,
    settings: GradingSettings,
) -> int:
    verdicts = Counter({True: "right", False: "wrong", None: "not graded"}[grade.correct] for grade, _ in timed)
    for name in dict.fromkeys(families):
        latencies = [latency for family, (_, latency) in zip(families, timed, strict=True) if family == name]
        print(f"{name:22}{len(latencies):6} answers, slowest {max(latencies):6.2f} s")
    worst = max(latency for _, latency in timed)
    result = {
        "claim": "hostile answers graded within time and memory",
        "answers": len(timed),
        "verdicts": dict(verdicts),
        "seconds": round(seconds, 1),
        "worst_latency_s": round(worst, 2),
        "peak_worker_mib": peak >> 20,
        "alive_afterwards": alive,
    }
    within = worst < 6 * settings.timeout_s + START_UP_S and peak >> 20 < settings.memory_mib + OWN_MIB
    result["holds"] = alive and within and not verdicts["right"]
    print(json.dumps(result))
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
