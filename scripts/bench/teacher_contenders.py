"""The contenders of `teacher.py`, each in a fresh process; and the stages of `drp`, the whole path that a user has.

    python scripts/bench/teacher_contenders.py ours --url http://127.0.0.1:8001/v1 --calls 2000 --in-flight 100

Prints one JSON object: seconds and CPU seconds from the first call on, for the stages one of each.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
QUESTION = "Split this reasoning into steps. " + "We have 3 apples and 4 pears, so 3 + 4 = 7 fruit. " * 60


def run_ours(url: str, n_calls: int, in_flight: int) -> dict[str, float]:
    from drp.chat.factory import open_client
    from drp.chat.store import ReplyStore
    from drp.chat.wire import Message
    from drp.config.sections import Prices, TeacherSettings

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


def run_stages(url: str, n_calls: int, in_flight: int) -> dict[str, dict[str, float]]:
    """Seconds from the first call to the last record written: replies read, checked, and records on disk."""
    from memory import write_run

    from drp.config.loading import load_config
    from drp.stages import decompose, prune

    overrides = [f"teacher.concurrency={in_flight}", "teacher.format=text"]
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(write_run(Path(folder), url, n_calls), overrides)
        return {
            "decompose": time_stage(lambda: decompose.run(config), Path(folder) / "steps.jsonl"),
            "prune": time_stage(lambda: prune.run(config), Path(folder) / "pruned.jsonl"),
        }


def time_stage(run: Callable[[], object], target: Path) -> dict[str, float]:
    from drp.chat.openai import OpenAIWire

    send, first = OpenAIWire.send, list[tuple[float, float]]()

    async def note(wire: Any, messages: Any) -> Any:
        if not first:
            first.append((time.time(), time.process_time()))
        return await send(wire, messages)

    OpenAIWire.send = note  # type: ignore[method-assign]
    try:
        with redirect_stdout(sys.stderr):
            run()
    finally:
        OpenAIWire.send = send  # type: ignore[method-assign]
    [(started, cpu)] = first
    return {"seconds": target.stat().st_mtime - started, "cpu_s": time.process_time() - cpu}


CONTENDERS = {"ours": run_ours, "openai": run_openai, "curator": run_curator, "stages": run_stages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=100)
    args = parser.parse_args()
    print(json.dumps(CONTENDERS[args.contender](args.url, args.calls, args.in_flight)))


if __name__ == "__main__":
    main()
