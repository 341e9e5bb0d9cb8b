"""Addresses of openQA instances as administrators write them, made into base URLs."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pseudoworker.config.schema import Unfit

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


def base_url(text: str, *, scheme: str) -> str:
    """The base URL that `text` means: scheme, host, port, and the path prefix of a reverse proxy, without
    slash at its end.

    `text` is a URL, or a host with or without port; then `scheme` is taken, as openQA takes one (see
    `worker_url` and `client_url`). Raises Unfit when it is neither, or carries a user, a query or a fragment.
    """
    url = text if "/" in text else f"{scheme}://{text}"
    if not text or not all(character.isprintable() and not character.isspace() for character in text):
        raise Unfit(f"{text!r} is no URL", "write it like https://openqa.example.com")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Unfit(
            f"{text!r} is no URL ({error})", "write it like https://openqa.example.com:8443"
        ) from None
    if parts.scheme not in ("http", "https"):
        raise Unfit(
            f"{text!r} does not begin with http:// or https://", "write it like https://openqa.example.com"
        )
    if "@" in parts.netloc:
        raise Unfit("the URL contains a user or password", "take it out; keys belong in client.conf")
    if "?" in text or "#" in text:
        raise Unfit(f"{text!r} has a query or fragment", "cut the URL off before it")
    host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc
    if not _HOST.fullmatch(host):
        raise Unfit(f"{text!r} has no valid host", "write a name (xn--… when international) or an address")
    where = host.lower() if port is None else f"{host.lower()}:{port}"
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}"


def worker_url(text: str) -> str:
    """What HOST in workers.ini means: http for a bare host (OpenQA::Worker::WebUIConnection, `new`)."""
    return base_url(text, scheme="http")


def client_url(text: str) -> str:
    """What a host means to openQA's client: https for a bare one that is not local (OpenQA::Client,
    `url_from_host`)."""
    return base_url(text, scheme="http" if "localhost" in text or is_local(text) else "https")


def host_of(url: str) -> str:
    """The host of a base URL, with its port where it has one."""
    return urlsplit(url).netloc


def is_local(text: str) -> bool:
    """Whether a base URL or `host:port` names this machine (OpenQA::Utils, `is_host_local`)."""
    host = urlsplit(text).netloc if "/" in text else text
    return re.sub(r":[0-9]+\Z", "", host) in _LOCAL
