"""A page with as many traces as the paper trained on, in a real Chromium."""

import asyncio
from pathlib import Path

import pytest

from drp.stages import report
from tests.report.browser import READY, Page, choose, open_page, requires_chromium
from tests.report.run_fixture import make_config, write_long_traces

pytestmark = requires_chromium


FIND = """(async (query) => {
  const search = document.getElementById("search"), count = document.getElementById("count");
  search.value = query;
  search.dispatchEvent(new Event("input"));
  do { await new Promise((resolve) => setTimeout(resolve, 100)); } while (count.textContent.includes("searching"));
  return count.textContent;
})"""


LIMIT_S = 4
"""Four times what opening and searching take on an idle machine. A page that draws every trace takes far longer."""


async def processor_time(page: Page) -> float:
    """Processor seconds of the page's thread, which do not depend on the load of the machine."""
    metrics = (await page.call("Performance.getMetrics"))["metrics"]
    return float({metric["name"]: metric["value"] for metric in metrics}["TaskDuration"])


@pytest.fixture(scope="module")
def long_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_long_traces(tmp_path_factory.mktemp("long") / "run", 8000)
    return report.run(make_config(root))


def test_8000_traces_of_a_thousand_tokens_open_filter_and_search_without_a_wait(long_page: Path) -> None:
    async def run() -> None:
        async with open_page() as page:
            await page.call("Performance.enable", timeDomain="threadTicks")
            await page.visit(long_page, READY)
            assert await processor_time(page) < LIMIT_S
            assert await page.evaluate("document.querySelectorAll('.entry').length") < 60
            for control, value in (("filter", "pruned"), ("order", "saved"), ("skill", "0"), ("action", "2")):
                assert await choose(page, control, value) < 1000 * LIMIT_S
            await choose(page, "skill", "")
            started = await processor_time(page)
            assert await page.evaluate(f"{FIND}('\"number 4711 ends\"')") == "1 of 8,000"
            found = await processor_time(page)
            assert found - started < LIMIT_S
            assert (await page.evaluate(f"{FIND}('maya')")).endswith(" of 8,000")
            assert await processor_time(page) - found < LIMIT_S
            assert page.errors == []

    asyncio.run(run())


def test_8000_traces_make_a_page_below_40_mb(long_page: Path) -> None:
    assert long_page.stat().st_size < 40e6
