"""Answers graded per second: drp's Grader against a serial math-verify loop, in turn in one run.

    python scripts/bench/grade.py
    python scripts/bench/grade.py --traces ../shared/data/traces --generated 0

Responses: every trace of the folder, where it is there, and generated ones in the benchmarks' styles of answers. The
peer is the loop that evaluation scripts have: math-verify parses the gold answer and the text after `</think>`, boxes
first, with its own time limits. Worker start-up is timed apart, since it is paid once a run. The last line is JSON.
"""

import argparse
import json
import logging
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from drp.answers import extract_gold
from drp.grading import Grader
from drp.settings import GradingSettings
from drp.traces import split_response

Item = tuple[int, str, str]
GOAL = 1.6
TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder of JSONL with `response` and `reference`")
    parser.add_argument("--generated", type=int, default=1000, help="generated responses")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the medians are compared")
    parser.add_argument("--workers", type=int, default=None, help="worker processes; default: one a core")
    args = parser.parse_args()
    pairs = [*read_traces(args.traces), *generate(args.generated, random.Random(0))]
    items = [(index, summary, gold) for index, (summary, gold) in enumerate(pairs)]
    if not items:
        parser.error("nothing to grade")

    with Grader(GradingSettings(workers=args.workers)) as grader:
        started = time.perf_counter()
        grader.grade(r"\boxed{\sqrt{4}}", "2")
        startup_s = time.perf_counter() - started
        grade_serially(items[:50])
        ours, peer = [], []
        for _ in range(args.rounds):
            our_verdicts, rate = timed(lambda: {key: g.correct for key, g in grader.grade_stream(items)}, len(items))
            ours.append(rate)
            peer_verdicts, rate = timed(lambda: grade_serially(items), len(items))
            peer.append(rate)
    return report(len(items), grader.n_workers, startup_s, ours, peer, our_verdicts, peer_verdicts)


def timed(grade, n_items: int) -> tuple[dict[int, bool | None], float]:
    started = time.perf_counter()
    verdicts = grade()
    return verdicts, n_items / (time.perf_counter() - started)


def grade_serially(items: list[Item]) -> dict[int, bool | None]:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    configs = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())
    return {key: verify(parse(f"${gold}$", configs), parse(summary, configs)) for key, summary, gold in items}


def read_traces(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                yield split_response(row["response"]).summary, extract_gold(row["reference"]) or ""


def generate(n: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Half integers, as in GSM8K and AIME, half the rest, as in MATH; a quarter of them wrong."""
    phrasings = (
        "Adding up, we get the result.\n\n**Final Answer:** \\boxed{%s}",
        "\\[\n x + y = %s \n\\]\n\nTherefore the answer is $\\boxed{%s}$.",
        "Let us see what remains of it. So the final answer is $%s$.",
        "1. **First**, add.\n2. **Then**, multiply.\n\nThe answer is: %s",
    )
    for _ in range(n):
        a, b, c = (rng.randint(2, 999) for _ in range(3))
        gold, said = rng.choice(
            [
                *[(str(a * b), f"{a * b:,}")] * 2,
                *[(str(a), f"{a} \\text{{ dollars}}")] * 2,
                (f"\\frac{{{a}}}{{{b}}}", f"{a * c}/{b * c}"),
                (f"{a}\\sqrt{{{b}}}", f"\\sqrt{{{b}}} \\cdot {a}"),
                (f"{a}x^2 - {b}x + {c}", f"-{b}x + {a}x^2 + {c}"),
                (f"({a}, {b})", f"\\left({a}, \\frac{{{b * c}}}{{{c}}}\\right)"),
            ]
        )
        if rng.random() < 0.25:
            said = said.replace(str(a), str(a + 1)) if str(a) in said else f"{a}.5"
        phrasing = rng.choice(phrasings)
        yield phrasing.replace("%s", said), gold


def report(
    n_items: int,
    n_workers: int,
    startup_s: float,
    ours: list[float],
    peer: list[float],
    our_verdicts: dict[int, bool | None],
    peer_verdicts: dict[int, bool | None],
) -> int:
    ratio = statistics.median(ours) / statistics.median(peer)
    agreed = sum(our_verdicts[key] is peer_verdicts[key] for key in our_verdicts)
    print(f"{n_items} responses, {n_workers} workers (start-up {startup_s:.1f} s, once), {len(ours)} rounds")
    print(f"{'':24}{'median/s':>10}{'best/s':>10}{'correct':>10}")
    for name, rates, verdicts in (("drp", ours, our_verdicts), ("serial math-verify", peer, peer_verdicts)):
        n_correct = sum(verdict is True for verdict in verdicts.values())
        print(f"{name:24}{statistics.median(rates):10.0f}{max(rates):10.0f}{n_correct:10}")
    print(f"same verdict on {agreed} of {n_items}")
    result = {
        "claim": "answers graded per second against a serial math-verify loop",
        "ours": round(statistics.median(ours), 1),
        "peer": round(statistics.median(peer), 1),
        "ratio": round(ratio, 2),
        "goal": GOAL,
        "holds": ratio >= GOAL,
    }
    print(json.dumps(result))
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
