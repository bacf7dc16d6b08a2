"""Run the loopback server in a process of its own: `python -m tests.loopback --port 8001 --latency 0.5`.

Its first line on stdout is the port, for the program that started it.
"""

import argparse
import asyncio
import itertools

from tests.loopback.batches import BatchPlan
from tests.loopback.server import LoopbackServer
from tests.teachers import competent


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.loopback", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--latency", type=float, default=0.5, help="seconds before each answer")
    parser.add_argument("--tokens", type=int, default=300, help="length of each answer, in tokens of four characters")
    parser.add_argument(
        "--competent", action="store_true", help="answer the prompts of `drp.teachers.llm` as a good teacher would"
    )
    parser.add_argument("--polls", type=int, default=3, help="how often a batch is polled before it ends")
    args = parser.parse_args()
    text = ("So 12 + 30 = 42. " * (args.tokens * 4 // 16))[: args.tokens * 4]
    plans = (BatchPlan(n_polls=args.polls) for _ in itertools.count())
    answer = competent.answer if args.competent else lambda _messages: text
    server = LoopbackServer(answer, latency_s=args.latency, record=False, port=args.port, plans=plans)
    task = asyncio.create_task(server.serve())
    while not server.ready.is_set():
        await asyncio.sleep(0.01)
    print(server.port, flush=True)
    await task


asyncio.run(main())
