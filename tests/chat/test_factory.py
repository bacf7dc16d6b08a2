"""What is checked before a client sends anything: key, price, address."""

from pathlib import Path

import pytest

from drp.chat.factory import open_client
from drp.chat.store import ReplyStore
from drp.chat.wire import Reply
from drp.config.sections import TeacherSettings
from drp.errors import UserError
from tests.chat.conftest import ask, echo, open_teacher
from tests.loopback import LoopbackServer


def test_a_cap_without_a_price_is_refused(path: Path) -> None:
    settings = TeacherSettings(provider="openai", model="m", base_url="http://127.0.0.1:1/v1", max_cost_usd=1)
    with ReplyStore(path) as store, pytest.raises(UserError, match=r"teacher\.prices"):
        open_client(settings, store, environ={})


def test_an_unknown_price_is_reported_and_the_dollars_are_none(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with LoopbackServer(echo) as server:
        [reply] = ask(lambda: open_teacher(server, path, prices=None), ["hello"])
    assert "price of `teacher-1` is unknown" in capsys.readouterr().err
    assert isinstance(reply, Reply)
    assert reply.usage.cost_usd is None
    with ReplyStore(path) as store:
        assert store.paid
        assert (store.paid.calls, store.paid.cost_usd) == (1, None)


@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        ({"provider": "openai", "model": "gpt-4o"}, "OPENAI_API_KEY"),
        ({"provider": "gemini", "model": "gemini-2.5-flash"}, "GEMINI_API_KEY or GOOGLE_API_KEY"),
        ({"provider": "openai", "model": "gpt-4o", "api_key_env": "MY_KEY"}, "MY_KEY"),
        ({"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1", "api_key_env": "MY_KEY"}, "MY_KEY"),
    ],
)
def test_a_missing_key_names_its_variable(path: Path, settings: dict[str, str], variables: str) -> None:
    with ReplyStore(path) as store, pytest.raises(UserError, match=variables):
        open_client(TeacherSettings(**settings), store, environ={"OTHER": "x"})


def test_a_key_with_a_line_break_inside_is_refused_without_being_shown(path: Path) -> None:
    with ReplyStore(path) as store, pytest.raises(UserError, match="OPENAI_API_KEY") as caught:
        open_client(TeacherSettings(provider="openai", model="gpt-4o"), store, environ={"OPENAI_API_KEY": "sk-a\nsk-b"})
    assert "sk-a" not in str(caught.value)


def test_an_address_without_a_scheme_is_refused(path: Path) -> None:
    settings = TeacherSettings(provider="openai", model="m", base_url="127.0.0.1:8000/v1")
    with ReplyStore(path) as store, pytest.raises(UserError, match=r"teacher\.base_url"):
        open_client(settings, store, environ={})
