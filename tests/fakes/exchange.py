"""One request as the handlers of the fakes see it, and the answers they give."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

Handler = Callable[["Exchange"], Awaitable[web.StreamResponse]]
_BOUNDARY: Final = re.compile(r'boundary="?([^";]+)"?')
_NAME: Final = re.compile(rb'\bname="?([^";\r]*)"?')
_COMPRESSED_FROM: Final = 860
_FILENAME: Final = re.compile(rb'\bfilename="?([^"\r]*)"?')


@dataclass(frozen=True)
class Route:
    """One route: who may use it and by which name it is counted."""

    method: str
    path: str
    """With aiohttp's `{name}` patterns, below the web UI's root."""
    kind: str
    handler: Handler
    signed: bool = False
    """Whether it needs an operator's key."""
    port: str = "web"
    """`web`, `websocket` or `live`: the daemon that serves it."""


@dataclass
class Exchange:
    """A request that was read completely."""

    request: web.Request
    kind: str
    params: list[tuple[str, str]]
    """Query and form, in order, as Mojolicious merges them."""
    body: bytes = b""
    upload: tuple[str, bytes] | None = None
    """File name and content of the multipart field `file`."""
    path: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The last value of a parameter."""
        for key, value in reversed(self.params):
            if key == name:
                return value
        return default

    def all(self, name: str) -> list[str]:
        """Every value of a parameter."""
        return [value for key, value in self.params if key == name]

    def true(self, name: str) -> bool:
        """Whether Perl would call the parameter true."""
        return self.get(name) not in (None, "", "0")

    def number(self, name: str) -> int | None:
        """A parameter as a number; None when it is missing."""
        value = self.get(name)
        return None if value is None else int(value)

    def json(self) -> Any:
        """The body's document; None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


async def read(request: web.Request, kind: str) -> Exchange:
    """Read a request to its end and take its parameters apart."""
    params = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True)
    exchange = Exchange(request, kind, params, path=request.match_info)
    if request.body_exists:
        exchange.body = await request.read()
        content_type = request.headers.get("Content-Type", "")
        if content_type.startswith("application/x-www-form-urlencoded"):
            params += parse_qsl(exchange.body.decode("utf-8", "replace"), keep_blank_values=True)
        elif content_type.startswith("multipart/form-data"):
            _read_multipart(exchange, content_type)
    return exchange


def _read_multipart(exchange: Exchange, content_type: str) -> None:
    match = _BOUNDARY.search(content_type)
    if match is None:
        return
    delimiter = b"--" + match[1].encode()
    body = exchange.body
    at = body.find(delimiter)
    while at >= 0:
        start = at + len(delimiter) + 2
        at = body.find(b"\r\n" + delimiter, start)
        if at < 0:
            break
        head_end = body.find(b"\r\n\r\n", start, at)
        at += 2
        if head_end < 0:
            continue
        head, content = body[start:head_end], body[head_end + 4 : at - 2]
        name, filename = _NAME.search(head), _FILENAME.search(head)
        if name is None:
            continue
        if filename is None:
            exchange.params.append((name[1].decode(), content.decode("utf-8", "replace")))
        elif name[1] == b"file":
            exchange.upload = (filename[1].decode("utf-8", "replace"), content)


def answer(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return web.Response(
        body=body, status=status, headers=headers, content_type="application/json", charset="UTF-8"
    )


def negotiated(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """An answer as a client's Accept headers want it.

    Errors are JSON with `error_status` for those that take JSON but no HTML (OpenQA::WebAPI, before_render);
    what is rendered is compressed from 860 bytes on (Mojolicious::Renderer).
    """
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return response
    accept = request.headers.get("Accept", "")
    if response.status >= 400 and "json" in accept and "html" not in accept:
        document = json.loads(response.body) if response.content_type == "application/json" else {}
        kept = {name: value for name, value in response.headers.items() if name == "Content-Disposition"}
        response = answer({**document, "error_status": response.status}, response.status, kept)
    if (
        "gzip" in request.headers.get("Accept-Encoding", "")
        and isinstance(response.body, bytes)
        and len(response.body) >= _COMPRESSED_FROM
        and "Accept-Ranges" not in response.headers
    ):
        response.body = gzip.compress(response.body, 1)
        response.headers.update({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
    return response


def error(text: str, status: int = 400) -> web.Response:
    """The usual JSON error of the API."""
    return answer({"error": text}, status)


def text(content: str, status: int = 200) -> web.Response:
    """A plain text answer, such as `OK`."""
    return web.Response(text=content, status=status, content_type="text/html")


_NOT_FOUND: Final = (
    "<!DOCTYPE html>\n<html><head><title>Page not found</title></head><body>"
    + " " * 65_000
    + "</body></html>\n"
).encode()


def page_not_found() -> web.Response:
    """The web UI's 404 page: HTML, 65 kB."""
    return web.Response(body=_NOT_FOUND, status=404, content_type="text/html", charset="utf-8")


def validation_error(*missing: str, invalid: Iterable[str] = ()) -> web.Response:
    """The 400 for parameters that are missing or wrong (`validation_error` of the API)."""
    problems = [f"{name} missing" for name in missing] + [f"{name} invalid" for name in invalid]
    return error(f"Erroneous parameters ({', '.join(sorted(problems))})")


def links(exchange: Exchange, limit: int, offset: int, *, more: bool) -> dict[str, str]:
    """The Link header of a page (pagination_links_header)."""
    kept = [(key, value) for key, value in exchange.params if key not in ("limit", "offset")]

    def link(relation: str, at: int) -> str:
        query = urlencode([*kept, ("limit", str(limit)), ("offset", str(at))])
        return f'<{exchange.request.url.origin()}{exchange.request.path}?{query}>; rel="{relation}"'

    found = [link("first", 0)]
    if more:
        found.append(link("next", offset + limit))
    if offset > 0:
        found.append(link("prev", max(0, offset - limit)))
    return {"Link": ", ".join(found)}
