"""Keys and passwords: what is one, and how they are kept out of files, logs and errors.

    protect(key)                                             a key that was read from the environment
    server = Address.parse("http://me:secret@host/v1")       a server's address; its password is protected too

What is protected is removed from every text by the few functions through which texts leave the process, wherever they
came from: the message of a DrpError, every line of a JSONL file (runs.jsonl.Appender), what is printed (runs.progress)
and the last message of the command line. A text from a server that is shortened before is scrubbed first: half a key
would not be found.
"""

import base64
import json
import re
from dataclasses import dataclass, field
from typing import AnyStr
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

_HIDDEN = "***"
_MIN_KEY = 8
"""Characters of a key at least. A shorter one, such as EMPTY, is a placeholder, and removing it would garble texts."""
_MIN_PASSWORD = 6
_SECRET_NAMES = "key|token|secret|password"
_USER = re.compile(r"(\w://)[^/\s]*@")
_SECRET_PARAMETER = re.compile(rf"(?i)([?&][^=&\s]*(?:{_SECRET_NAMES})[^=&\s]*=)[^&\s]+")

_protected: list[str] = []
"""The longest first: one may be a part of another."""


def protect(secret: str, min_length: int = _MIN_KEY) -> None:
    """Remove a key or password, however it is written, from all texts that leave this process from now on."""
    if len(secret) >= min_length:
        forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
        _protected[:] = sorted({*_protected, *forms}, key=len, reverse=True)


def scrub(data: AnyStr) -> AnyStr:
    """A text, or its UTF-8 bytes, with every protected key and password replaced by asterisks."""
    for secret in _protected:
        if isinstance(data, bytes):
            data = data.replace(secret.encode(), _HIDDEN.encode())
        else:
            data = data.replace(secret, _HIDDEN)
    return data


def scrub_message(text: str) -> str:
    """`scrub`, and the credentials of every address in the text."""
    return hide_credentials(scrub(text))


def hide_credentials(text: str) -> str:
    """Replace user, password and key in an address: http://me:secret@host/v1 becomes http://***@host/v1."""
    if "://" not in text:
        return text
    return _SECRET_PARAMETER.sub(rf"\1{_HIDDEN}", _USER.sub(rf"\1{_HIDDEN}@", text))


@dataclass(frozen=True)
class Address:
    """The address of a server, apart from the credentials that were written in it."""

    url: str
    """Without a slash at the end, without user and password, and without a query."""
    query: dict[str, str] = field(default_factory=dict, repr=False)
    """Parameters of the query, which every request gets."""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    """`Authorization`, if the address has a user or a password."""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address, and protect the password and the keys in it."""
        parts = urlsplit(text)
        user, _, host = parts.netloc.rpartition("@")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        for name, value in query.items():
            if _is_secret(name):
                protect(value, _MIN_PASSWORD)
        url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        return cls(url, query, _make_basic(user) if user else {})

    @property
    def identity(self) -> str:
        """The address without credentials, which is the same with any key and password."""
        shown = [f"{name}={value}" for name, value in self.query.items() if not _is_secret(name)]
        return f"{self.url}?{'&'.join(shown)}" if shown else self.url


def _is_secret(parameter: str) -> bool:
    return re.search(_SECRET_NAMES, parameter, re.IGNORECASE) is not None


def _make_basic(user: str) -> dict[str, str]:
    """The header for `user:password` as it is written in an address."""
    plain = unquote(user)
    encoded = base64.b64encode(plain.encode()).decode()
    for secret in (f"{user}@", f"{plain}@", encoded):
        protect(secret, 1)
    for password in (user.partition(":")[2], plain.partition(":")[2]):
        protect(password, _MIN_PASSWORD)
    return {"Authorization": f"Basic {encoded}"}
