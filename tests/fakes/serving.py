"""Bytes over HTTP with ranges and entity tags, as Mojolicious::Static serves files."""

from __future__ import annotations

import mimetypes
import re
from email.utils import formatdate
from typing import Final

from aiohttp import web

_RANGE: Final = re.compile(r"^bytes=(\d+)?-(\d+)?")


def serve_bytes(
    request: web.Request, name: str, content: bytes, *, etag: str | None = None, modified: float | None = None
) -> web.Response:
    """A whole file, or the range that was asked for."""
    headers = {"Accept-Ranges": "bytes"}
    if etag is not None:
        headers["ETag"] = etag
    if modified is not None:
        headers["Last-Modified"] = formatdate(modified, usegmt=True)
    content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if etag is not None and request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers=headers)
    match = _RANGE.match(request.headers.get("Range", ""))
    if match is None:
        return web.Response(body=content, headers=headers, content_type=content_type)
    size = len(content)
    start = int(match[1]) if match[1] else 0
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    if start > end:
        return web.Response(status=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return web.Response(status=206, body=content[start : end + 1], headers=headers, content_type=content_type)
