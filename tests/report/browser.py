"""A real Chromium, driven over its DevTools protocol.

async def test(page: Page) -> None:
    assert await page.evaluate("document.title") == "..."

in_browser(path, test)
"""

import asyncio
import base64
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

requires_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="Chromium is not installed (with CI set, this is a failure)"
)

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.errors: list[str] = []
        """Errors on the console, uncaught exceptions and blocked resources."""
        self.requests: list[str] = []
        """The URLs of all requests."""

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            message = json.loads((await self._socket.receive(timeout=120)).data)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:500])
        elif message["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(json.dumps(params["args"])[:500])
        elif message["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif message["method"] == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; of a promise, what it resolves to."""
        found = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def visit(self, path: Path, ready: str = "document.readyState === 'complete'") -> None:
        for domain in ("Runtime", "Log", "Page", "Network"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=path.resolve().as_uri())
        for _ in range(600):
            if await self.evaluate(f"location.protocol === 'file:' && {ready}"):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{path} is not ready: {self.errors}")

    async def look(self, width: int, height: int, dark: bool = False) -> None:
        """Set the screen's size in CSS pixels, and the colour scheme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, path: Path) -> None:
        shot = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """A tab in a browser of its own, which is closed at the end."""
    assert CHROMIUM is not None, "Chromium is not installed: apt-get install chromium"
    profile = Path(tempfile.mkdtemp())
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        port = await _wait_for_port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tabs = await answer.json(content_type=None)
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


async def _wait_for_port(path: Path) -> int:
    for _ in range(600):
        if path.exists() and (lines := path.read_text().split()):
            return int(lines[0])
        await asyncio.sleep(0.1)
    raise TimeoutError("Chromium did not start")


READY = "document.getElementById('viewer')?.dataset.ready === 'true' && document.readyState === 'complete'"
CHOOSE = """(([id, value]) => {
  const control = document.getElementById(id), started = performance.now();
  control.value = value;
  control.dispatchEvent(new Event(id === "search" ? "input" : "change"));
  return performance.now() - started;
})"""


def in_browser(path: Path, test: Callable[[Page], Awaitable[None]], width: int = 1280) -> None:
    """Run `test` on the page at `path`; fail if the page logged an error."""

    async def run() -> None:
        async with open_page() as page:
            await page.look(width, 900)
            await page.visit(path, READY)
            await test(page)
            assert page.errors == []

    asyncio.run(run())


async def choose(page: Page, id: str, value: str) -> Any:
    """Set one of the viewer's controls. Returns the milliseconds that the page's handlers took."""
    milliseconds = await page.evaluate(f"{CHOOSE}({[id, value]})")
    await asyncio.sleep(0.2)
    return milliseconds


async def until(page: Page, condition: str) -> None:
    """Wait for a JavaScript condition, for up to 10 seconds."""
    for _ in range(200):
        if await page.evaluate(condition):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never true: {condition}")
