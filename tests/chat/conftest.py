"""Clients of both providers against the loopback teacher."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from drp.chat.client import DirectClient
from drp.chat.factory import open_client
from drp.chat.limits import RetryPolicy
from drp.chat.store import ReplyStore
from drp.chat.wire import Message, Reply
from drp.config.sections import Prices, TeacherSettings
from tests.loopback import LoopbackServer

KEY = "sk-loopback-0123456789"
QUICK = RetryPolicy(first_s=0.01, longest_s=0.05, jitter_s=0.01, listing_s=0.2)
PRICES = Prices(input=2.5, output=10)

Outcome = Reply | BaseException


def open_teacher(server: LoopbackServer, path: Path, provider: str = "openai", **changes: Any) -> DirectClient:
    """A client of the loopback teacher that keeps its replies at `path`."""
    retry = changes.pop("retry", QUICK)
    url = server.openai_url if provider == "openai" else server.gemini_url
    fields = {"model": "teacher-1", "base_url": url, "prices": PRICES, "timeout_s": 20, "concurrency": 8, **changes}
    settings = TeacherSettings(provider=provider, **fields)
    environ = {"OPENAI_API_KEY": KEY, "GEMINI_API_KEY": KEY}
    return open_client(settings, ReplyStore(path), environ=environ, retry=retry)


def ask(open_it: Callable[[], DirectClient], questions: Sequence[str]) -> list[Outcome]:
    """Ask all at once; replies and errors in the questions' order."""

    async def run() -> list[Outcome]:
        client = open_it()
        try:
            calls = (client.complete([Message("user", question)]) for question in questions)
            return await asyncio.gather(*calls, return_exceptions=True)
        finally:
            await client.close()

    return asyncio.run(run())


def echo(messages: list[tuple[str, str]]) -> str:
    return f"you said {messages[-1][1]}"


def read_store(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ask_one(server: LoopbackServer, path: Path, provider: str, **changes: Any) -> Outcome:
    return ask(lambda: open_teacher(server, path, provider, **changes), ["six times seven?"])[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replies.jsonl"


@pytest.fixture(params=["openai", "gemini"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)
