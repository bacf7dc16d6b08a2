"""What a call costs, and that an unknown price is never free."""

from pathlib import Path

import pytest

from drp.chat.factory import open_client
from drp.chat.limits import find_price
from drp.chat.store import ReplyStore
from drp.config.sections import Prices, TeacherSettings
from drp.errors import UserError


def price_of(**settings: object) -> float | None:
    price = find_price(TeacherSettings(**{"provider": "openai", **settings}))
    return price(1_000_000, 100_000) if price else None


def test_known_models_cost_what_the_list_says() -> None:
    assert price_of(model="gpt-4o") == pytest.approx(2.5 + 1.0)
    assert price_of(model="gemini-2.5-flash", provider="gemini") == pytest.approx(0.30 + 0.25)


def test_the_config_goes_before_the_list() -> None:
    assert price_of(model="gpt-4o", prices=Prices(input=1, output=20)) == pytest.approx(1 + 2)


@pytest.mark.parametrize(
    "settings", [{"model": "nobody-knows"}, {"model": "gpt-4o", "base_url": "http://127.0.0.1:8000/v1"}]
)
def test_an_unknown_price_is_none(settings: dict[str, str]) -> None:
    assert price_of(**settings) is None


def test_another_provider_that_the_list_knows_by_its_address_has_its_own_price() -> None:
    address = "https://generativelanguage.googleapis.com/v1beta/openai/"
    assert price_of(model="gemini-2.5-flash", base_url=address) == pytest.approx(0.30 + 0.25)


def test_the_offline_teacher_costs_nothing() -> None:
    assert price_of(provider="rules") == 0


def test_a_cap_without_a_price_is_refused(path: Path) -> None:
    settings = TeacherSettings(provider="openai", model="m", base_url="http://127.0.0.1:1/v1", max_cost_usd=1)
    with ReplyStore(path) as store, pytest.raises(UserError, match=r"teacher\.prices"):
        open_client(settings, store, environ={})


def test_an_unknown_price_is_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = TeacherSettings(provider="openai", model="m", base_url="http://127.0.0.1:1/v1")
    with ReplyStore(path) as store:
        client = open_client(settings, store, environ={})
    assert "price of `m` is unknown" in capsys.readouterr().err
    assert client.spent_usd is None
    assert client.paid.cost_usd is None


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
