"""The price of a call in US dollars: from `teacher.prices`, else from the price list of the package genai-prices."""

import importlib.metadata
from collections.abc import Callable

from drp.config.sections import TeacherSettings
from drp.credentials import Address

Price = Callable[[int, int], float]
"""Takes the input tokens and the output tokens of one call and returns US dollars."""


def find_price(settings: TeacherSettings) -> Price | None:
    """The price of the model in the configured mode; None if it is unknown, which is not the same as free."""
    if settings.provider == "rules":
        return lambda _n_input, _n_output: 0.0
    try:
        price = _configured_price(settings) if settings.prices else _listed_price(settings)
    except (LookupError, ValueError):
        return None
    if settings.mode == "direct":
        return price
    share = 1 - settings.batch.discount
    return lambda n_input, n_output: share * price(n_input, n_output)


def explain_unknown_price(settings: TeacherSettings) -> str:
    """Why `find_price` returns None; a clause for a message."""
    try:
        _listed_price(settings)
        reason = ""
    except (LookupError, ValueError) as error:
        reason = f" (genai-prices {importlib.metadata.version('genai-prices')}: {error})"
    return f"the price of `{settings.model}` is unknown{reason}"


def _configured_price(settings: TeacherSettings) -> Price:
    prices = settings.prices
    assert prices
    return lambda n_input, n_output: (n_input * prices.input + n_output * prices.output) / 1e6


def _listed_price(settings: TeacherSettings) -> Price:
    """The price in the list. For another server (`teacher.base_url`) only if the list has that server's address: a
    model that is served locally does not cost what a model of the same name costs elsewhere.

    Raises LookupError or ValueError if the list does not have it.
    """
    from genai_prices import Usage, calc_price

    model, address = settings.model or "", Address.parse(settings.base_url or "").identity
    provider = {"openai": "openai", "gemini": "google"}[settings.provider]

    def price(n_input: int, n_output: int) -> float:
        usage = Usage(input_tokens=n_input, output_tokens=n_output)
        if address:
            return float(calc_price(usage, model, provider_api_url=address).total_price)
        return float(calc_price(usage, model, provider_id=provider).total_price)

    price(1000, 1000)
    return price
