"""Bytes over HTTP with ranges and entity tags, as Mojolicious::Static serves files."""

from __future__ import annotations

import hashlib
import re
from email.utils import formatdate
from typing import Final

from aiohttp import web

_RANGE: Final = re.compile(r"^bytes=(\d+)?-(\d+)?")
_TYPES: Final = {
    "html": "text/html;charset=UTF-8",
    "json": "application/json;charset=UTF-8",
    "log": "text/plain;charset=UTF-8",
    "ogv": "video/ogg",
    "png": "image/png",
    "txt": "text/plain;charset=UTF-8",
    "webm": "video/webm",
}


def serve_bytes(
    request: web.Request, name: str, content: bytes, modified: float, *, guarded: bool = False
) -> web.Response:
    """A whole file, or the range that was asked for; `modified` is seconds since the epoch.

    `guarded` as newer releases do it: texts are not to be sniffed, what is no text and no picture is an
    attachment.
    """
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": _TYPES.get(name.rsplit(".", 1)[-1], "application/octet-stream"),
        "ETag": '"' + hashlib.md5(str(modified).encode(), usedforsecurity=False).hexdigest() + '"',
        "Last-Modified": formatdate(modified, usegmt=True),
    }
    if guarded and headers["Content-Type"].startswith("text/plain"):
        headers["X-Content-Type-Options"] = "nosniff"
    elif guarded and headers["Content-Type"].startswith(("application/octet-stream", "text/html")):
        headers["Content-Disposition"] = f"attachment; filename={name};"
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=304, headers=headers)
    match = _RANGE.match(request.headers.get("Range", ""))
    if match is None:
        return web.Response(body=content, headers=headers)
    size = len(content)
    start = int(match[1]) if match[1] else 0
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    if start > end:
        return web.Response(status=416, headers=headers)
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return web.Response(status=206, body=content[start : end + 1], headers=headers)
