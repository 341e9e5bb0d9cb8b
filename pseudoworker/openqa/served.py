"""Files that an instance serves: how large they are, which version, and pieces of them."""

from __future__ import annotations

import re
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from pseudoworker.openqa.client import Client, Download
from pseudoworker.openqa.errors import Garbage, NotFound, Refused
from pseudoworker.openqa.failures import http_date
from pseudoworker.openqa.retry import READ, Policy, retrying
from pseudoworker.openqa.threads import in_thread

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


@dataclass(frozen=True)
class Served:
    """What an instance says about a file that it serves."""

    size: int
    path: str
    """Below the instance's URL, as it can be downloaded."""
    version: str = ""
    """ETag, else Last-Modified, else empty. openQA makes the ETag of the modification time alone
    (Mojolicious::Static, serve_asset)."""
    modified: float | None = None
    """Last modification, in seconds since the epoch."""

    def same_version(self, other: Served) -> bool:
        """Whether nothing tells the two apart."""
        return self.size == other.size and self.version == other.version


async def look(client: Client, executor: Executor, path: str, *, policy: Policy = READ) -> Served | None:
    """What is served at this path, None when it is not there (404). One small request, on `executor`.

    Raises OpenQAError.
    """
    try:
        return await retrying(policy, lambda: in_thread(executor, partial(_look, client, path)))
    except NotFound:
        return None


def served(download: Download, path: str) -> Served | None:
    """The same from the headers of a running download; None when they do not tell the size of the whole
    file."""
    size = _whole_size(download)
    if size is None:
        return None
    modified = download.headers.get("Last-Modified", "")
    version = download.headers.get("ETag", "").removeprefix("W/") or modified
    return Served(size, path, version, http_date(modified))


def first_byte(download: Download) -> int | None:
    """The offset at which the body of a download begins, None when it can not be told."""
    if download.status != 206:
        return 0
    match = _CONTENT_RANGE.fullmatch(download.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _look(client: Client, path: str) -> Served:
    try:
        with client.open(path, headers={"Range": "bytes=0-0"}) as download:
            found = served(download, path)
            if download.status == 206:
                for _byte in download.iter(1):
                    pass  # read to its end, so that the connection is kept
    except Refused as error:
        if error.status == 416:  # openQA has no range of an empty file (Mojolicious::Static, serve_asset)
            return Served(0, path)
        raise
    if found is None:
        raise Garbage("served without a length", method="GET", url=client.url + path)
    return found


def _whole_size(download: Download) -> int | None:
    if download.status == 206:
        match = _CONTENT_RANGE.fullmatch(download.headers.get("Content-Range", ""))
        return int(match[3]) if match else None
    return download.length
