"""The price of a call in US dollars: from `teacher.prices`, else from the price list of the package genai-prices."""

from collections.abc import Callable

from drp.config.sections import TeacherSettings

Price = Callable[[int, int], float]
"""Takes the input tokens and the output tokens of one call and returns US dollars."""


def find_price(settings: TeacherSettings) -> Price | None:
    """The price of the model in the configured mode; None if it is unknown, which is not the same as free."""
    if settings.provider == "rules":
        return lambda _n_input, _n_output: 0.0
    price = _configured_price(settings) if settings.prices else _listed_price(settings)
    if price is None or settings.mode == "direct":
        return price
    direct, share = price, 1 - settings.batch.discount
    return lambda n_input, n_output: share * direct(n_input, n_output)


def _configured_price(settings: TeacherSettings) -> Price:
    prices = settings.prices
    assert prices
    return lambda n_input, n_output: (n_input * prices.input + n_output * prices.output) / 1e6


def _listed_price(settings: TeacherSettings) -> Price | None:
    """The price in the list. For another server (`teacher.base_url`) only if the list has that server's address: a
    model that is served locally does not cost what a model of the same name costs elsewhere."""
    from genai_prices import Usage, calc_price

    model, address = settings.model or "", settings.base_url
    provider = {"openai": "openai", "gemini": "google"}[settings.provider]

    def price(n_input: int, n_output: int) -> float:
        usage = Usage(input_tokens=n_input, output_tokens=n_output)
        if address:
            return float(calc_price(usage, model, provider_api_url=address).total_price)
        return float(calc_price(usage, model, provider_id=provider).total_price)

    try:
        price(1000, 1000)
    except (LookupError, ValueError):
        return None
    return price
