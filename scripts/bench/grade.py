"""Answers graded per second: drp's Grader against a serial math-verify loop, in turn in one run.

    python scripts/bench/grade.py
    python scripts/bench/grade.py --traces FOLDER --generated 1000

Responses: every trace of the folder where it is there, else generated ones in the benchmarks' styles of answers. The
peer is the loop that evaluation scripts have: math-verify parses the gold answer and the text after `</think>`, boxes
first, with its own time limits. Both get the same texts and start warm: start-up is timed apart, since it is paid once
a run, and the workers are new in each round, so that ours keep no parsed gold from the round before. The claim does not
hold where a verdict on a real trace differs. The last line is JSON.
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

from drp.config.sections import GradingSettings
from drp.grading import Grader
from drp.grading.answers import extract_gold
from drp.student.response import split_response

Item = tuple[int, str, str]
GOAL = 1.6
TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder of JSONL with `response` and `reference`")
    parser.add_argument("--generated", type=int, help="generated responses; default: 1000 without traces, else none")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the medians are compared")
    parser.add_argument("--workers", type=int, default=None, help="worker processes; default: one a core")
    args = parser.parse_args()
    real = list(read_traces(args.traces))
    n_generated = (0 if real else 1000) if args.generated is None else args.generated
    pairs = [*real, *generate(n_generated, random.Random(0))]
    items = [(index, summary, gold) for index, (summary, gold) in enumerate(pairs)]
    if not items:
        parser.error("nothing to grade")

    grade_serially(items[:50])
    rounds = [(*grade_in_workers(items, args.workers), *timed(grade_serially, items)) for _ in range(args.rounds)]
    start_ups, our_verdicts, ours, peer_verdicts, peer = zip(*rounds, strict=True)
    print(f"{len(items)} responses, {len(real)} of them real; start-up {max(start_ups):.1f} s, once a run")
    n_differing = compare_verdicts(items, our_verdicts[-1], peer_verdicts[-1], n_real=len(real))
    return report(list(ours), list(peer), n_differing)


def grade_in_workers(items: list[Item], n_workers: int | None) -> tuple[float, dict[int, bool | None], float]:
    """Seconds to start, the verdicts, and answers a second after that."""
    started = time.perf_counter()
    with Grader(GradingSettings(workers=n_workers)) as grader:
        grader.grade(r"\boxed{\sqrt{4}}", "2")
        start_up_s = time.perf_counter() - started
        return start_up_s, *timed(lambda items: {key: g.correct for key, g in grader.grade_stream(items)}, items)


def timed(grade, items: list[Item]) -> tuple[dict[int, bool | None], float]:
    started = time.perf_counter()
    verdicts = grade(items)
    return verdicts, len(items) / (time.perf_counter() - started)


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


def compare_verdicts(items: list[Item], ours: dict[int, bool | None], peer: dict[int, bool | None], n_real: int) -> int:
    """Print where the verdicts differ; how many of these are on real traces."""
    differing = [item for item in items if ours[item[0]] is not peer[item[0]]]
    correct = [sum(verdict is True for verdict in verdicts.values()) for verdicts in (ours, peer)]
    print(f"right: drp {correct[0]}, math-verify {correct[1]}; {len(differing)} verdicts differ")
    for key, summary, gold in differing[:10]:
        print(f"  drp {ours[key]}, math-verify {peer[key]}: ...{summary[-80:]!r} against {gold!r}")
    return sum(key < n_real for key, _, _ in differing)


def report(ours: list[float], peer: list[float], n_differing: int) -> int:
    ratio = statistics.median(ours) / statistics.median(peer)
    print(f"{'':24}{'median/s':>10}{'best/s':>10}")
    for name, rates in (("drp", ours), ("serial math-verify", peer)):
        print(f"{name:24}{statistics.median(rates):10.0f}{max(rates):10.0f}")
    result = {
        "claim": "answers graded per second against a serial math-verify loop",
        "ours": round(statistics.median(ours), 1),
        "peer": round(statistics.median(peer), 1),
        "ratio": round(ratio, 2),
        "goal": GOAL,
        "holds": ratio >= GOAL and not n_differing,
    }
    print(json.dumps(result))
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
