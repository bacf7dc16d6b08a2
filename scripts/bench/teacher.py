"""How near the teacher's client comes to the ideal rate, beside plain `openai` asyncio and, where it is given, curator.

    python scripts/bench/teacher.py                                        ours and plain openai
    python scripts/bench/teacher.py --peers-python peers/bin/python        and curator, installed there

The server is the loopback teacher (tests/loopback) in a process of its own; each contender runs in a fresh process, one
after the other. Ideal: calls / in flight * latency. Seconds run from the first call to the last reply, ours with every
reply stored. Prints a table and, as its last line, one JSON object; exit status 0 where the goal holds. On a machine
that others use as well, `--realtime` (root only) keeps their load out of the figures.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "Split this reasoning into steps. " + "We have 3 apples and 4 pears, so 3 + 4 = 7 fruit. " * 60
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
    if args.contender:
        print(json.dumps(CONTENDERS[args.contender](args.url, args.calls, args.in_flight)))
        return 0
    pythons = {"ours": sys.executable, "openai": sys.executable}
    if args.peers_python:
        pythons["curator"] = args.peers_python
    best = {load: measure(load, pythons, args.repeats) for load in LOADS}
    report(best, list(pythons))
    return 0 if all(load.ideal_s / seconds["ours"] >= load.goal for load, seconds in best.items()) else 1


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", help="a Python that has bespokelabs-curator installed")
    parser.add_argument("--realtime", action="store_true", help="server and contenders go before all other processes")
    parser.add_argument("--repeats", type=int, default=2, help="rounds; the best of each contender counts")
    parser.add_argument("--contender", choices=["ours", "openai", "curator"], help="run this one alone, against --url")
    parser.add_argument("--url")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=100)
    return parser.parse_args()


def measure(load: Load, pythons: dict[str, str], repeats: int) -> dict[str, float]:
    """Seconds of each contender, the best of `repeats` rounds."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, python in pythons.items():
            try:
                seconds, cpu_ms = run_contender(name, python, load)
            except subprocess.CalledProcessError as error:
                if name == "ours":
                    raise
                print(f"{name} failed and is left out: {error}", file=sys.stderr)
                continue
            best[name] = min(seconds, best.get(name, seconds))
            share = load.ideal_s / seconds
            print(
                f"{load.n_calls:>6} calls  {load.in_flight:>4} in flight  {name:<8} {seconds:7.2f} s  "
                f"{share:5.2f} of ideal  {cpu_ms:5.2f} ms CPU a call",
                flush=True,
            )
    return best


def run_contender(name: str, python: str, load: Load) -> tuple[float, float]:
    with serve(load.latency_s) as url:
        command = [python, str(Path(__file__).resolve()), "--contender", name, "--url", url]
        command += ["--calls", str(load.n_calls), "--in-flight", str(load.in_flight)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    return result["seconds"], result["cpu_s"] / load.n_calls * 1000


@contextmanager
def serve(latency_s: float) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.loopback", "--latency", str(latency_s), "--tokens", "300"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    finally:
        server.kill()
        server.wait()


def report(best: dict[Load, dict[str, float]], names: list[str]) -> None:
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
        "holds": all(ours[load.in_flight] >= load.goal for load in best),
    }
    print(json.dumps(result))


def run_ours(url: str, n_calls: int, in_flight: int) -> dict[str, float]:
    sys.path.insert(0, str(ROOT))
    from drp.chat.base import Message
    from drp.chat.factory import open_client
    from drp.chat.store import ReplyStore
    from drp.settings import Prices, TeacherSettings

    settings = TeacherSettings(
        provider="openai", model="m", base_url=url, concurrency=in_flight, prices=Prices(input=2.5, output=10)
    )

    async def ask_all(path: Path) -> dict[str, float]:
        client = open_client(settings, ReplyStore(path))
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(client.complete([Message("user", f"{i} {QUESTION}")]) for i in range(n_calls)))
        result = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
        await client.close()
        return result

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(ask_all(Path(folder) / "replies.jsonl"))


def run_openai(url: str, n_calls: int, in_flight: int) -> dict[str, float]:
    import httpx2
    import openai

    async def ask_all() -> dict[str, float]:
        window = asyncio.Semaphore(in_flight)
        http = openai.DefaultAioHttpClient(limits=httpx2.Limits(max_connections=in_flight))
        client = openai.AsyncOpenAI(api_key="none", base_url=url, http_client=http)

        async def ask(i: int) -> None:
            async with window:
                await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": f"{i} {QUESTION}"}], max_tokens=4096, temperature=0
                )

        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(ask(i) for i in range(n_calls)))
        result = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
        await client.close()
        return result

    return asyncio.run(ask_all())


def run_curator(url: str, n_calls: int, in_flight: int) -> dict[str, float]:
    folder = tempfile.mkdtemp()
    os.environ |= {"CURATOR_CACHE_DIR": folder, "TELEMETRY_ENABLED": "false", "OPENAI_API_KEY": "none"}
    os.environ |= {"CURATOR_VIEWER": "0", "CURATOR_DISABLE_RICH_DISPLAY": "1"}
    import tiktoken
    from bespokelabs import curator

    # curator loads a vocabulary from the net to count tokens; bytes will do, so that it runs on a machine without one.
    tiktoken.get_encoding = lambda name: tiktoken.Encoding(
        name, pat_str=r"\S+|\s+", mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={}
    )

    class Asker(curator.LLM):  # type: ignore[misc]
        def prompt(self, row: dict[str, str]) -> str:
            return row["question"]

        def parse(self, row: dict[str, str], response: str) -> dict[str, str]:  # noqa: ARG002
            return {"reply": response}

    asker = Asker(
        model_name="gpt-4o",
        backend="openai",
        backend_params={
            "base_url": url,
            "max_requests_per_minute": 10**6,
            "max_tokens_per_minute": 10**9,
            "max_concurrent_requests": in_flight,
        },
    )
    rows = [{"question": f"{i} {QUESTION}"} for i in range(n_calls)]
    started, cpu = time.perf_counter(), time.process_time()
    asker(rows)
    return {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}


CONTENDERS = {"ours": run_ours, "openai": run_openai, "curator": run_curator}

if __name__ == "__main__":
    raise SystemExit(main())
