"""How long decompose and prune take under a provider's tokens per minute, by what requests allow: expected or maximum.

    drp import real.jsonl --output real/traces.jsonl --answer reference
    python scripts/bench/limits.py real/traces.jsonl

The project's own client runs against a simulated provider on a simulated clock. The provider counts input tokens and a
request's output limit against its limit, as OpenAI does, answers 429 over it, and tells its state in headers. Requests
are those of the LLM teacher for the given traces, drawn until there are `--traces` of them; replies have the expected
length times a random factor. Prints a table and, as its last line, one JSON object; exit status 0 where the goal holds.
"""

import argparse
import asyncio
import json
import random
import selectors
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from drp.chat.client import DirectClient
from drp.chat.limits import RetryPolicy
from drp.chat.store import ReplyStore
from drp.chat.wire import Message, TransientError, WireReply, estimate_tokens
from drp.config.sections import TeacherSettings
from drp.records import Decomposition, Trace, Usage
from drp.runs.jsonl import read_records
from drp.teachers.llm.teacher import LLMTeacher
from drp.teachers.rules.segmentation import segment

CLAIM = (
    "requests that allow 1.5 times the expected reply finish in at most a third of the time, with few asked for twice"
)
GOAL = {"time": 1 / 3, "asked_twice": 0.05}
Planned = tuple[str, int, int]
"""A prompt, the expected length of its reply, and its real length, in tokens."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Its clock is advanced instead of waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._simulated = loop

    def select(self, timeout: float | None = None) -> Any:
        self._simulated.now += timeout or 0.0
        return super().select(0)


class Provider:
    """A Wire to a provider with a limit of `per_minute` tokens."""

    address = "https://simulated"

    def __init__(self, loop: SimulatedLoop, per_minute: int, maximum: int, lengths: dict[str, int]) -> None:
        self._loop, self._per_minute, self._maximum, self._lengths = loop, per_minute, maximum, lengths
        self._level, self._filled = float(per_minute), 0.0
        self.counts: Counter[str] = Counter()

    async def send(self, messages: Sequence[Message], max_tokens: int | None = None) -> WireReply:
        self._level = min(self._per_minute, self._level + (self._loop.now - self._filled) * self._per_minute / 60)
        self._filled = self._loop.now
        n_input, limit = estimate_tokens(messages, 4), max_tokens or self._maximum
        if n_input + limit > self._level:
            self.counts["429"] += 1
            wait_s = (n_input + limit - self._level) / self._per_minute * 60
            raise TransientError("rate limit", "simulated", self._headers(), wait_s)
        self._level -= n_input + limit
        headers = self._headers()
        n_output = min(limit, self._lengths[messages[0].content])
        await asyncio.sleep(1 + n_output / 80)
        self.counts["sent"] += 1
        self.counts["tokens"] += n_input + n_output
        self.counts["cut short"] += n_output == limit < self._maximum
        finish = "length" if n_output == limit else "stop"
        return WireReply("x", finish, n_input, n_output, headers)  # type: ignore[arg-type]

    def _headers(self) -> dict[str, str]:
        reset_s = (self._per_minute - self._level) / self._per_minute * 60
        return {
            "x-ratelimit-limit-tokens": str(self._per_minute),
            "x-ratelimit-remaining-tokens": str(int(self._level)),
            "x-ratelimit-reset-tokens": f"{reset_s:.3f}s",
        }

    async def close(self) -> None:
        """Nothing is held."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", type=Path, nargs="+", help="traces.jsonl, as `drp import` writes it")
    parser.add_argument("--format", choices=["text", "spans"], default="text")
    parser.add_argument("--traces-in-all", type=int, default=19_473, metavar="N", help="the paper's 7B run: 19,473")
    parser.add_argument("--max-output-tokens", type=int, default=16_384, help="the paper's 7B run: 16384")
    parser.add_argument("--tokens-per-minute", type=int, default=450_000)
    parser.add_argument("--spread", type=float, default=0.25, help="standard deviation of the logarithm of the lengths")
    args = parser.parse_args()
    fields = {"provider": "openai", "model": "gpt-4o", "format": args.format, "concurrency": 256, "max_retries": 1000}
    settings = TeacherSettings(**fields, max_output_tokens=args.max_output_tokens)
    requests = plan(args.traces, settings, args.traces_in_all, args.spread)
    print(f"{len(requests):,} requests; {args.tokens_per_minute:,} tokens a minute; format {args.format}")
    hours, twice = {}, {}
    for name, headroom in (("maximum", None), ("expected", settings.reply_headroom)):
        changed = settings.model_copy(update={"reply_headroom": headroom})
        hours[name], counts = simulate(requests, changed, args.tokens_per_minute)
        twice[name] = counts["cut short"] / len(requests)
        print(f"{name:>9}: {hours[name]:6.2f} h  {counts['tokens']:,} tokens  {twice[name]:.1%} asked for twice  "
              f"{counts['429']:,} rate limits")  # fmt: skip
    ratio = hours["expected"] / hours["maximum"]
    result = {
        "claim": CLAIM,
        "ours": {"hours": round(hours["expected"], 2), "asked_twice": round(twice["expected"], 4)},
        "peer": {"hours": round(hours["maximum"], 2)},
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "holds": ratio <= GOAL["time"] and twice["expected"] <= GOAL["asked_twice"],
    }
    print(json.dumps(result))
    return 0 if result["holds"] else 1


def plan(paths: Sequence[Path], settings: TeacherSettings, n_traces: int, spread: float) -> list[Planned]:
    """The requests for traces drawn from the given ones; each has a prompt of its own."""
    teacher, draw = LLMTeacher(None, settings, "skill"), random.Random(0)
    planned = []
    for path in paths:
        for trace in read_records(path, Trace, "raise"):
            if trace.thinking.strip():
                steps = segment(trace.thinking, "skill")
                source = Decomposition(**dict(trace), steps=steps, teacher="t", usage=Usage())
                planned.append(teacher.plan_decompose(trace) + teacher.plan_prune(source))
    requests: list[Planned] = []
    for number in range(n_traces):
        for part, request in enumerate(planned[number % len(planned)]):
            factor = draw.lognormvariate(0, spread)
            requests.append(
                (f"{number} {part} {request.prompt}", request.output_tokens, round(factor * request.output_tokens))
            )
    return requests


def simulate(requests: Sequence[Planned], settings: TeacherSettings, per_minute: int) -> tuple[float, Counter[str]]:
    """Hours until the last reply, and what the provider counted."""
    lengths = {prompt: length for prompt, _, length in requests}
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SimulatedLoop)
        provider = Provider(loop, per_minute, settings.max_output_tokens, lengths)
        store = ReplyStore(Path(folder) / "replies.jsonl").open()
        client = DirectClient(
            settings, wire=provider, store=store, price=None, retry=RetryPolicy(jitter_s=0), clock=loop.time
        )
        runner.run(_ask_all(client, requests))
        return loop.now / 3600, provider.counts


async def _ask_all(client: DirectClient, requests: Sequence[Planned]) -> None:
    waiting = iter(requests)

    async def work() -> None:
        for prompt, expected, _ in waiting:
            await client.complete([Message("user", prompt)], expected_tokens=expected)

    await asyncio.gather(*(work() for _ in range(512)))
    await client.close()


if __name__ == "__main__":
    raise SystemExit(main())
