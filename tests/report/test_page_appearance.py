"""The look and the accessibility of the page in a real Chromium: contrast, keyboard, screen sizes, dark mode."""

from pathlib import Path

import pytest

from tests.report.browser import Page, choose, in_browser, requires_chromium, until

pytestmark = requires_chromium


# Every text with less contrast than WCAG's AA asks for.
CONTRAST = """(() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255)).reduce(
    (sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = (element) => {
    const color = element ? rgba(getComputedStyle(element).backgroundColor) : [255, 255, 255, 255];
    return color[3] > 250 ? color : ground(element.parentElement);
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const texts = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!texts || !element.checkVisibility() || element.closest("script, option, noscript")) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const own = rgba(element.closest("svg") ? style.fill : style.color);
    const pair = [light(own), light(ground(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < (size >= 24 || (size >= 18.6 && style.fontWeight >= 600) ? 3 : 4.5))
      found.push([element.className.toString(), element.textContent.trim().slice(0, 30), ratio.toFixed(2)].join(" | "));
  }
  return [...new Set(found)];
})()"""


def test_everything_is_reachable_by_keyboard_and_labelled(html: Path) -> None:
    async def test(page: Page) -> None:
        focusable = "[...document.querySelectorAll('a[href], input, select, summary, [tabindex=\"0\"]')]"
        unnamed = f"{focusable}.filter(e => !(e.textContent.trim() || e.ariaLabel || e.closest('label')?.textContent))"
        assert await page.evaluate(f"{unnamed}.map(e => e.outerHTML)") == []
        assert (
            await page.evaluate("document.getElementById('list').tabIndex + document.getElementById('trace').tabIndex")
            == 0
        )
        assert (
            await page.evaluate("document.documentElement.lang + document.querySelectorAll('main, header, nav').length")
            == "en3"
        )
        assert await page.evaluate("[...document.querySelectorAll('svg, img')].every(e => e.ariaLabel || e.alt)")

    in_browser(html, test)


def test_nothing_moves_while_the_page_loads(html: Path) -> None:
    shifts = """new Promise((resolve) => {
      let sum = 0;
      new PerformanceObserver((list) => { for (const entry of list.getEntries()) sum += entry.value; })
        .observe({ type: "layout-shift", buffered: true });
      setTimeout(() => resolve(sum), 300);
    })"""

    async def test(page: Page) -> None:
        assert await page.evaluate(shifts) < 0.01

    in_browser(html, test)


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(html: Path, dark: bool) -> None:
    """WCAG AA: a contrast of 4.5, or 3 for large text."""

    async def test(page: Page) -> None:
        await page.look(1280, 900, dark)
        await choose(page, "search", "gsm8k-train-1#0")
        await until(page, "document.querySelector('#trace h3')?.textContent === 'gsm8k-train-1#0'")
        assert await page.evaluate(CONTRAST) == []

    in_browser(html, test)


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_the_page_is_no_wider_than_the_screen(html: Path, width: int) -> None:
    async def test(page: Page) -> None:
        assert await page.evaluate("document.documentElement.scrollWidth") <= width

    in_browser(html, test, width)


def test_no_word_of_a_table_is_broken_on_a_phone(html: Path) -> None:
    broken = """[...document.querySelectorAll("th span, thead th:not(:has(span))")].filter((element) => {
      const range = document.createRange();
      range.selectNodeContents(element);
      return /^[a-z]+$/i.test(element.textContent) && range.getClientRects().length > 1;
    }).map((element) => element.textContent)"""

    async def test(page: Page) -> None:
        assert await page.evaluate(broken) == []

    in_browser(html, test, 375)


def test_colors_follow_the_preferred_color_scheme(html: Path) -> None:
    async def test(page: Page) -> None:
        background = "getComputedStyle(document.body).backgroundColor"
        light = await page.evaluate(background)
        await page.look(1280, 900, dark=True)
        assert await page.evaluate(background) != light
        assert await page.evaluate("getComputedStyle(document.querySelector('.drawing text')).fill") != "rgb(0, 0, 0)"

    in_browser(html, test)
