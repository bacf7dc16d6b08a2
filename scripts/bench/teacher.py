"""How near the teacher's client comes to the ideal rate, beside plain `openai` asyncio and, where it is given, curator.

    python scripts/bench/teacher.py                                           ours and plain openai
    python scripts/bench/teacher.py --peers-python .venv-curator/bin/python   and curator, installed there

The server is the loopback teacher (tests/loopback) in a process of its own; each contender (teacher_contenders.py) runs
in a fresh process, one after the other. Ideal: calls / in flight * latency. Seconds run from the first call to the last
reply, ours with every reply stored. `decompose` and `prune` are the whole stages, asking a teacher that does the task:
from the first call to the last record written, each reply read, checked and graded. Prints a table and, as its last
line, one JSON object; exit status 0 where the goal holds. On a machine that others use too, `--realtime` (root only)
keeps their load out of the figures.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONTENDERS = Path(__file__).with_name("teacher_contenders.py")
CLAIM = "the teacher's client keeps to 0.95 of the ideal rate at 100 calls in flight, and to 0.85 at 400"


@dataclass(frozen=True)
class Load:
    """goal: the least share of the ideal rate."""

    n_calls: int
    in_flight: int
    goal: float
    latency_s: float = 0.5

    @property
    def ideal_s(self) -> float:
        return self.n_calls / self.in_flight * self.latency_s


LOADS = [Load(2000, 100, 0.95), Load(4000, 400, 0.85)]


def main() -> int:
    args = read_arguments()
    if args.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    pythons = {"ours": sys.executable, "openai": sys.executable}
    if args.peers_python:
        pythons["curator"] = args.peers_python
    best = {load: measure(load, pythons, args.repeats) for load in LOADS}
    stages = {load: measure_stages(load, args.repeats) for load in LOADS}
    report(best, list(pythons), stages)
    return 0 if all(load.ideal_s / seconds["ours"] >= load.goal for load, seconds in best.items()) else 1


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", help="a Python that has bespokelabs-curator installed")
    parser.add_argument("--realtime", action="store_true", help="server and contenders go before all other processes")
    parser.add_argument("--repeats", type=int, default=2, help="rounds; the best of each contender counts")
    return parser.parse_args()


def measure(load: Load, pythons: dict[str, str], repeats: int) -> dict[str, float]:
    """Seconds of each contender, the best of `repeats` rounds."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, python in pythons.items():
            try:
                result = run_contender(name, python, load)
            except subprocess.CalledProcessError as error:
                if name == "ours":
                    raise
                print(f"{name} failed and is left out: {error}", file=sys.stderr)
                continue
            best[name] = min(show(name, load, result), best.get(name, result["seconds"]))
    return best


def measure_stages(load: Load, repeats: int) -> dict[str, float]:
    """Seconds of each stage, the best of `repeats` rounds."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        for verb, result in run_contender("stages", sys.executable, load, "--competent").items():
            best[verb] = min(show(verb, load, result), best.get(verb, result["seconds"]))
    return best


def show(name: str, load: Load, result: dict[str, float]) -> float:
    """Print one measurement; its seconds."""
    seconds, cpu_ms = result["seconds"], result["cpu_s"] / load.n_calls * 1000
    print(
        f"{load.n_calls:>6} calls  {load.in_flight:>4} in flight  {name:<9} {seconds:7.2f} s  "
        f"{load.ideal_s / seconds:5.2f} of ideal  {cpu_ms:5.2f} ms CPU a call",
        flush=True,
    )
    return seconds


def run_contender(name: str, python: str, load: Load, *server_options: str) -> dict[str, Any]:
    with serve(load.latency_s, *server_options) as url:
        command = [python, str(CONTENDERS), name, "--url", url]
        command += ["--calls", str(load.n_calls), "--in-flight", str(load.in_flight)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@contextmanager
def serve(latency_s: float, *options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.loopback", "--latency", str(latency_s), "--tokens", "300", *options]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    finally:
        server.kill()
        server.wait()


def report(best: dict[Load, dict[str, float]], names: list[str], stages: dict[Load, dict[str, float]]) -> None:
    print(f"\n{'calls':>6} {'in flight':>10} {'ideal':>7} " + " ".join(f"{name:>16}" for name in names))
    for load, seconds in best.items():
        cells = [f"{seconds[n]:7.2f} s ({load.ideal_s / seconds[n]:.2f})" if n in seconds else "failed" for n in names]
        print(f"{load.n_calls:>6} {load.in_flight:>10} {load.ideal_s:>5.1f} s " + " ".join(f"{c:>16}" for c in cells))
    ours = {load.in_flight: round(load.ideal_s / seconds["ours"], 3) for load, seconds in best.items()}
    peers = {
        load.in_flight: round(load.ideal_s / min(s for name, s in seconds.items() if name != "ours"), 3)
        for load, seconds in best.items()
    }
    result = {
        "claim": CLAIM,
        "ours": ours,
        "peer": peers,
        "ratio": {n: round(ours[n] / peers[n], 2) for n in ours},
        "goal": {load.in_flight: load.goal for load in best},
        # Beyond the claim: at 400 in flight, reading and checking prunings takes more than one core.
        "stages": {load.in_flight: {v: round(load.ideal_s / s, 3) for v, s in stages[load].items()} for load in best},
        "holds": all(ours[load.in_flight] >= load.goal for load in best),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    raise SystemExit(main())
