"""Stored replies are found again without a key or a network."""

import asyncio
from pathlib import Path

import pytest

from drp.chat.factory import open_stored
from drp.chat.store import ReplyStore
from drp.chat.wire import Message, Reply
from drp.config.sections import TeacherSettings
from drp.errors import RecordError
from tests.chat.conftest import PRICES, ask, echo, open_teacher
from tests.loopback import LoopbackServer


def settings_for(server: LoopbackServer, provider: str) -> TeacherSettings:
    url = server.openai_url if provider == "openai" else server.gemini_url
    return TeacherSettings(provider=provider, model="teacher-1", base_url=url, prices=PRICES)


def look_up(settings: TeacherSettings, path: Path, question: str) -> Reply:
    async def run() -> Reply:
        client = open_stored(settings, ReplyStore(path))
        try:
            return await client.complete([Message("user", question)])
        finally:
            await client.close()

    return asyncio.run(run())


def test_a_stored_reply_is_found_with_no_key_and_no_server(
    path: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LoopbackServer(echo) as server:
        [paid] = ask(lambda: open_teacher(server, path, provider), ["six times seven?"])
    for variable in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    assert look_up(settings_for(server, provider), path, "six times seven?") == paid


def test_a_missing_reply_fails_its_record_and_sends_no_request(path: Path, provider: str) -> None:
    with LoopbackServer(echo) as server:
        with pytest.raises(RecordError) as failed:
            look_up(settings_for(server, provider), path, "and then?")
        assert server.requests == []
    assert failed.value.reason == "no stored reply"
