"""What a call costs, in US dollars: the config's `teacher.prices`, else the price list of the package genai-prices."""

from collections.abc import Callable

from drp.settings import Prices, TeacherSettings

Price = Callable[[int, int], float]
"""Input tokens and output tokens of one call in, US dollars out."""


def find_price(settings: TeacherSettings) -> Price | None:
    """The model's price; None where nobody knows it, which is never the same as free.

    At another server (`teacher.base_url`) the list counts only where it knows that server: a local server that serves
    something under a known name does not cost what the name costs elsewhere.
    """
    if settings.provider == "rules":
        return lambda _input, _output: 0.0
    price = _use_prices(settings.prices) if settings.prices else _look_up(settings)
    if price is None or settings.mode == "direct":
        return price
    usual, share = price, 1 - settings.batch.discount
    return lambda n_input, n_output: share * usual(n_input, n_output)


def _use_prices(prices: Prices) -> Price:
    return lambda n_input, n_output: (n_input * prices.input + n_output * prices.output) / 1e6


def _look_up(settings: TeacherSettings) -> Price | None:
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
