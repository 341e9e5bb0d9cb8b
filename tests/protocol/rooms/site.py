"""A small site over a real socket that gives prepared answers and keeps what was asked."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from aiohttp import web

from pseudoworker.openqa.client import Client
from pseudoworker.openqa.json import Json


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    form: list[tuple[str, str]] = field(default_factory=list)
    document: Json = None
    file: tuple[str, bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"

    def one(self, name: str) -> str | None:
        """The value of a parameter, wherever it stood; it must not be there twice."""
        values = [value for key, value in self.query + self.form if key == name]
        assert len(values) <= 1
        return values[0] if values else None


@dataclass(frozen=True)
class Said:
    """One answer."""

    body: Json | bytes = None
    status: int = 200
    content_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)


Answer = Said | Callable[[Asked], Said]


class Site:
    """Answers by route: `GET /api/v1/jobs/7`. A list is worked off, its last answer stays."""

    def __init__(self, routes: dict[str, Answer | list[Answer]]) -> None:
        self.routes = {
            route: list(said) if isinstance(said, list) else [said] for route, said in routes.items()
        }
        self.asked: list[Asked] = []
        self.url = ""

    def asked_of(self, route: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.route == route]

    @property
    def log(self) -> list[str]:
        return [asked.route for asked in self.asked]

    async def handle(self, request: web.Request) -> web.Response:
        asked = await _read(request)
        self.asked.append(asked)
        answers = self.routes.get(asked.route, [Said(b"<html><title>Page not found</title></html>", 404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        said = answer if isinstance(answer, Said) else answer(asked)
        raw = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        kind = said.content_type or ("text/html" if isinstance(said.body, bytes) else "application/json")
        return web.Response(
            body=raw, status=said.status, headers={**said.headers, "Content-Type": f"{kind}; charset=utf-8"}
        )


@asynccontextmanager
async def serving(routes: dict[str, Answer | list[Answer]]) -> AsyncIterator[Site]:
    """Run a site on a free port of loopback."""
    site = Site(routes)
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{tail:.*}", site.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield site
    finally:
        await runner.cleanup()


@contextmanager
def client_of(site: Site) -> Iterator[Client]:
    """A client of the site, closed in the end."""
    with ThreadPoolExecutor(4) as executor:
        client = Client(site.url, "0123456789ABCDEF", "FEDCBA9876543210", executor=executor, in_flight=4)
        try:
            yield client
        finally:
            client.close()


async def _read(request: web.Request) -> Asked:
    form: list[tuple[str, str]] = []
    document: Json = None
    file: tuple[str, bytes] | None = None
    if request.content_type == "application/json":
        document = await request.json()
    elif request.content_type == "multipart/form-data":
        fields = await request.post()
        for name, value in fields.items():
            if isinstance(value, web.FileField):
                assert name == "file"
                file = (value.filename, value.file.read())
            else:
                assert isinstance(value, str)
                form.append((name, value))
    elif request.can_read_body:
        form = parse_qsl(await request.text(), keep_blank_values=True)
    query = parse_qsl(request.url.raw_query_string, keep_blank_values=True)
    return Asked(request.method, request.url.path, query, form, document, file, dict(request.headers))
