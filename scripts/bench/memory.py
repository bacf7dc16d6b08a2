"""Memory of the teacher stages: `drp decompose` and `drp prune` at 100,000 records beside 1,000.

    python scripts/bench/memory.py
    python scripts/bench/memory.py --teacher rules

The LLM teacher is the loopback teacher (tests/loopback) in a process of its own, and answers every prompt in earnest.
Each stage is the command that a user gives, in a fresh process; its figure is the peak of its resident memory, as the
kernel counts it. A record has 1.2 KB of reasoning, with numbers of its own. Format `spans`, whose replies take the
least CPU. Prints a table and, as its last line, one JSON object; exit status 0 where the goal holds.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GOAL_MB = 50.0
CLAIM = "resident memory of drp decompose and drp prune at many records, over that at few"
VERBS = {"decompose": "steps.jsonl", "prune": "pruned.jsonl"}
Peaks = dict[str, dict[int, float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", choices=["llm", "rules"], default="llm")
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--many", type=int, default=100_000)
    args = parser.parse_args()
    peaks: Peaks = {verb: {} for verb in VERBS}
    for n_records in (args.few, args.many):
        with tempfile.TemporaryDirectory() as folder, open_teacher(args.teacher) as url:
            measure(Path(folder), url, n_records, peaks)
    return report(args.teacher, peaks, args.few, args.many)


def open_teacher(name: str) -> AbstractContextManager[str]:
    """The address of the loopback teacher; empty for `rules`."""
    from teacher import serve

    return serve(0, "--competent") if name == "llm" else nullcontext("")


def measure(folder: Path, url: str, n_records: int, peaks: Peaks) -> None:
    config = write_run(folder, url, n_records)
    for verb, artifact in VERBS.items():
        started = time.monotonic()
        peaks[verb][n_records] = run_stage(verb, config, folder / "log")
        seconds = time.monotonic() - started
        with (folder / artifact).open("rb") as lines:
            if (n_written := sum(1 for _ in lines)) != n_records:
                raise SystemExit(f"drp {verb} wrote {n_written} of {n_records} records")
        print(f"{verb:10}{n_records:>8} records{peaks[verb][n_records]:8.1f} MB{seconds:8.0f} s", flush=True)


def write_run(folder: Path, url: str, n_records: int) -> Path:
    """A run directory with traces, and a configuration for it."""
    teacher: dict[str, Any] = {"provider": "rules"}
    if url:
        prices = {"input": 2.5, "output": 10}
        teacher = {"provider": "openai", "model": "m", "base_url": url, "format": "spans", "prices": prices}
    student = {"model": str(ROOT / "data" / "tiny" / "model")}
    everything = {"max_samples": None}
    config = {"run_dir": str(folder), "max_failures": 0, "student": student, "teacher": teacher, "train": everything}
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    with (folder / "traces.jsonl").open("w") as file:
        file.writelines(json.dumps(make_trace(number)) + "\n" for number in range(n_records))
    return path


def make_trace(number: int) -> dict[str, Any]:
    draw = random.Random(number)
    a, b, c = (draw.randrange(100, 100_000) for _ in range(3))
    total = a * b + c
    thinking = (
        f"Okay, so I need to find how many apples there are in the end. There are {a} bags with {b} apples in each. "
        f"Then {c} apples are added from the store.\n\nFirst, I need to find the apples in all the bags. "
        f"That is {a} x {b} = {a * b} apples.\n\n"
        f"Next, I add the {c} apples from the store: {a * b} + {c} = {total}.\n\n"
        f"Hmm, let me think about whether that is right. Wait, let me double-check the product: {a} x {b} = {a * b}. "
        f"Yes, that is what I had before.\n\nAnd the sum: {a * b} + {c} = {total}. That is right too.\n\n"
        f"Wait, is there anything else in the problem? Hmm, no apples are eaten, and none are given away. "
        f"Let me make sure that I read the number of bags right. It says {a} bags, with {b} apples in each of them.\n\n"
        f"Alternatively, I could count the apples bag by bag. But that would take a very long time, and it would give "
        f"the same product in the end. Let me not do that here.\n\nSo there are {total} apples in the end."
    )
    summary = f"There are {a} bags of {b} apples and {c} more, so the answer is \\boxed{{{total}}}."
    return {
        "id": f"apples-{number}#0",
        "problem_id": f"apples-{number}",
        "question": f"There are {a} bags with {b} apples in each. Then {c} apples are added. How many are there?",
        "answer": str(total),
        "response": f"{thinking}\n</think>\n\n{summary}",
        "thinking": thinking,
        "summary": summary,
        "predicted": str(total),
        "correct": True,
        "finish_reason": "stop",
        "n_tokens": 400,
        "model": "student",
        "source": "apples",
    }


def run_stage(verb: str, config: Path, log: Path) -> float:
    """Peak resident memory of the stage's process, in MB."""
    with log.open("w") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "drp", verb, str(config)], cwd=ROOT, stdout=output, stderr=output
        )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"drp {verb} ended with {child.returncode}:\n{log.read_text()[-2000:]}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def report(teacher: str, peaks: Peaks, few: int, many: int) -> int:
    growth = {verb: round(peak[many] - peak[few], 1) for verb, peak in peaks.items()}
    print(f"\n{teacher:10}{f'{few} records':>18}{f'{many} records':>18}{'growth':>12}")
    for verb, peak in peaks.items():
        print(f"{verb:10}{peak[few]:>15.1f} MB{peak[many]:>15.1f} MB{growth[verb]:>9.1f} MB")
    ours = {verb: round(peak[many], 1) for verb, peak in peaks.items()}
    peer = {verb: round(peak[few], 1) for verb, peak in peaks.items()}
    holds = max(growth.values()) <= GOAL_MB
    # The peer is the same stage at few records; the goal is the growth in MB.
    result = {"claim": CLAIM, "ours": ours, "peer": peer, "ratio": {v: round(ours[v] / peer[v], 2) for v in ours}}
    print(json.dumps({**result, "growth": growth, "goal": GOAL_MB, "holds": holds}))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
