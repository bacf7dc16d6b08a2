"""What counts as a credential, and every way in which one may be written."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from drp.credentials import Address, protect, scrub, scrub_message
from drp.errors import RecordError, UserError
from drp.records import Failure
from drp.runs.jsonl import Appender
from drp.runs.progress import report, say

KEY = 'sk-"odd"/key\\0123'


def test_a_protected_key_is_removed_however_it_is_written() -> None:
    protect(KEY)
    for written in (KEY, json.dumps(KEY), quote(KEY, safe=""), f"Bearer {KEY}"):
        assert "0123" not in scrub(f"before {written} after")
        assert b"0123" not in scrub(f"before {written} after".encode())


def test_of_two_keys_the_longer_is_removed_whole() -> None:
    protect("abcdefgh")
    protect("abcdefgh-and-more")
    assert scrub("abcdefgh-and-more, abcdefgh") == "***, ***"


@pytest.mark.parametrize("placeholder", ["", "EMPTY", "none", "ollama"])
def test_a_placeholder_is_no_secret(placeholder: str) -> None:
    protect(placeholder)
    assert scrub(f"an {placeholder} reply") == f"an {placeholder} reply"


def test_no_way_out_shows_a_protected_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    protect(KEY)
    path = tmp_path / "failures.jsonl"
    with Appender(path) as file:
        file.append(Failure(id="a", error="E", message=f"bad key {KEY}", attempts=1, raw=KEY))
    say(f"said {KEY}")
    report(f"reported {KEY}")
    error = RecordError(f"failed with {KEY}", raw=f"raw {KEY}")
    shown = path.read_text() + "".join(capsys.readouterr()) + str(error) + repr(error) + str(error.raw)
    assert "0123" not in shown
    assert shown.count("***") == 7


def test_an_address_in_an_error_has_no_password() -> None:
    error = UserError("no answer at http://me:pw@host:8000/v1?api_key=k&x=1 or https://token@other/")
    assert str(error) == "no answer at http://***@host:8000/v1?api_key=***&x=1 or https://***@other/"


def test_an_address_is_taken_apart() -> None:
    server = Address.parse("http://me:hunter%402@host:8000/v1/?version=2&key=abcdefg&empty=")
    assert server.url == "http://host:8000/v1"
    assert server.query == {"version": "2", "key": "abcdefg", "empty": ""}
    encoded = base64.b64encode(b"me:hunter@2").decode()
    assert server.headers == {"Authorization": f"Basic {encoded}"}
    assert server.identity == "http://host:8000/v1?version=2&empty="
    for secret in ("hunter@2", "hunter%402", encoded, "abcdefg"):
        assert scrub(f"it is {secret}!") == "it is ***!"
        assert secret not in repr(server)


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://127.0.0.1:8000", "http://[::1]:80/v1"])
def test_an_address_without_credentials_is_its_own_identity(url: str) -> None:
    server = Address.parse(f"{url}/")
    assert (server.url, server.identity, server.query, server.headers) == (url, url, {}, {})


def test_records_keep_what_only_looks_like_an_address() -> None:
    text = '{"response":"see x://a,b@c and me@host"}'
    assert scrub(text) == text
    assert scrub_message("me@host") == "me@host"
