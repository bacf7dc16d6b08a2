"""Run the loopback teacher in a process of its own: `python -m tests.loopback --port 8001 --latency 0.5`.

Its first line on stdout is the port, for the program that started it.
"""

import argparse
import asyncio

from tests.loopback.server import LoopbackServer


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.loopback", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--latency", type=float, default=0.5, help="seconds before each answer")
    parser.add_argument("--tokens", type=int, default=300, help="length of each answer, in tokens of four characters")
    args = parser.parse_args()
    text = ("So 12 + 30 = 42. " * (args.tokens * 4 // 16))[: args.tokens * 4]
    server = LoopbackServer(lambda messages: text, latency_s=args.latency, record=False, port=args.port)
    task = asyncio.create_task(server.serve())
    while not server.ready.is_set():
        await asyncio.sleep(0.01)
    print(server.port, flush=True)
    await task


asyncio.run(main())
