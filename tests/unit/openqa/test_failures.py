"""Foreign errors and bad answers become our own."""

from __future__ import annotations

import http.client
import socket
import ssl
from email.utils import formatdate

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.openqa.bodies import BadEncoding, CutShort, TooLarge
from pseudoworker.openqa.errors import (
    Busy,
    ClockSkew,
    Garbage,
    NotFound,
    OpenQAError,
    Refused,
    ServerFailed,
    Unauthorized,
    Unreachable,
)
from pseudoworker.openqa.failures import (
    FOREIGN,
    bad_status,
    http_date,
    no_answer,
    retry_after,
    said,
    shortened,
    shown_url,
)

URL = "http://h/api/v1/jobs"


def status(code: int, body: bytes = b"", **headers: str) -> OpenQAError:
    return bad_status(
        "POST", URL, code, {name.replace("_", "-"): value for name, value in headers.items()}, body
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (408, Busy),
        (425, Busy),
        (429, Busy),
        (502, Busy),
        (503, Busy),
        (504, Busy),
        (598, Busy),
        (490, ServerFailed),
        (500, ServerFailed),
        (501, ServerFailed),
        (599, ServerFailed),
        (400, Refused),
        (409, Refused),
        (426, Refused),
        (404, NotFound),
        (401, Unauthorized),
        (403, Unauthorized),
        (301, Refused),
        (304, Refused),
        (199, Garbage),
        (100, Garbage),
    ],
)
def test_statuses(code: int, kind: type[OpenQAError]) -> None:
    error = status(code)
    assert type(error) is kind
    assert (error.status, error.method, error.url) == (code, "POST", URL)


def test_two_requests_that_make_the_same_new_row() -> None:
    told = (
        b'{"error":"DBI Exception: DBD::Pg::st execute failed: ERROR:  duplicate key value violates unique'
        b' constraint \\"assets_type_name\\"","error_status":400}'
    )
    assert type(status(400, told)) is Busy


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("no api key", "client.conf"),
        ("Not authorized", "exists on that openQA"),
        ("api key expired", "new API key"),
        ("Administrator level required", "operator role"),
        ("Operator level required", "operator role"),
        ("unknown error (wrong secret?)", "check the secret"),
        ("Bad CSRF token!", "cookies"),
        ("Forbidden via file domain", ""),
    ],
)
def test_refused_keys_come_with_advice(text: str, advice: str) -> None:
    error = status(403, f'{{"error":"{text}"}}'.encode())
    assert type(error) is Unauthorized
    assert error.text == text
    assert advice in error.advice
    assert bool(advice) == bool(error.advice)


@pytest.mark.parametrize(
    "text",
    [
        "timestamp mismatch",
        "timestamp mismatch - check whether clocks on the local host and the web UI host are in sync",
    ],
)
def test_clock_skew(text: str) -> None:
    body = f'{{"error":"{text}"}}'.encode()
    error = bad_status("POST", URL, 403, {}, body, -400.2)
    assert isinstance(error, ClockSkew)
    assert error.skew == -400.2
    assert "(server's clock is -400 s off ours)" in error.text
    unknown = bad_status("POST", URL, 403, {}, body)
    assert isinstance(unknown, ClockSkew)
    assert unknown.skew is None


def test_retry_after_is_in_busy() -> None:
    error = status(429, b"Limit of worker connections exceeded", Retry_After="900")
    assert isinstance(error, Busy)
    assert error.retry_after == 900
    assert error.text == "Limit of worker connections exceeded"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 900 ", 900),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 30, None),
        ("²", None),
        (formatdate(1060, usegmt=True), 60),
        (formatdate(940, usegmt=True), 0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=1000) == seconds


def test_retry_after_counts_from_now() -> None:
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0


@given(st.text())
def test_no_date_raises(text: str) -> None:
    moment = http_date(text)
    assert moment is None or isinstance(moment, float)
    seconds = retry_after(text)
    assert seconds is None or seconds >= 0


def test_redirects_that_are_not_followed() -> None:
    error = status(301, b"", Location="https://u:p@h/x?token=1")
    assert str(error) == (
        f"POST {URL}: 301 redirects to https://h/x?token=[redacted]; configure the URL that it redirects to"
    )
    assert status(301).text == "redirects to nowhere"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":"TEST field mandatory"}', "TEST field mandatory"),
        (b'{"error":["one",{"message":"two","path":"/x"},3]}', "one; two; /x; 3"),
        (b'{"error":{"file":["required"]}}', "required"),
        (b'{"error":404}', "404"),
        (b'{"error":[null,true]}', "Bad Request"),
        (b'{"error":"   "}', "Bad Request"),
        (b'{"error":null}', "Bad Request"),
        (b'{"error_status":404}', "Bad Request"),
        (b"<html><title>openQA: Page\n not&nbsp;found &amp; gone</title>", "openQA: Page not found & gone"),
        (b"<html><body>no title", "Bad Request"),
        (b"No Worker ID\n", "No Worker ID"),
        (b"  ", "Bad Request"),
        (b"\xff\x00", "\ufffd?"),
        (b'{"error":"a\\u0000\\u001b[31m\\nb"}', "a??[31m b"),
        (b'{"error":"' + b"x" * 5000 + b'"}', "x" * 297 + "..."),
    ],
)
def test_what_an_answer_says(body: bytes, text: str) -> None:
    assert said(400, body) == text


