"""Stored replies, counted for the stage that paid for them, and found again without a key or a network."""

import asyncio
from pathlib import Path

import pytest

from drp.chat.factory import open_stored
from drp.chat.store import ReplyStore, StoredReply
from drp.chat.wire import Message, Reply
from drp.config.sections import TeacherSettings
from drp.errors import RecordError
from drp.records import Usage
from tests.chat.conftest import PRICES, ask, echo, open_teacher, read_store
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


def test_a_missing_reply_fails_its_record_and_asks_nobody(path: Path, provider: str) -> None:
    with LoopbackServer(echo) as server:
        with pytest.raises(RecordError) as failed:
            look_up(settings_for(server, provider), path, "and then?")
        assert server.requests == []
    assert failed.value.reason == "no stored reply"


def test_each_stage_pays_for_its_own(path: Path) -> None:
    def keep(stage: str, name: str, cost_usd: float | None) -> None:
        usage = Usage(calls=1, input_tokens=10, output_tokens=5, cost_usd=cost_usd)
        with ReplyStore(path, stage) as store:
            store.append(
                StoredReply(id=name * 64, provider="p", model="m", text="x", finish_reason="stop", usage=usage, time="")
            )

    keep("decompose", "a", 0.5)
    keep("prune", "b", 0.25)
    keep("decompose", "c", 0.125)
    assert [reply["stage"] for reply in read_store(path)] == ["decompose", "prune", "decompose"]
    with ReplyStore(path, "decompose") as store:
        assert store.paid == Usage(calls=2, input_tokens=20, output_tokens=10, cost_usd=0.625)
        assert store.spent_usd == 0.875
    keep("prune", "d", None)
    with ReplyStore(path, "prune") as store:
        assert (store.paid.calls, store.paid.cost_usd) == (2, None)
    with ReplyStore(path, "judge") as store:
        assert store.paid == Usage(cost_usd=0.0)
