"""What a call costs, and that an unknown price is not free."""

import re

import pytest

from drp.chat.prices import explain_unknown_price, find_price
from drp.config.sections import Prices, TeacherSettings


def price_of(**settings: object) -> float | None:
    price = find_price(TeacherSettings(**{"provider": "openai", **settings}))
    return price(1_000_000, 100_000) if price else None


def test_known_models_cost_what_the_list_says() -> None:
    assert price_of(model="gpt-4o") == pytest.approx(2.5 + 1.0)
    assert price_of(model="gemini-2.5-flash", provider="gemini") == pytest.approx(0.30 + 0.25)


def test_configured_prices_override_the_list() -> None:
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


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"model": "nobody-knows"}, r"Unable to find model.*'nobody-knows' in openai"),
        ({"model": "gpt-4o", "base_url": "http://me:pw@127.0.0.1:8000/v1"}, r"Unable to find provider.*'http://127"),
    ],
)
def test_the_reason_for_an_unknown_price_is_named(settings: dict[str, str], why: str) -> None:
    reason = explain_unknown_price(TeacherSettings(**{"provider": "openai", **settings}))
    assert re.search(rf"the price of `{settings['model']}` is unknown \(genai-prices [\d.]+: {why}", reason)
