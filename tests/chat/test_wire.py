"""What is read from headers and error bodies; keys; token estimates."""

from datetime import UTC, datetime

import pytest

from drp.chat.wire import (
    ApiKey,
    Message,
    clean_text,
    estimate_tokens,
    read_duration,
    read_error,
    read_retry_after,
    read_retry_delay,
)
from drp.credentials import scrub


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "20"}, 20),
        ({"retry-after": "1.5"}, 1.5),
        ({"Retry-After": "-3"}, 0),
        ({"retry-after-ms": "250", "Retry-After": "20"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2026 07:00:00 GMT"}, 0),
        ({"retry-after-ms": "soon", "Retry-After": "20"}, 20),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "Wed, 21 Oct 99999 07:28:30 GMT"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_read_in_each_of_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, now=datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("17ms", 0.017),
        ("1.5s", 1.5),
        ("1h2m3s", 3723),
        ("2m59.56s", 179.56),
        ("20", 20),
        ("", None),
        ("1d", None),
        ("nan", None),
        ("inf", None),
        ("5s!", None),
    ],
)
def test_a_duration_is_read_in_each_of_its_forms(text: str, seconds: float | None) -> None:
    assert read_duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "codes", "message"),
    [
        (
            '{"error": {"message": "no\\n such", "code": "model_not_found", "type": "x"}}',
            {"model_not_found", "x"},
            "no such",
        ),
        ('{"error": {"message": "m", "code": 404, "status": "NOT_FOUND"}}', {"NOT_FOUND"}, "m"),
        ('{"error": {"message": "m", "details": [{"reason": "API_KEY_INVALID"}]}}', {"API_KEY_INVALID"}, "m"),
        ('[{"error": {"message": "m", "status": "X", "details": [{"reason": "R"}]}}]', {"X", "R"}, "m"),
        ('{"error": {"message": "m", "details": {"a": 1}}}', set(), "m"),
        ('{"error": "plain"}', set(), "plain"),
        ("<html>502</html>", set(), "<html>502</html>"),
        ('{"detail": 1}', set(), '{"detail": 1}'),
        ("[]", set(), "[]"),
        ("", set(), ""),
    ],
)
def test_an_error_body_of_any_form_is_read(body: str, codes: set[str], message: str) -> None:
    assert read_error(body.encode()) == (codes, message)


@pytest.mark.parametrize(
    ("details", "seconds"),
    [('[{"retryDelay": "17.5s"}]', 17.5), ('[{"a": 1}, {"retryDelay": "250ms"}]', 0.25), ("[]", None), ("7", None)],
)
def test_googles_own_retry_after_is_read(details: str, seconds: float | None) -> None:
    body = f'{{"error": {{"details": {details}}}}}'
    assert read_retry_delay(body) == read_retry_delay(f"[{body}]".encode()) == seconds


def test_a_key_is_scrubbed_and_never_shown() -> None:
    key = ApiKey("sk-0123456789", "OPENAI_API_KEY")
    assert scrub("bad key sk-0123456789!") == "bad key ***!"
    assert "0123456789" not in repr(key)
    assert ApiKey("x", "K")
    assert scrub("extra") == "extra"


def test_a_lone_surrogate_is_replaced() -> None:
    assert clean_text("ok \ud83d") == "ok ?"
    assert clean_text(None) == ""


def test_tokens_of_other_scripts_are_not_underestimated() -> None:
    assert estimate_tokens([Message("user", "数" * 100)], 3) >= 100
