"""Signed requests by hand, apart from the bridge's own client: for tests of the fakes and for recordings."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from yarl import URL

Pairs = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The document; raises `ValueError` when it is none."""
        return json.loads(self.body)


@dataclass
class Caller:
    """A client of one instance."""

    url: str
    key: str
    secret: str
    skew: float = 0.0
    """Added to the local time in signatures."""
    session: aiohttp.ClientSession = field(default_factory=aiohttp.ClientSession)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.session.close()

    def headers(self, path: str) -> dict[str, str]:
        """The three headers for a path with its query."""
        stamp = str(time.time() + self.skew)
        digest = hmac.new(self.secret.encode(), (path + stamp).encode(), "sha1").hexdigest()
        return {"X-API-Key": self.key, "X-API-Microtime": stamp, "X-API-Hash": digest}

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Answer:
        """Any request; redirects are not followed."""
        url = URL(self.url + path, encoded=True)
        signed = self.headers(url.raw_path_qs) | dict(headers or {})
        async with self.session.request(
            method, url, headers=signed, allow_redirects=False, **more
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, query: Pairs = (), *, headers: Mapping[str, str] | None = None) -> Answer:
        """GET."""
        encoded = urlencode(query).replace("~", "%7E")
        return await self.request("GET", path + (f"?{encoded}" if encoded else ""), headers=headers)

    async def post(self, path: str, form: Pairs = ()) -> Answer:
        """POST a form."""
        body = urlencode(form)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.request("POST", path, data=body, headers=kind)

    async def post_json(self, path: str, document: Any) -> Answer:
        """POST a document."""
        return await self.request("POST", path, json=document)

    async def upload(self, path: str, name: str, content: bytes, **fields: str) -> Answer:
        """POST a file with form fields beside it, as the stock worker does."""
        form = aiohttp.FormData()
        for key, value in fields.items():
            form.add_field(key, value)
        form.add_field("file", content, filename=name)
        return await self.request("POST", path, data=form)

    async def websocket(self, path: str) -> aiohttp.ClientWebSocketResponse:
        """Open a websocket, following one redirect."""
        answer = await self.request("GET", path, headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        url = URL(answer.headers["Location"] if answer.status == 302 else self.url + path)
        return await self.session.ws_connect(url, headers=self.headers(url.raw_path_qs))
