"""One fake openQA instance over real sockets: web UI, websocket server and live handler on three ports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Final, Self

from aiohttp import web

from tests.fakes.auth import Keys
from tests.fakes.control import Control
from tests.fakes.creating import Creating
from tests.fakes.database import Database, finalize
from tests.fakes.exchange import Exchange, Route, error, negotiated, page_not_found, read
from tests.fakes.faults import Dropped, Traffic, afterwards, cut, instead
from tests.fakes.flavour import BW, Flavour
from tests.fakes.live import LiveView
from tests.fakes.model import Asset, Job
from tests.fakes.ports import free_ports
from tests.fakes.reading import Reading
from tests.fakes.reports import Reports
from tests.fakes.scheduler import Scheduler
from tests.fakes.websocket import Workers

Hook = Callable[[str, Exchange], Awaitable[None]]
"""Called with `before` or `after` (the work is done, the answer not yet sent) and the request; may raise
`Dropped`, then the connection breaks there."""
_LARGEST_BODY: Final = 1 << 30
_STREAMS: Final = frozenset({"ws", "streaming", "livelog", "liveterminal"})


class FakeOpenQA:
    """An instance: start it, talk to it as to an openQA, ask it what arrived."""

    def __init__(
        self,
        *,
        flavour: Flavour = BW,
        port: int = 0,
        key: str = "0123456789ABCDEF",
        secret: str = "FEDCBA9876543210",
        worker_timeout: float = 1800.0,
        prefix: str = "",
        redirect_websocket: bool = True,
        keep_content: bool = True,
        factory: Path | None = None,
    ) -> None:
        self.flavour = flavour
        self.port = port
        self.public_port: int | None = None
        """Where clients find the web UI when something stands between (a fault proxy): redirects name it."""
        self.prefix = prefix
        """Path under which a reverse proxy would show it; then all daemons answer on the one port."""
        self.factory = factory
        """A directory with iso/, hdd/, other/, repo/ where files may be put for `POST assets`."""
        self.keys = Keys(key, secret, prefix=prefix)
        self.traffic = Traffic()
        self.hooks: list[Hook] = []
        self._posts: set[asyncio.Task[web.StreamResponse]] = set()
        self.db = Database(flavour)
        self.scheduler = Scheduler(self.db, worker_timeout)
        self.db.wake = self.scheduler.wake
        self.workers = Workers(self, redirect=redirect_websocket and not prefix)
        self.reports = Reports(self, keep_content=keep_content)
        self.live = LiveView(self)
        self.reading = Reading(self)
        self.control = Control(self)
        self._rooms = (self.workers, self.reports, Creating(self), self.live, self.reading, self.control)
        self._runners: list[web.AppRunner] = []
        self._sites: list[tuple[web.AppRunner, int]] = []
        self.extra_routes: list[Route] = []

    @property
    def url(self) -> str:
        """The web UI's base URL."""
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @property
    def live_url(self) -> str:
        """What stands before `/tests/<id>/streaming`."""
        if not self.flavour.live_handler:
            return self.url
        return f"http://127.0.0.1:{self.port + (0 if self.prefix else 2)}{self.prefix}/liveviewhandler"

    def result_file(self, job: Job, name: str) -> bytes | None:
        """A file of a job's result directory, or of its ulogs."""
        content = job.files.get(name)
        if content is None and name.startswith("details-") and name.endswith(".json"):
            module = job.modules.get(name[8:-5])
            content = (
                None if module is None or module.details is None else json.dumps(module.details).encode()
            )
        if content is None and name in job.screenshots:
            content = self.db.images.get(job.screenshots[name])
        return job.ulogs.get(name) if content is None else content

    def order(self, job: Job, command: str, options: Mapping[str, str]) -> None:
        """Do to a job what a user or the instance would; raises `LookupError` for an unknown command."""
        if command == "cancel":
            self.db.cancel(job)
        elif command == "restart":
            self.db.restart(job)
        elif command == "delete":
            self.db.delete(job)
        elif command == "obsolete":
            self.db.cancel(job, "obsoleted")
        elif command in ("abort", "quit", "developer_session_start", "livelog_start", "livelog_stop"):
            self.db.command(job, command)
        elif command in ("watch", "unwatch"):
            (self.live.watch if command == "watch" else self.live.unwatch)(job)
        elif command == "finalize":
            finalize(job)
        else:
            raise LookupError(f"unknown command {command}")

    def find_asset(self, kind: str, name: str) -> Asset | None:
        """A file of the factory directory that is not registered yet, which registers it."""
        if self.factory is None or "/" in name or name.startswith("."):
            return None
        path = self.factory / kind / name
        if path.is_dir():
            return self.db.register(kind, name, b"")
        return self.db.register(kind, name, path.read_bytes()) if path.is_file() else None

    @property
    def authority(self) -> str:
        """`host:port`, as client.conf names it."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> Self:
        """Listen; ports that were 0 are chosen now."""
        self.port = self.port or free_ports(3)
        one_port = bool(self.prefix)
        routes = [route for room in self._rooms for route in room.routes()] + self.extra_routes
        for offset, name in enumerate(("web", "websocket", "live")):
            if one_port and name != "web":
                break
            app = web.Application(client_max_size=_LARGEST_BODY)
            for route in routes:
                if one_port or route.port == name:
                    handler = self._handler(route)
                    app.router.add_route(route.method, self.prefix + route.path, handler)
                    if route.method == "GET" and route.kind not in _STREAMS:
                        app.router.add_route("HEAD", self.prefix + route.path, handler)
            app.router.add_route("*", "/{rest:.*}", self._nowhere)
            app.on_response_prepare.append(self._stamp)
            runner = web.AppRunner(
                app, access_log=None, handle_signals=False, shutdown_timeout=0.1, handler_cancellation=True
            )
            await runner.setup()
            self._runners.append(runner)
            self._sites.append((runner, self.port + offset))
        await self.listen()
        self.scheduler.start()
        return self

    async def listen(self) -> None:
        """Accept connections (again)."""
        for runner, port in self._sites:
            for host in ("127.0.0.1", "::1"):
                site = web.TCPSite(runner, host, port, backlog=2048, reuse_address=True)
                try:
                    await site.start()
                except OSError:
                    if host == "127.0.0.1":
                        raise
                    # A machine without IPv6 has no ::1; everything works without it.
                    await site.stop()

    async def deafen(self) -> None:
        """Refuse connections and break the open ones: the whole instance is down, but keeps its tables."""
        for runner, _ in self._sites:
            for site in list(runner.sites):
                await site.stop()
            if runner.server is not None:
                for connection in list(runner.server.connections):
                    if connection.transport is not None:
                        connection.transport.abort()
        self._drop_posts()

    async def stop(self) -> None:
        """Stop listening and every task."""
        await self.scheduler.stop()
        await self.live.stop()
        await self.workers.stop()
        for runner in self._runners:
            await runner.cleanup()
        self._drop_posts()
        self._runners.clear()
        self._sites.clear()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def _drop_posts(self) -> None:
        for task in self._posts:
            task.cancel()

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            exchange = await read(request, route.kind)
            if request.method != "POST":
                return await answered(request, exchange)
            # openQA does what it was asked for, whether or not anybody still waits for the answer.
            task = asyncio.create_task(answered(request, exchange))
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)
            return await asyncio.shield(task)

        async def answered(request: web.Request, exchange: Exchange) -> web.StreamResponse:
            kind = exchange.kind = artefact_kind(exchange) if route.kind == "artefact" else route.kind
            self.traffic.counts[kind] += 1
            self.traffic.received[kind] += len(exchange.body)
            if kind == "control":
                return await route.handler(exchange)
            try:
                for hook in self.hooks:
                    await hook("before", exchange)
            except Dropped:
                return cut(request)
            fault = self.traffic.take(kind) if self.traffic.faults else None
            if fault is not None and (response := await instead(request, fault)) is not None:
                return response
            if route.signed and (objection := self.keys.objection(request, self.flavour)) is not None:
                return negotiated(request, error(objection, 403))
            response = negotiated(request, await route.handler(exchange))
            if isinstance(response, web.Response) and response.body is not None:
                self.traffic.sent[kind] += response.content_length or 0
            try:
                for hook in self.hooks:
                    await hook("after", exchange)
            except Dropped:
                return cut(request)
            return response if fault is None else await afterwards(request, fault, response)

        return handle

    async def _nowhere(self, request: web.Request) -> web.StreamResponse:
        self.traffic.counts["nowhere"] += 1
        self.traffic.counts[f"nowhere {request.method} {request.path}"] += 1
        return negotiated(request, page_not_found())

    async def _stamp(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "Mojolicious (Perl)"
        if self.keys.skew:
            response.headers["Date"] = web_date(self.keys.now())


def artefact_kind(exchange: Exchange) -> str:
    """What is uploaded: `image`, `thumb`, `ulog`, `chunk` or `file`."""
    if exchange.true("image"):
        return "thumb" if exchange.true("thumb") else "image"
    if exchange.get("asset"):
        return "chunk"
    return "ulog" if exchange.true("ulog") else "file"


def web_date(seconds: float) -> str:
    """A time as the Date header has it."""
    return formatdate(seconds, usegmt=True)
