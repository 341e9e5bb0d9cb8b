"""Addresses of openQA instances as administrators write them, made into base URLs."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pseudoworker.config.schema import Unfit

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def worker_url(text: str) -> str:
    """The base URL that HOST of workers.ini means: http for a bare host.

    As OpenQA::Worker::WebUIConnection (`new`), but a path is kept: that of a reverse proxy. Raises Unfit.
    """
    return _base_url(text, scheme="http")


def client_url(text: str) -> str:
    """The base URL that a host means to openQA's client: https for a bare one that is not local.

    As OpenQA::Client (`url_from_host`), which knows only `localhost` as local. Raises Unfit.
    """
    is_here = "/" not in text and ("localhost" in text or is_local(text))
    return _base_url(text, scheme="http" if is_here else "https")


def host_and_port(url: str) -> tuple[str, int]:
    """Host (an IPv6 address in brackets) and port of a base URL, the default port filled in."""
    parts = urlsplit(url)
    if parts.port is None:
        return parts.netloc, _DEFAULT_PORTS[parts.scheme]
    return parts.netloc.removesuffix(f":{parts.port}"), parts.port


def is_local(text: str) -> bool:
    """Whether a base URL or `host:port` names this machine (OpenQA::Utils, `is_host_local`)."""
    host = urlsplit(text).netloc if "/" in text else text
    return re.sub(r":[0-9]+\Z", "", host) in _LOCAL


def is_same(one: str, other: str) -> bool:
    """Whether two base URLs name the same instance, as far as can be seen from them."""
    return _identity(one) == _identity(other)


def _identity(url: str) -> tuple[str, int, str]:
    host, port = host_and_port(url)
    return ("localhost" if is_local(url) else host, port, urlsplit(url).path)


def _base_url(text: str, *, scheme: str) -> str:
    """Scheme, host, port unless it is the default, and path without slash at its end."""
    if "@" in text:
        raise Unfit("the URL contains a user or password", "take it out; keys belong in client.conf")
    if not text or not all(character.isprintable() and not character.isspace() for character in text):
        raise Unfit(f"{text!r} is no URL", "write it like https://openqa.example.com")
    if "?" in text or "#" in text:
        raise Unfit(f"{text!r} has a query or fragment", "cut the URL off before it")
    try:
        parts = urlsplit(text if "/" in text else f"{scheme}://{text}")
        port = parts.port
    except ValueError as error:
        raise Unfit(
            f"{text!r} is no URL ({error})", "write it like https://openqa.example.com:8443"
        ) from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise Unfit(
            f"{text!r} does not begin with http:// or https://", "write it like https://openqa.example.com"
        )
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc.removesuffix(":")
    if not _HOST.fullmatch(host):
        raise Unfit(f"{text!r} has no valid host", "write a name (xn--… when international) or an address")
    where = host.lower()
    if port not in (None, _DEFAULT_PORTS[parts.scheme]):
        where += f":{port}"
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}"
