"""From the settings of a teacher to a chat client, with its key from the environment."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drp.chat.client import DirectClient, StoredClient
from drp.chat.limits import RetryPolicy
from drp.chat.prices import Price, explain_unknown_price, find_price
from drp.chat.store import ReplyStore
from drp.chat.wire import ApiKey, Wire
from drp.config.sections import TeacherSettings
from drp.credentials import Address
from drp.errors import ConfigError, UserError
from drp.runs.progress import say

if TYPE_CHECKING:
    from drp.chat.batch.client import BatchClient
    from drp.chat.batch.uploader import BatchUploader

_KEY_VARIABLES = {"openai": ["OPENAI_API_KEY"], "gemini": ["GEMINI_API_KEY", "GOOGLE_API_KEY"]}


def open_client(
    settings: TeacherSettings,
    store: ReplyStore,
    *,
    environ: Mapping[str, str] = os.environ,
    retry: RetryPolicy | None = None,
) -> "DirectClient | BatchClient":
    """Open the client for `settings.provider` and `settings.mode`. It closes `store`, as does an error here.

    Raises UserError for a missing key, for a cost cap on a model whose price is unknown, and for mode `direct` while
    requests of the same stage are in batches.
    """
    if settings.mode == "batch":
        from drp.chat.batch.client import BatchClient

        return BatchClient(settings, open_uploader(settings, store, environ=environ, retry=retry))
    with _closing_on_error(store):
        store.open()
        _refuse_beside_batches(settings, store)
        key, price = _prepare(settings, environ)
        wire = _open_wire(settings, key)
        return DirectClient(settings, wire=wire, store=store, price=price, retry=retry or RetryPolicy())


def open_uploader(
    settings: TeacherSettings,
    store: ReplyStore,
    *,
    environ: Mapping[str, str] = os.environ,
    retry: RetryPolicy | None = None,
) -> "BatchUploader":
    """Open the access to the batches of a run directory. It closes `store`, as does an error here.

    Raises UserError for a missing key, and for a cost cap on a model whose price is unknown.
    """
    from drp.chat.batch.uploader import BatchUploader
    from drp.chat.openai import OpenAIWire

    with _closing_on_error(store):
        store.open()
        key, price = _prepare(settings, environ)
        wire = OpenAIWire(settings, key)
        return BatchUploader(settings, wire=wire, key=key, store=store, price=price, retry=retry or RetryPolicy())


def open_stored(settings: TeacherSettings, store: ReplyStore) -> StoredClient:
    """Open a client for the replies that `open_client` has paid for; it needs no key and closes `store`."""
    return StoredClient(settings, store=store.open(), address=find_address(settings))


def find_address(settings: TeacherSettings) -> str:
    """Where requests go; part of the hash by which a stored reply is found."""
    return _open_wire(settings, ApiKey("", "")).address


def find_key(settings: TeacherSettings, environ: Mapping[str, str]) -> ApiKey:
    """The key from the environment; empty if there is none and the server is another one (`teacher.base_url`)."""
    names = [settings.api_key_env] if settings.api_key_env else _KEY_VARIABLES[settings.provider]
    for name in names:
        value = environ.get(name, "").strip()
        if value and not (value.isascii() and value.isprintable()):
            raise UserError(f"{name} contains characters that no key has: set it again, without quotes or line breaks.")
        if value:
            return ApiKey(value, name)
    if settings.base_url and not settings.api_key_env:
        return ApiKey("", names[0])
    raise UserError(f"No key for the provider `{settings.provider}`: export {' or '.join(names)}.")


@contextmanager
def _closing_on_error(store: ReplyStore) -> Iterator[None]:
    try:
        yield
    except BaseException:
        store.close()
        raise


def _refuse_beside_batches(settings: TeacherSettings, store: ReplyStore) -> None:
    """Raise UserError if requests of this stage and model are in batches: direct calls would pay for them again."""
    from drp.chat.batch.journal import read_batches

    batches = read_batches(store.path.with_name("batches.jsonl"))
    own = [batch for batch in batches if (batch.stage, batch.model) == (store.stage, settings.model)]
    n = sum(batch.n_requests for batch in own if batch.is_under_way)
    if n:
        raise UserError(
            f"{n} requests of this stage are in batches at the provider, and direct calls would pay for them again: "
            f"set {settings.place}.mode to `batch`, or cancel them with `drp batches CONFIG --cancel`."
        )


def _prepare(settings: TeacherSettings, environ: Mapping[str, str]) -> tuple[ApiKey, Price | None]:
    """The key and the price, after checks that need no request."""
    place, url = settings.place, settings.base_url
    if url and not url.startswith(("http://", "https://")):
        raise ConfigError(f"{place}.base_url: expected http://... or https://..., got `{url}`")
    server = Address.parse(url or "")
    if server.headers and settings.api_key_env:
        raise ConfigError(f"{place}.base_url has a user or password, and {place}.api_key_env a key: remove one of them")
    if server.query and settings.provider == "gemini":
        raise ConfigError(f"{place}.base_url: the provider gemini takes no query, got `{url}`")
    key, price = find_key(settings, environ), find_price(settings)
    if price is None:
        unknown = explain_unknown_price(settings)
        if settings.max_cost_usd is not None:
            raise UserError(f"{unknown}, so {place}.max_cost_usd has no effect: set {place}.prices (input, output).")
        say(f"{unknown}, so dollars are not counted; set {place}.prices to count them")
    return key, price


def _open_wire(settings: TeacherSettings, key: ApiKey) -> Wire:
    if settings.provider == "gemini":
        from drp.chat.gemini import GeminiWire

        return GeminiWire(settings, key)
    from drp.chat.openai import OpenAIWire

    return OpenAIWire(settings, key)
