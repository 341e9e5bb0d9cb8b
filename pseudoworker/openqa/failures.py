"""The one place where foreign errors and bad answers become our own (see `errors`)."""

from __future__ import annotations

import email.utils
import html
import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3.exceptions

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
from pseudoworker.openqa.json import Json, NotJson, decode

FOREIGN = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
    TooLarge,
    CutShort,
    BadEncoding,
)
"""What sending a request and reading its answer can raise."""

REDIRECTING = frozenset({301, 302, 303, 307, 308})
BUSY = frozenset({408, 425, 429, 502, 503, 504, 598})
_TELLING: tuple[type[BaseException], ...] = (
    ssl.SSLError,
    socket.gaierror,
    TimeoutError,
    ConnectionError,
    http.client.HTTPException,
    OSError,
    UnicodeError,  # of the host name, in the codec of IDNA
    # after its causes: a connection that was refused is a time-out to urllib3 too
    urllib3.exceptions.TimeoutError,
    urllib3.exceptions.ProtocolError,
)
_CLASH = "duplicate key value violates unique constraint"
"""What PostgreSQL says when two requests at once make the same new row, such as that of an asset which two
new jobs name (OpenQA::Schema::ResultSet::Assets, `register`). The second one was rolled back whole; the next
try finds the row."""
_LONGEST_TEXT = 300
_LONGEST_URL = 300
_SECRET = re.compile(r"((?:^|[&;])[^=&;]*(?:token|secret|password|apikey)[^=&;]*=)[^&;]*", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>(.{0,1000}?)</title", re.IGNORECASE | re.DOTALL)


def shown_url(url: str) -> str:
    """The URL without user info, without the values of secret parameters, and not too long."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return shortened(url, _LONGEST_URL)
    host = parts.netloc.rpartition("@")[2]
    query = _SECRET.sub(r"\1[redacted]", parts.query)
    return shortened(urlunsplit((parts.scheme, host, parts.path, query, "")), _LONGEST_URL)


def shortened(text: str, longest: int = _LONGEST_TEXT) -> str:
    """`text` on one line, printable, and not longer than `longest` characters."""
    line = " ".join(text[: 4 * longest].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def no_answer(error: Exception, method: str, url: str, *, ended: str = "") -> OpenQAError:
    """What an exception of requests, urllib3, ssl or the socket means.

    `ended` tells why we ended the call ourselves, if we did: that is the cause then, whatever the shut down
    socket raised."""
    shown = shown_url(url)
    if isinstance(error, OpenQAError):
        return error
    if ended:
        return Unreachable(ended, method=method, url=shown)
    if isinstance(error, TooLarge | BadEncoding):
        return Garbage(f"answer {error}", method=method, url=shown)
    if isinstance(error, CutShort):
        return Unreachable(f"answer {error}", method=method, url=shown)
    cause = _cause(error)
    explained = _explained(cause)
    if explained is None:
        return Garbage(f"answer cannot be read: {_words(cause)}", method=method, url=shown)
    text, advice = explained
    return Unreachable(shortened(text), method=method, url=shown, advice=advice)


def bad_status(
    method: str, url: str, status: int, headers: Mapping[str, str], body: bytes, skew: float | None = None
) -> OpenQAError:
    """What an answer other than 2xx means. `skew` is the server's clock minus ours, where known."""
    shown = shown_url(url)
    text = said(status, body)
    if status in BUSY or (status == 400 and _CLASH in text):
        return Busy(
            text, method=method, url=shown, status=status, retry_after=retry_after(headers.get("Retry-After"))
        )
    if status >= 500 or status == 490:
        return ServerFailed(text, method=method, url=shown, status=status)
    if status in (401, 403):
        return _unauthorized(text, method, shown, status, skew)
    if status == 404:
        return NotFound(text, method=method, url=shown, status=status)
    if status >= 400:
        return Refused(text, method=method, url=shown, status=status)
    if 300 <= status < 400:
        target = shown_url(headers.get("Location", ""))
        return Refused(
            f"redirects to {target or 'nowhere'}",
            method=method,
            url=shown,
            status=status,
            advice="configure the URL that it redirects to" if target else "",
        )
    return Garbage(f"unexpected status: {text}", method=method, url=shown, status=status)


def said(status: int, body: bytes) -> str:
    """What an answer says in words: openQA's `error`, else the title of the page, else its text."""
    try:
        document = decode(body)
    except NotJson:
        document = None
    if isinstance(document, dict) and document.get("error"):
        words = shortened("; ".join(_strings(document["error"])))
        if words:
            return words
    title = _TITLE.search(body)
    if title is not None:
        return shortened(html.unescape(title[1].decode("utf-8", "replace")))
    if not looks_like_html(body) and document is None and body.strip():
        return shortened(body[: 4 * _LONGEST_TEXT].decode("utf-8", "replace"))
    return http.client.responses.get(status, "no text")


def looks_like_html(body: bytes) -> bool:
    """Whether the body begins as HTML or XML does."""
    return body[:100].lstrip().startswith(b"<")


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a Retry-After asks us to wait: it holds seconds or an HTTP date; None when it holds
    neither."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    moment = http_date(value)
    return None if moment is None else max(0.0, moment - (time.time() if now is None else now))


def http_date(value: str) -> float | None:
    """Seconds since the epoch of an HTTP date, None when it is none."""
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _unauthorized(text: str, method: str, url: str, status: int, skew: float | None) -> OpenQAError:
    lower = text.lower()
    if "timestamp mismatch" in lower:
        difference = "" if skew is None else f" (server's clock is {skew:+.0f} s off ours)"
        return ClockSkew(
            f"{text}{difference}",
            method=method,
            url=url,
            status=status,
            advice="synchronise the clocks of both hosts",
            skew=skew,
        )
    return Unauthorized(text, method=method, url=url, status=status, advice=_advice(lower))


def _advice(text: str) -> str:
    if "no api key" in text:
        return "configure key and secret for this host in client.conf"
    if "api key expired" in text:
        return "create a new API key on that openQA"
    if "level required" in text:
        return "give the key's user the operator role on that openQA"
    if "wrong secret" in text:
        return "check the secret for this host in client.conf, and the path of the URL when a proxy adds one"
    if "not authorized" in text:
        return "check that the key for this host in client.conf exists on that openQA"
    if "csrf" in text:
        return "a proxy adds cookies of a browser session: remove them"
    return ""


def _explained(cause: BaseException) -> tuple[str, str] | None:
    """What broke and what to do about it; None when it is no matter of the connection."""
    match cause:
        case ssl.SSLCertVerificationError():
            return (
                f"TLS certificate is not trusted: {cause.verify_message}",
                "check the CA file for this host",
            )
        case ssl.SSLError():
            return f"TLS failed: {_words(cause)}", "check that the URL's scheme and port belong together"
        case socket.gaierror() | UnicodeError() | urllib3.exceptions.LocationValueError():
            return f"host name cannot be resolved: {_words(cause)}", "check the URL and DNS"
        case TimeoutError() | urllib3.exceptions.TimeoutError() | requests.Timeout():
            return "time-out", ""
        case ConnectionRefusedError():
            return "connection refused", "check that openQA runs there"
        case requests.ConnectionError():
            return f"connection broke: {_words(cause)}", ""
        case requests.RequestException():
            return None  # an OSError by type only
        case OSError() | http.client.HTTPException() | urllib3.exceptions.ProtocolError():
            return f"connection broke: {_words(cause)}", ""
    return None


def _cause(error: BaseException) -> BaseException:
    """The most telling error in a chain of wrapped ones."""
    seen: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        item = pending.pop(0)
        if not isinstance(item, BaseException) or item in seen or len(seen) > 20:
            continue
        seen.append(item)
        pending += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
    for wanted in _TELLING:
        for item in seen:
            if isinstance(item, wanted) and not isinstance(item, requests.RequestException):
                return item
    return error


def _words(error: BaseException) -> str:
    words = (error.strerror or "") if isinstance(error, OSError) else ""
    return shortened(words or str(error) or type(error).__name__)


def _strings(value: Json) -> Iterator[str]:
    """The texts in what openQA puts under `error`: a string, a list of messages, or an object."""
    pending = [value]
    for _ in range(50):
        if not pending:
            return
        item = pending.pop(0)
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            pending[:0] = item[:50]
        elif isinstance(item, dict):
            pending[:0] = list(item.values())[:50]
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield str(item)
