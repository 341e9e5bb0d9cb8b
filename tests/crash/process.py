"""The real process with a bomb in it: it kills itself with SIGKILL at a named point, and tells each point it
passes.

The points are the seams through which anything leaves the process: before and after each write to the
journal, each request to either side, each message of a websocket; and in the middle of each body that is
streamed. A point's name is what happens there and how often it did: `after master POST jobs/N/status #2`.

`CRASH_TRACE=file CRASH_AT='…' python -m tests.crash.process run …` is `pseudoworker run …` with it.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import requests

from pseudoworker import cli
from pseudoworker.bridge import crew
from pseudoworker.bridge.assets.ledger import Ledger
from pseudoworker.bridge.journal import Journal
from pseudoworker.bridge.lifecycle import State
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.messages import ServerMessage
from pseudoworker.openqa.transport import Body, Transport
from pseudoworker.openqa.websocket import Connection, connect

WRITES: Final = ("claim", "record", "move_up", "acknowledge", "forget", "reap", "reaped", "prune")
_TELLING: Final = ("image", "thumb", "ulog", "asset")
"""Parameters that tell what a request uploads."""


class Bomb:
    """Counts the points; the one named `at` is the last."""

    def __init__(self, trace: Path | None, at: str) -> None:
        self._trace = None if trace is None else os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._at = at
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def pass_by(self, what: str) -> None:
        """The process is at this point."""
        with self._lock:
            self._counts[what] += 1
            name = f"{what} #{self._counts[what]}"
            if self._trace is not None:
                os.write(self._trace, f"{name}\n".encode())
            if name == self._at:
                os.kill(os.getpid(), signal.SIGKILL)


def plant(bomb: Bomb, sites: Mapping[str, str]) -> None:
    """Put the bomb to every seam of this process. `sites` names the two instances by `host:port`."""
    for name in WRITES:
        setattr(Journal, name, _writing(bomb, f"journal {name}", getattr(Journal, name)))
    for owner, name, seam in (
        (Ledger, "remember", _writing(bomb, "ledger remember", Ledger.remember)),
        (Transport, "exchange", _requesting(bomb, sites, Transport.exchange)),
        (Connection, "send", _sending(bomb, Connection.send)),
        (Connection, "receive", _receiving(bomb, Connection.receive)),
        (crew, "connect", _around(bomb, "master websocket", connect)),
    ):
        setattr(owner, name, seam)


def main(arguments: list[str], *, trace: Path | None, at: str, sites: Mapping[str, str]) -> int:
    """`pseudoworker` with these arguments and the bomb."""
    plant(Bomb(trace, at), sites)
    return cli.main(arguments)


def _around(bomb: Bomb, what: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(call)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        bomb.pass_by(f"before {what}")
        result = await call(*args, **kwargs)
        bomb.pass_by(f"after {what}")
        return result

    return wrapped


def _writing(bomb: Bomb, name: str, write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A write to the journal, with the phase or kind that it writes down."""

    @functools.wraps(write)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        detail = next(
            (
                f" {arg.phase.value}" if isinstance(arg, State) else f" {arg}"
                for arg in args
                if isinstance(arg, State | str)
            ),
            "",
        )
        return await _around(bomb, f"{name}{detail}", write)(*args, **kwargs)

    return wrapped


def _requesting(
    bomb: Bomb, sites: Mapping[str, str], exchange: Callable[..., requests.Response]
) -> Callable[..., requests.Response]:
    def wrapped(
        self: Transport, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float
    ) -> requests.Response:
        what = f"{request_name(method, url, sites)}"
        bomb.pass_by(f"before {what}")
        if isinstance(body, Iterator):
            body = _amid(bomb, what, body)
        response = exchange(self, method, url, headers, body, timeout)
        bomb.pass_by(f"after {what}")
        return response

    return wrapped


def _amid(bomb: Bomb, what: str, body: Iterator[bytes]) -> Iterator[bytes]:
    yield next(body, b"")
    bomb.pass_by(f"amid {what}")
    yield from body


def _sending(
    bomb: Bomb, send: Callable[[Connection, Mapping[str, Json]], Awaitable[None]]
) -> Callable[[Connection, Mapping[str, Json]], Awaitable[None]]:
    async def wrapped(self: Connection, message: Mapping[str, Json]) -> None:
        what = " ".join(str(message[key]) for key in ("type", "status") if key in message)
        await _around(bomb, f"sending {what}", send)(self, message)

    return wrapped


def _receiving(
    bomb: Bomb, receive: Callable[[Connection], Awaitable[ServerMessage]]
) -> Callable[[Connection], Awaitable[ServerMessage]]:
    async def wrapped(self: Connection) -> ServerMessage:
        message = await receive(self)
        bomb.pass_by(f"after receiving {type(message).__name__}")
        return message

    return wrapped


def request_name(method: str, url: str, sites: Mapping[str, str]) -> str:
    """A request in words that are the same for every job."""
    parts = urlsplit(url)
    path = re.sub(r"\d+", "N", parts.path.removeprefix("/api/v1/"))
    told = {key: value for key, value in parse_qsl(parts.query) if key in _TELLING and value != "0"}
    kind = f" {' '.join(sorted(told))}" if told else ""
    return f"{sites.get(parts.netloc, parts.netloc)} {method} {path}{kind}"


if __name__ == "__main__":
    named = os.environ.get("CRASH_TRACE")
    places = dict(pair.split("=") for pair in os.environ.get("CRASH_SITES", "").split())
    sys.exit(
        main(
            sys.argv[1:],
            trace=Path(named) if named else None,
            at=os.environ.get("CRASH_AT", ""),
            sites=places,
        )
    )
