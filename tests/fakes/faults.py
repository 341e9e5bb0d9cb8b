"""What may go wrong on purpose, and how often each kind of request came."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from aiohttp import web

Action = Literal[
    "status", "delay", "drop", "lost", "half", "html", "garbage", "hang", "short", "slow", "redirect"
]
_HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>503</title></head><body>the proxy is having a nap</body></html>\n"
)
DEEP: Final = b"[" * 100_000
"""Nesting that no parser likes."""


class Dropped(Exception):
    """Raised by a hook: the connection breaks here."""


@dataclass
class Fault:
    """One thing that goes wrong, for certain requests.

    Actions: `status` (answer with that status), `delay` (answer late), `drop` (no answer, nothing was done),
    `lost` (it was done, but the connection breaks before the answer), `half` (half of the answer, then the
    connection breaks), `short` (promises more bytes than it sends and keeps the connection), `slow` (one byte
    each `seconds`), `html` and `garbage` (with `status`), `hang` (no answer until the client goes away),
    `redirect` (302 to `location`).
    """

    kind: str
    """Of which requests: a pattern over kinds, `*` for all."""
    action: Action
    nth: int = 1
    """From the how manyth matching request on."""
    times: int = 1
    """For how many of them; 0 means for ever."""
    status: int = 503
    retry_after: str | None = None
    seconds: float = 1.0
    location: str = ""
    body: bytes | None = None
    rate: float = 1.0
    """The chance that it strikes, for a soak."""
    seen: int = 0
    struck: int = 0

    def strikes(self, kind: str, chance: random.Random) -> bool:
        """Count one request and say whether it is hit."""
        if not fnmatchcase(kind, self.kind):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times and self.struck >= self.times):
            return False
        if self.rate < 1.0 and chance.random() >= self.rate:
            return False
        self.struck += 1
        return True

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Fault:
        """From JSON; raises `ValueError` for a name that is no field."""
        known = {entry.name for entry in fields(cls)}
        if unknown := set(document) - known:
            raise ValueError(f"unknown in a fault: {', '.join(sorted(unknown))}")
        values = dict(document)
        if isinstance(values.get("body"), str):
            values["body"] = values["body"].encode()
        return cls(**values)


@dataclass
class Traffic:
    """Faults in force, and counts of everything that came."""

    faults: list[Fault] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    """Bytes of request bodies, by kind."""
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of answers, by kind, where the length is known beforehand."""
    struck: Counter[str] = field(default_factory=Counter)
    """How often a fault hit, as `kind:action`."""
    connections: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    since: float = field(default_factory=time.monotonic)

    def add(self, kind: str, action: Action, **values: Any) -> Fault:
        """Let something go wrong from now on."""
        fault = Fault(kind, action, **values)
        self.faults.append(fault)
        return fault

    def clear(self) -> None:
        """Let everything go right again."""
        self.faults.clear()

    def reset(self) -> None:
        """Count from nothing."""
        for counter in (self.counts, self.received, self.sent, self.struck):
            counter.clear()
        self.connections, self.since = 0, time.monotonic()

    def take(self, kind: str) -> Fault | None:
        """The fault that hits this request, if any."""
        hit = None
        for fault in self.faults:
            if fault.strikes(kind, self.chance) and hit is None:
                hit = fault
                self.struck[f"{kind}:{fault.action}"] += 1
        return hit


def cut(request: web.Request) -> web.Response:
    """Break the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def instead(request: web.Request, fault: Fault) -> web.StreamResponse | None:
    """What the client gets in place of an answer; None lets the request be handled."""
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    if fault.action == "delay":
        await asyncio.sleep(fault.seconds)
        return None
    if fault.action == "drop":
        return cut(request)
    if fault.action == "hang":
        await asyncio.sleep(fault.seconds if fault.seconds > 1 else 3600)
        return cut(request)
    if fault.action == "redirect":
        return web.Response(status=302, headers={"Location": fault.location or str(request.url)})
    if fault.action == "html":
        return web.Response(
            body=fault.body or _HTML, status=fault.status, headers=headers, content_type="text/html"
        )
    if fault.action == "garbage":
        body = DEEP if fault.body is None else fault.body
        return web.Response(body=body, status=fault.status, headers=headers, content_type="application/json")
    if fault.action == "status":
        body = b'{"error":"out of order"}' if fault.body is None else fault.body
        return web.Response(body=body, status=fault.status, headers=headers, content_type="application/json")
    return None


async def afterwards(request: web.Request, fault: Fault, response: web.StreamResponse) -> web.StreamResponse:
    """What becomes of the answer to a request that was handled."""
    if fault.action == "lost":
        return cut(request)
    if fault.action not in ("half", "short", "slow") or not isinstance(response, web.Response):
        return response
    body = response.body if isinstance(response.body, bytes) else b""
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(body) + (1 if fault.action == "short" else 0)
    await stream.prepare(request)
    if fault.action == "slow":
        for at in range(len(body)):
            await stream.write(body[at : at + 1])
            await asyncio.sleep(fault.seconds)
        return stream
    await stream.write(body if fault.action == "short" else body[: len(body) // 2])
    if fault.action == "short":
        await asyncio.sleep(3600)
    return cut(request)
