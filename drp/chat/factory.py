"""Open the chat client that the settings ask for."""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from drp.chat.client import Backoff, PayingClient
from drp.chat.ledger import Ledger
from drp.chat.prices import Price, find_price
from drp.chat.store import ReplyStore
from drp.chat.stored import StoredClient
from drp.chat.wire import Key, Wire
from drp.errors import ConfigError, UserError
from drp.settings import TeacherSettings

if TYPE_CHECKING:
    from drp.chat.batch.client import BatchClient
    from drp.chat.batch.courier import Courier

log = logging.getLogger(__name__)

_VARIABLES = {"openai": ["OPENAI_API_KEY"], "gemini": ["GEMINI_API_KEY", "GOOGLE_API_KEY"]}


def open_client(
    settings: TeacherSettings,
    store: ReplyStore,
    *,
    environ: Mapping[str, str] = os.environ,
    backoff: Backoff | None = None,
) -> "PayingClient | BatchClient":
    """The client for `settings.provider` and `settings.mode`. It closes the store with itself.

    Raises UserError for a missing key, and for a cost cap on a model whose price nobody knows.
    """
    if settings.mode == "batch":
        from drp.chat.batch.client import BatchClient

        return BatchClient(settings, open_courier(settings, store, environ=environ, backoff=backoff))
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

    key, price = _prepare(settings, environ)
    return Courier(settings, OpenAIWire(settings, key), key, Ledger(settings, store, price), backoff or Backoff())


def _prepare(settings: TeacherSettings, environ: Mapping[str, str]) -> tuple[Key, Price | None]:
    if settings.base_url and not settings.base_url.startswith(("http://", "https://")):
        raise ConfigError(f"teacher.base_url: expected http://... or https://..., got `{settings.base_url}`")
    key = find_key(settings, environ)
    price = find_price(settings)
    if price is None:
        said = f"the price of `{settings.model}` is unknown"
        if settings.max_cost_usd is not None:
            raise UserError(f"{said}, so teacher.max_cost_usd cannot hold: set teacher.prices (input, output).")
        log.warning("%s: dollars are not counted; set teacher.prices to count them", said)
    return key, price


def open_stored(settings: TeacherSettings, store: ReplyStore) -> StoredClient:
    """A client for the replies that `open_client` has paid for: it needs no key, and asks nobody."""
    return StoredClient(settings, store, find_address(settings))


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
