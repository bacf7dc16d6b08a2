"""The page's viewer in a real Chromium."""

from pathlib import Path

import pytest

from drp.runs.stage import RunOptions
from drp.stages import report
from tests.report.browser import Page, choose, in_browser, requires_chromium, until
from tests.report.run_fixture import make_config

pytestmark = requires_chromium


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
        await choose(page, "search", "")
        await choose(page, "filter", "all")
        await choose(page, "action", "4")
        merged = await page.evaluate(count)
        await choose(page, "skill", str(await page.evaluate("traces.skills.indexOf('Hedging')")))
        assert (merged.split()[0], await page.evaluate(count)) == ("24", f"0 of {merged.split()[-1]}")
        await choose(page, "action", "2")
        assert (await page.evaluate(count)).startswith("8 of ")
        await choose(page, "search", "no such words")
        assert "No matches" in await page.evaluate("document.getElementById('trace').textContent")

    in_browser(html, test)


def test_search_covers_the_texts_and_highlights_matches(html: Path) -> None:
    async def test(page: Page) -> None:
        count = "document.getElementById('count').textContent"
        for query, number in (("lost a bag", 8), ('"could also have LOST a bag"', 8), ('"lost a bag, but not"', 8)):
            await choose(page, "search", query)
            await until(page, f"{count}.startsWith('{number} of ')")
        await until(page, "CSS.highlights.get('found')?.size === 1")
        assert await page.evaluate("[...CSS.highlights.get('found')].map(String)") == ["lost a bag, but not"]
        await choose(page, "search", '"a bag lost"')
        await until(page, f"{count}.startsWith('0 of ')")
        await choose(page, "search", "<script>window.owned")
        await until(page, f"!{count}.startsWith('0 of ')")

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


def test_the_list_can_be_used_by_keyboard(html: Path) -> None:
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


@pytest.mark.usefixtures("without_figures")
def test_a_page_includes_at_most_max_traces(run_dir: Path, tmp_path: Path) -> None:
    path = report.run(make_config(run_dir, report={"max_traces": 5}), RunOptions(output=tmp_path))

    async def test(page: Page) -> None:
        await choose(page, "filter", "pruned")
        assert (await page.evaluate("document.getElementById('count').textContent")).startswith("5 of ")
        assert "19 traces beyond" in await page.evaluate("document.getElementById('traces').textContent")

    in_browser(path, test)
