"""URLs as openQA's servers write them back: what is signed must be what they hash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, urlsplit

Fields = Mapping[str, str | int] | Sequence[tuple[str, str | int]]
"""Parameters of a query or a form; a sequence may name one of them several times."""

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True)
class Base:
    """Where an openQA instance is: scheme, host, port and the path prefix of a proxy."""

    scheme: str
    host: str
    port: int | None
    """None where the URL names none."""
    prefix: str
    """`/openqa`, or empty."""
    url: str
    """All of it, without a slash at the end."""

    @classmethod
    def parse(cls, url: str) -> Base:
        """Read a base URL; raises ValueError when it is no http or https URL with a host, and nothing else in
        it."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!a} is no http or https URL with a host")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(f"{parts.hostname}: the base URL must hold no user, query or fragment")
        prefix = parts.path.rstrip("/")
        base = f"{parts.scheme}://{authority(parts.hostname, parts.port)}{prefix}"
        return cls(parts.scheme, parts.hostname, parts.port, prefix, base)

    def join(self, path: str, params: Fields = (), port_delta: int = 0) -> str:
        """The URL of a plain-text path and parameters.

        `port_delta` moves an explicit port, as openQA's worker does to reach the live handler
        (OpenQA::Worker::WebUIConnection send): without a port a proxy is there and routes by path.
        """
        if not path.startswith("/"):
            raise ValueError(f"path {path!a} does not begin with a slash")
        base = self.url
        if port_delta and self.port is not None:
            base = f"{self.scheme}://{authority(self.host, self.port + port_delta)}{self.prefix}"
        # Mojo::Path writes these characters, and no others, without escapes
        url = base + quote(path, safe="/!$&'()*+,;=:@-._~")
        return f"{url}?{encoded(params)}" if params else url


def encoded(fields: Fields) -> str:
    """Parameters as Mojo::Parameters writes them: a space as `+`, everything but `*-._` and alphanumerics
    escaped."""
    items: Iterable[tuple[str, str | int]] = fields.items() if isinstance(fields, Mapping) else fields
    return "&".join(f"{_quoted(name)}={_quoted(str(value))}" for name, value in items)


def authority(host: str, port: int | None) -> str:
    """Host and port as a URL writes them."""
    name = f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"


def path_and_query(url: str) -> str:
    """What goes into the request line."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs agree in scheme, host and port. Raises ValueError for a port that is no number."""
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _quoted(text: str) -> str:
    return quote_plus(text, safe="*").replace("~", "%7E")
