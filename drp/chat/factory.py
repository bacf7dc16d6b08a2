"""Open the chat client that the settings ask for."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drp.chat.client import Backoff, PayingClient
from drp.chat.limits import Price, find_price
from drp.chat.store import Ledger, ReplyStore, StoredClient
from drp.chat.wire import Key, Wire
from drp.config.sections import TeacherSettings
from drp.errors import ConfigError, UserError
from drp.runs.progress import say

if TYPE_CHECKING:
    from drp.chat.batch.client import BatchClient
    from drp.chat.batch.courier import Courier

_VARIABLES = {"openai": ["OPENAI_API_KEY"], "gemini": ["GEMINI_API_KEY", "GOOGLE_API_KEY"]}


def open_client(
    settings: TeacherSettings,
    store: ReplyStore,
    *,
    environ: Mapping[str, str] = os.environ,
    backoff: Backoff | None = None,
) -> "PayingClient | BatchClient":
    """The client for `settings.provider` and `settings.mode`. The store is closed with it, or where it fails.

    Raises UserError for a missing key, for a cost cap on a model whose price nobody knows, and for direct calls beside
    batches of the same stage.
    """
    if settings.mode == "batch":
        from drp.chat.batch.client import BatchClient

        return BatchClient(settings, open_courier(settings, store, environ=environ, backoff=backoff))
    with _closing_on_error(store.open()):
        _refuse_beside_batches(settings, store)
        key, price = _prepare(settings, environ)
        return PayingClient(settings, _open_wire(settings, key), store, price, backoff=backoff)


def open_courier(
    settings: TeacherSettings,
    store: ReplyStore,
    *,
    environ: Mapping[str, str] = os.environ,
    backoff: Backoff | None = None,
) -> "Courier":
    """What takes the batches of `store`'s run directory to the provider and back. Raises as `open_client` does."""
    from drp.chat.batch.courier import Courier
    from drp.chat.openai import OpenAIWire

    with _closing_on_error(store.open()):
        key, price = _prepare(settings, environ)
        return Courier(settings, OpenAIWire(settings, key), key, Ledger(settings, store, price), backoff or Backoff())


@contextmanager
def _closing_on_error(store: ReplyStore) -> Iterator[None]:
    try:
        yield
    except BaseException:
        store.close()
        raise


def _refuse_beside_batches(settings: TeacherSettings, store: ReplyStore) -> None:
    """What a batch is working on would be paid for a second time by a direct call."""
    from drp.chat.batch.journal import read_batches

    own = (store.stage, settings.model)
    found = read_batches(store.path.with_name("batches.jsonl"))
    n = sum(batch.n_requests for batch in found if batch.is_under_way and (batch.stage, batch.model) == own)
    if n:
        raise UserError(
            f"{n} requests of this stage are on their way in batches, and direct calls would pay for them again: set "
            f"{settings.place}.mode to `batch`, or end them with `drp batches CONFIG --cancel`."
        )


def _prepare(settings: TeacherSettings, environ: Mapping[str, str]) -> tuple[Key, Price | None]:
    if settings.base_url and not settings.base_url.startswith(("http://", "https://")):
        raise ConfigError(f"{settings.place}.base_url: expected http://... or https://..., got `{settings.base_url}`")
    key = find_key(settings, environ)
    price = find_price(settings)
    if price is None:
        said, place = f"the price of `{settings.model}` is unknown", settings.place
        if settings.max_cost_usd is not None:
            raise UserError(f"{said}, so {place}.max_cost_usd cannot hold: set {place}.prices (input, output).")
        say(f"{said}: dollars are not counted; set {place}.prices to count them")
    return key, price


def open_stored(settings: TeacherSettings, store: ReplyStore) -> StoredClient:
    """A client for the replies that `open_client` has paid for: it needs no key, and asks nobody."""
    return StoredClient(settings, store.open(), find_address(settings))


def find_address(settings: TeacherSettings) -> str:
    """Where requests go, which is a part of what a stored reply is found by."""
    return _open_wire(settings, Key("", "")).address


def find_key(settings: TeacherSettings, environ: Mapping[str, str]) -> Key:
    """The key from the environment. A server of one's own (`teacher.base_url`) needs none."""
    names = [settings.api_key_env] if settings.api_key_env else _VARIABLES[settings.provider]
    for name in names:
        value = environ.get(name, "").strip()
        if value and not (value.isascii() and value.isprintable()):
            raise UserError(f"{name} holds characters that no key has: set it again, without quotes or line breaks.")
        if value:
            return Key(value, name)
    if settings.base_url and not settings.api_key_env:
        return Key("", names[0])
    raise UserError(f"No key for the provider `{settings.provider}`: export {' or '.join(names)}.")


def _open_wire(settings: TeacherSettings, key: Key) -> Wire:
    if settings.provider == "gemini":
        from drp.chat.gemini import GeminiWire

        return GeminiWire(settings, key)
    from drp.chat.openai import OpenAIWire

    return OpenAIWire(settings, key)
