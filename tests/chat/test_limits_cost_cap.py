"""The cost cap over a real connection, with few and with many calls in flight."""

import asyncio
from pathlib import Path

import pytest

from drp.chat.limits import CostCap, CostCapReached
from drp.chat.prices import find_price
from drp.chat.store import ReplyStore, StoredReply
from drp.chat.wire import Reply, WireReply
from drp.config.sections import TeacherSettings
from tests.chat.conftest import PRICES, ask, open_teacher
from tests.loopback import LoopbackServer

QUESTIONS = [f"question {i:04}" for i in range(100)]
CAP_USD = 0.2


def paid_by(server: LoopbackServer) -> float:
    """What the provider charges: 3 tokens in, 300 out, for each complete reply."""
    return server.n_completed * (3 * PRICES.input + 300 * PRICES.output) / 1e6


@pytest.mark.parametrize("concurrency", [1, 10, 100])
def test_spending_stops_before_the_cap_and_continues_when_it_is_raised(path: Path, concurrency: int) -> None:
    def run(cap_usd: float) -> list[object]:
        limits = {"concurrency": concurrency, "max_cost_usd": cap_usd, "max_output_tokens": 400}
        return list(ask(lambda: open_teacher(server, path, "openai", **limits), QUESTIONS))

    with LoopbackServer(lambda messages: "word" * 300, latency_s=0.005) as server:
        results = run(CAP_USD)
        n_first = server.n_completed
        assert any(isinstance(result, CostCapReached) for result in results)
        assert sum(isinstance(result, Reply) for result in results) == n_first
        worst_of_one = 0.0041
        assert CAP_USD - worst_of_one <= paid_by(server) <= CAP_USD
        assert all(isinstance(result, CostCapReached | Reply) for result in run(CAP_USD))
        assert server.n_completed == n_first, "what earlier runs spent counts"
        assert all(isinstance(result, Reply) for result in run(1.0))
        assert server.n_completed == len(QUESTIONS)


def test_replies_whose_price_was_unknown_count_once_it_is_known(path: Path) -> None:
    with LoopbackServer(lambda messages: "word" * 300) as server:
        ask(lambda: open_teacher(server, path, "openai", prices=None, max_output_tokens=400), QUESTIONS[:30])
        results = ask(lambda: open_teacher(server, path, "openai", max_cost_usd=0.15, max_output_tokens=400), QUESTIONS)
    assert 0.15 - 0.0041 <= paid_by(server) <= 0.15
    assert any(isinstance(result, CostCapReached) for result in results)


def test_the_message_says_what_to_do(path: Path) -> None:
    settings = TeacherSettings(provider="openai", model="m", prices=PRICES, max_cost_usd=1)
    price = find_price(settings)

    async def run() -> None:
        with ReplyStore(path) as store:
            store.append(StoredReply.of("a" * 64, WireReply("42", "stop", 0, 99_000), settings, price))
            async with CostCap(settings, store, price).reserve(0.02):
                pass

    with pytest.raises(CostCapReached, match=r"teacher\.max_cost_usd is 1; \$0\.9900 is spent"):
        asyncio.run(run())