def test_nested_errors_are_bounded() -> None:
    assert len(said(400, b'{"error":' + b"[" * 200 + b'"a"' + b"]" * 200 + b"}")) < 400
    assert said(799, b"") == "no text"


@given(st.binary(), st.integers(min_value=100, max_value=999))
def test_any_answer_becomes_one_printable_line(body: bytes, code: int) -> None:
    error = status(code, body)
    assert str(error).isprintable()
    assert len(error.text) <= 320


def test_shown_urls() -> None:
    assert shown_url("http://u:p@h:1/a?b=c&JOBTOKEN=x&my_password=y&z#f") == (
        "http://h:1/a?b=c&JOBTOKEN=[redacted]&my_password=[redacted]&z"
    )
    assert shown_url("http://[") == "http://["
    assert len(shown_url("http://h/" + "x" * 1000)) == 300


def test_shortened() -> None:
    assert shortened("a\n b\t c") == "a b c"
    assert shortened("x" * 1000, 10) == "xxxxxxx..."


def wrapped(error: Exception) -> requests.RequestException:
    """As requests hands it on."""
    outer = requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted.", error))
    outer.__cause__ = None
    return outer


CERTIFICATE = ssl.SSLCertVerificationError(1, "x")
CERTIFICATE.verify_message = "self-signed certificate"


@pytest.mark.parametrize(
    ("error", "kind", "text", "advice"),
    [
        (
            wrapped(CERTIFICATE),
            Unreachable,
            "TLS certificate is not trusted: self-signed certificate",
            "CA file",
        ),
        (wrapped(ssl.SSLError(1, "WRONG_VERSION")), Unreachable, "TLS failed: ", "scheme and port"),
        (
            wrapped(socket.gaierror(-2, "Name or service not known")),
            Unreachable,
            "cannot be resolved: Name",
            "DNS",
        ),
        (wrapped(TimeoutError("timed out")), Unreachable, "time-out", ""),
        (requests.ReadTimeout("x"), Unreachable, "time-out", ""),
        (requests.ConnectTimeout("x"), Unreachable, "time-out", ""),
        (
            wrapped(ConnectionRefusedError(111, "Connection refused")),
            Unreachable,
            "connection refused",
            "runs there",
        ),
        (
            wrapped(ConnectionResetError(104, "Connection reset by peer")),
            Unreachable,
            "broke: Connection reset",
            "",
        ),
        (
            wrapped(http.client.RemoteDisconnected("closed without response")),
            Unreachable,
            "broke: closed",
            "",
        ),
        (wrapped(http.client.BadStatusLine("HTTP/9")), Unreachable, "broke: HTTP/9", ""),
        (http.client.IncompleteRead(b"", 5), Unreachable, "broke: IncompleteRead", ""),
        (OSError(113, "No route to host"), Unreachable, "connection broke: No route to host", ""),
        (urllib3.exceptions.ProtocolError("odd"), Unreachable, "broke: odd", ""),
        (requests.ConnectionError("pool is closed"), Unreachable, "broke: pool is closed", ""),
        (CutShort("ended after 1 of 2 bytes"), Unreachable, "answer ended after 1 of 2 bytes", ""),
        (TooLarge("is larger than 5 bytes"), Garbage, "answer is larger than 5 bytes", ""),
        (BadEncoding("is no gzip"), Garbage, "answer is no gzip", ""),
        (ValueError("odd"), Garbage, "answer cannot be read: odd", ""),
        (requests.exceptions.InvalidHeader("odd"), Garbage, "answer cannot be read: odd", ""),
        (requests.RequestException(), Garbage, "answer cannot be read: RequestException", ""),
    ],
)
def test_exceptions(error: Exception, kind: type[OpenQAError], text: str, advice: str) -> None:
    assert isinstance(error, FOREIGN)
    ours = no_answer(error, "GET", URL)
    assert type(ours) is kind
    assert text in ours.text
    assert advice in ours.advice
    assert bool(advice) == bool(ours.advice)
    assert (ours.method, ours.url, ours.status) == ("GET", URL, None)


def test_our_own_errors_stay() -> None:
    error = Refused("no")
    assert no_answer(error, "GET", URL, ended="by us") is error


def test_our_time_limit_is_the_cause_of_what_it_breaks() -> None:
    ours = no_answer(ConnectionResetError(), "GET", URL, ended="no whole answer within 2.5 s")
    assert type(ours) is Unreachable
    assert ours.text == "no whole answer within 2.5 s"


def test_circles_of_causes_end() -> None:
    one, other = requests.ConnectionError("a"), OSError("b")
    one.__cause__, other.__cause__ = other, one
    assert type(no_answer(one, "GET", URL)) is Unreachable
