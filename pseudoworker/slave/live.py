"""What a slave shows of a running job: its screen, its log and its serial terminal, as they come.

Opening the screen makes the slave's worker provide all three at 1 s pace, closing it ends that; the texts
alone start nothing (Running.pm, streaming and streamtext: in WebAPI/Controller in 2023, in Shared/Controller
since).
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Literal
from urllib.parse import urlsplit

from pseudoworker.openqa.errors import Garbage, NotFound, OpenQAError
from pseudoworker.openqa.events import EventParser
from pseudoworker.openqa.json import NotJson, decode
from pseudoworker.slave.live_http import Stream, open_stream

TextRoute = Literal["livelog", "liveterminal"]

TEXT_LIMIT = 4 * 1024 * 1024
"""Bytes of one event of a text: some seconds of the worker's 100,000 bytes a second, escaped."""

SCREEN_LIMIT = 16 * 1024 * 1024
"""Bytes of one event of the screen: a picture of 1024x768 that cannot be compressed has 3.2 MB in base64."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_URI = "data:image/png;base64,"


class LiveSource:
    """The live streams of one slave's jobs; remembers which of openQA's routes for the screen this slave has.

    Each `read_…` returns when the slave ends the stream, and raises an OpenQAError when it refuses (NotFound:
    no such route, or the job has no worker), cannot be reached or sends nonsense. Cancelling it closes the
    connection. No credentials are sent: the routes are public.
    """

    def __init__(self, url: str, *, tls: ssl.SSLContext, port_delta: int = 2, timeout: float = 10.0) -> None:
        self._url = url
        self._tls = tls
        self._timeout = timeout
        self._screen_bases = _screen_bases(url, port_delta)
        """Where the screen may be found, the place where it last was first."""

    async def read_text(
        self, job_id: int, route: TextRoute, opened: Callable[[], None], text: Callable[[str], None]
    ) -> None:
        """Call `opened` once the slave answers, then `text` with each piece: bytes, one character each.

        The slave answers when it has something to show: until then only a refusal can come.
        """
        url = f"{self._url}/tests/{job_id}/{route}"
        async with open_stream(url, tls=self._tls, timeout=self._timeout) as stream:
            opened()
            await _for_each_event(stream, TEXT_LIMIT, lambda data: text(_text(data, url)))

    async def read_screen(
        self, job_id: int, opened: Callable[[], None], screen: Callable[[str], None]
    ) -> None:
        """Call `opened` once the slave answers, then `screen` with each picture: a PNG in base64.

        When no place has a live screen, NotFound is raised if all said so, else the first other refusal.
        """
        async with AsyncExitStack() as stack:
            stream = await self._open_screen(job_id, stack)
            opened()
            await _for_each_event(stream, SCREEN_LIMIT, lambda data: screen(_png(data, stream.url)))

    async def _open_screen(self, job_id: int, stack: AsyncExitStack) -> Stream:
        refusals: list[OpenQAError] = []
        for base in list(self._screen_bases):
            url = f"{base}/tests/{job_id}/streaming"
            try:
                stream = await stack.enter_async_context(
                    open_stream(url, tls=self._tls, timeout=self._timeout)
                )
            except OpenQAError as error:
                refusals.append(error)
                continue
            self._screen_bases.remove(base)
            self._screen_bases.insert(0, base)
            return stream
        raise next((refusal for refusal in refusals if not isinstance(refusal, NotFound)), refusals[0])


def _screen_bases(url: str, port_delta: int) -> list[str]:
    """Where a release may have the screen: its web UI (2023), its live handler behind a reverse proxy, or
    without."""
    bases = [url, f"{url}/liveviewhandler"]
    parts = urlsplit(url)
    if parts.port is not None and port_delta:
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        bases.append(f"{parts.scheme}://{host}:{parts.port + port_delta}/liveviewhandler")
    return bases


async def _for_each_event(stream: Stream, limit: int, handle: Callable[[str], None]) -> None:
    parser = EventParser(limit)
    while data := await stream.read():
        for event in parser.feed(data):
            handle(event.data)


def _text(data: str, url: str) -> str:
    try:
        document = decode(data)
    except NotJson as error:
        raise Garbage(f"a live text is no JSON: {error}", method="GET", url=url) from error
    if isinstance(document, list) and all(isinstance(part, str) for part in document):
        return _as_bytes("".join(str(part) for part in document))
    raise Garbage("a live text is no list of texts", method="GET", url=url)


def _as_bytes(text: str) -> str:
    """openQA reads and writes logs as bytes; characters that are none would spoil the whole piece on the
    master."""
    return text if all(character <= "\xff" for character in text) else text.encode().decode("latin-1")


def _png(data: str, url: str) -> str:
    content = data.removeprefix(_PNG_URI)
    try:
        is_png = content != data and base64.b64decode(content, validate=True).startswith(_PNG)
    except binascii.Error:
        is_png = False
    if not is_png:
        said = data[:200] if data.isprintable() else "something else"
        raise Garbage(f"the live screen is no picture: {said}", method="GET", url=url)
    return content
