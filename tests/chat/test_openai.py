"""Replies as other servers than OpenAI's write them, and proxies."""

import json
from typing import Any

import pytest

from drp.chat.openai import OpenAIWire, read_reply
from drp.chat.wire import ApiKey, Message, WireReply
from drp.config.sections import TeacherSettings
from drp.errors import UserError
from tests.chat.conftest import ask_one
from tests.loopback import LoopbackServer


def read(choice: Any, usage: Any = None) -> WireReply:
    body = json.dumps({"choices": [choice], "usage": usage}).encode()
    return read_reply(body, {}, [Message("user", "x" * 40)])


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}, {"type": "text", "text": "2"}, 7]
    answer = read({"message": {"content": parts}, "finish_reason": "stop"})
    assert (answer.text, answer.finish) == ("42", "stop")


@pytest.mark.parametrize("usage", [None, [], {"prompt_tokens": "12", "completion_tokens": None}, {"prompt_tokens": -1}])
def test_a_strange_count_does_not_cost_the_reply(usage: Any) -> None:
    answer = read({"message": {"content": "y" * 80}, "finish_reason": "stop"}, usage)
    assert (answer.input_tokens, answer.output_tokens) == (14, 20)


@pytest.mark.parametrize("choice", [{}, "x", None, {"message": "x"}, {"message": {"content": 3}, "finish_reason": []}])
def test_a_strange_choice_is_an_empty_reply_with_its_body(choice: Any) -> None:
    answer = read(choice)
    assert answer.finish == "empty"
    assert answer.raw
    assert "choices" in answer.raw


def test_requests_go_through_the_environments_proxy(path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    with LoopbackServer() as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        nowhere = LoopbackServer(port=9)  # never started: only the proxy can answer
        ask_one(nowhere, path, "openai", max_retries=0)
    assert [request.headers["Host"] for request in proxy.requests] == ["127.0.0.1:9"]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (None, "https://api.openai.com/v1"),
        ("HTTP://Host:80/v1/", "http://host/v1"),
        ("https://me:pw@host:8000/V1?api-version=1&key=k", "https://host:8000/V1?api-version=1"),
    ],
)
def test_an_address_is_written_as_in_the_stores_of_earlier_versions(url: str | None, address: str) -> None:
    settings = TeacherSettings(provider="openai", model="m", base_url=url)
    assert OpenAIWire(settings, ApiKey("", "")).address == address


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
def test_a_proxy_that_does_not_speak_http_is_named(path: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv(name, "socks5://user:secret@127.0.0.1:1080")
    error = ask_one(LoopbackServer(port=9), path, "openai")
    assert isinstance(error, UserError)
    assert "a socks5 proxy" in str(error)
    assert "secret" not in str(error)


def test_no_proxy_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    from drp.chat.openai import _find_proxy

    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1,.inside")
    assert _find_proxy("https://api.openai.com/v1") == "http://proxy:3128"
    assert _find_proxy("https://box.inside/v1") is None
    assert OpenAIWire(TeacherSettings(provider="openai", model="m"), ApiKey("", "")).address.startswith("https://")
