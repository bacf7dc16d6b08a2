"""The page in a real Chromium; skipped where there is none."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from drp.stage import RunOptions
from drp.stages import report
from tests.reporting.browser import CHROMIUM, Page, open_page
from tests.reporting.run_fixture import build_run, make_config

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

READY = "document.getElementById('viewer')?.dataset.ready === 'true' && document.readyState === 'complete'"
CHOOSE = """(([id, value]) => {
  const control = document.getElementById(id), started = performance.now();
  control.value = value;
  control.dispatchEvent(new Event(id === "search" ? "input" : "change"));
  return performance.now() - started;
})"""


def in_browser(path: Path, test: Callable[[Page], Awaitable[None]], width: int = 1280) -> None:
    async def run() -> None:
        async with open_page() as page:
            await page.look(width, 900)
            await page.visit(path, READY)
            await test(page)
            assert page.errors == []

    asyncio.run(run())


async def choose(page: Page, id: str, value: str) -> Any:
    milliseconds = await page.evaluate(f"{CHOOSE}({[id, value]})")
    await asyncio.sleep(0.2)
    return milliseconds


async def until(page: Page, condition: str) -> None:
    for _ in range(200):
        if await page.evaluate(condition):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never true: {condition}")


@pytest.fixture(scope="module")
def html(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.run(make_config(run_dir), RunOptions(output=tmp_path_factory.mktemp("report")))


def test_filters_search_and_order_work(html: Path) -> None:
    async def test(page: Page) -> None:
        entries = "[...document.querySelectorAll('.entry')]"
        count = "document.getElementById('count').textContent"
        await choose(page, "filter", "failed")
        assert await page.evaluate(f"{entries}.map(e => e.querySelector('.name').textContent)") == ["gsm8k-train-900#0"]
        await until(page, "document.querySelector('#trace pre')?.textContent.includes('Step 1: KEEP')")
        await choose(page, "filter", "lost")
        await until(page, "document.querySelectorAll('#trace .columns > div').length === 2")
        headings = await page.evaluate("[...document.querySelectorAll('#trace h4')].map(e => e.textContent)")
        assert [heading.split(",")[0] for heading in headings] == ["Base", "+DRP"]
        await choose(page, "filter", "pruned")
        assert (await page.evaluate(count)).startswith("24 of ")
        await choose(page, "order", "saved")
        saved = await page.evaluate(f"{entries}.map(e => e.querySelector('.top').lastChild.textContent)")
        assert all(text.startswith("\u2212") for text in saved)
        await choose(page, "search", "GSM8K-train-11")
        assert (await page.evaluate(count)).startswith("1 of ")
        await until(page, "document.querySelector('#trace h3').textContent === 'gsm8k-train-11#0'")
        await choose(page, "search", "no such words")
        assert "Nothing matches" in await page.evaluate("document.getElementById('trace').textContent")

    in_browser(html, test)


def test_steps_show_their_skill_and_deleted_text_is_struck_through(html: Path) -> None:
    async def test(page: Page) -> None:
        await choose(page, "search", "gsm8k-train-1#0")
        await until(page, "document.querySelector('#trace h3')?.textContent === 'gsm8k-train-1#0'")
        struck = await page.evaluate("[...document.querySelectorAll('#trace del')].map(e => e.textContent)")
        assert any(text.startswith("Wait, let me check") for text in struck)
        assert await page.evaluate("getComputedStyle(document.querySelector('#trace del')).textDecorationLine") == (
            "line-through"
        )
        colors = "new Set([...document.querySelectorAll('#trace .step')].map(e => getComputedStyle(e).borderLeftColor))"
        assert await page.evaluate(f"{colors}.size") >= 5

    in_browser(html, test)


def test_hostile_text_runs_nothing_and_is_shown_as_it_is(html: Path) -> None:
    async def test(page: Page) -> None:
        for filter_, id in (("pruned", "gsm8k-train-3#0"), ("failed", "gsm8k-train-900#0"), ("lost", "gsm8k")):
            await choose(page, "filter", filter_)
            await choose(page, "search", id)
            await until(page, "document.getElementById('trace').textContent.includes('<script>window.owned = 1')")
        assert await page.evaluate("typeof window.owned") == "undefined"
        assert await page.evaluate("document.querySelectorAll('img, #trace script').length") == 0
        assert page.requests == [html.resolve().as_uri()]

    in_browser(html, test)


def test_the_list_goes_by_the_keyboard(html: Path) -> None:
    async def test(page: Page) -> None:
        key = "document.getElementById('list').dispatchEvent(new KeyboardEvent('keydown', {key: '%s'}))"
        await page.evaluate(key % "ArrowDown")
        await until(page, "document.querySelector('#trace h3')?.textContent === 'gsm8k-train-1#0'")
        await page.evaluate(key % "End")
        await until(page, "document.querySelector('#trace h3')?.textContent === 'gsm8k-train-900#0'")
        assert await page.evaluate("document.querySelector('[aria-selected=true] .name').textContent") == (
            "gsm8k-train-900#0"
        )

    in_browser(html, test)


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_sticks_out_of_any_screen(html: Path, width: int) -> None:
    async def test(page: Page) -> None:
        assert await page.evaluate("document.documentElement.scrollWidth") <= width

    in_browser(html, test, width)


def test_dark_and_light_follow_the_reader(html: Path) -> None:
    async def test(page: Page) -> None:
        background = "getComputedStyle(document.body).backgroundColor"
        light = await page.evaluate(background)
        await page.look(1280, 900, dark=True)
        assert await page.evaluate(background) != light
        assert await page.evaluate("getComputedStyle(document.querySelector('.drawing text')).fill") != "rgb(0, 0, 0)"

    in_browser(html, test)


def test_8000_traces_open_and_filter_in_under_a_second(tmp_path: Path) -> None:
    root = build_run(tmp_path / "run", n_traces=8000, models=("base",))
    path = report.run(make_config(root))

    async def run() -> None:
        async with open_page() as page:
            # The time of the page's thread on the processor: a busy machine does not make the page slower.
            await page.call("Performance.enable", timeDomain="threadTicks")
            await page.visit(path, READY)
            metrics = (await page.call("Performance.getMetrics"))["metrics"]
            opened = {metric["name"]: metric["value"] for metric in metrics}["TaskDuration"]
            assert opened < 1
            assert await page.evaluate("document.querySelectorAll('.entry').length") < 60
            for control, value in (("filter", "pruned"), ("order", "saved"), ("skill", "0"), ("search", "maya shells")):
                assert await choose(page, control, value) < 1000
            assert "8,001" in await page.evaluate("document.getElementById('count').textContent")

    asyncio.run(run())
