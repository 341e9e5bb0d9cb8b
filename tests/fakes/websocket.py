"""Workers: registration and websocket (API/V1/Worker.pm, WebSockets/Controller/Worker.pm)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import WSMsgType, web

from tests.fakes.exchange import Exchange, Route, answer, error, links, page_not_found, text, validation_error
from tests.fakes.faults import Dropped
from tests.fakes.model import EXECUTION, Channel, Document, Job, Worker
from tests.fakes.views import worker_view

if TYPE_CHECKING:
    from tests.fakes.server import FakeOpenQA

_REQUIRED: Final = ("host", "instance", "cpu_arch", "mem_max", "worker_class")
_CAPABILITIES: Final = (
    "cpu_arch", "cpu_modelname", "cpu_opmode", "cpu_flags", "mem_max", "isotovideo_interface_version",
    "websocket_api_version", "worker_class", "parallel_one_host_only",
)  # fmt: skip
_ONE_ONLY: Final = b"only one connection per worker allowed, finishing old one in favor of new one"
_LARGEST_MESSAGE: Final = 10_485_760


MessageHook = Callable[[str, Worker, Document], Awaitable[None]]
"""Called with `before` or `after` for each message of a worker; may raise `Dropped`."""


class Connection(Channel):
    """A worker's websocket, seen from the server."""

    def __init__(self, socket: web.WebSocketResponse, worker: Worker) -> None:
        self.socket = socket
        self.worker = worker
        self._queue: asyncio.Queue[Document | bytes | None] = asyncio.Queue()
        self._writer = asyncio.create_task(self._write())

    def send(self, message: Document) -> None:
        """Queue one message."""
        self._queue.put_nowait(message)

    def send_raw(self, content: bytes) -> None:
        """Queue a text message of any content."""
        self._queue.put_nowait(content)

    async def close(self, code: int, reason: bytes = b"") -> None:
        """Send what is queued, then close with a code; 1006 breaks the connection without one."""
        self._queue.put_nowait(None)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await self._writer
        if code == 1006:
            transport = self.socket._req.transport if self.socket._req is not None else None
            if transport is not None:
                transport.abort()
        else:
            await self.socket.close(code=code, message=reason)

    async def _write(self) -> None:
        while (message := await self._queue.get()) is not None:
            await self.socket.send_str(
                message.decode() if isinstance(message, bytes) else json.dumps(message)
            )

    def cancel(self) -> None:
        """Stop writing."""
        self._writer.cancel()


class Workers:
    """The routes that only workers use to say that they are there."""

    def __init__(self, server: FakeOpenQA, *, redirect: bool) -> None:
        self.server = server
        self.redirect = redirect
        self.limit: int | None = None
        """At most so many workers may be connected; the next gets 429 with `Retry-After` (newer releases)."""
        self.retry_after = "900"
        self.hooks: list[MessageHook] = []
        self.silent = False
        """While true, `worker_status` is not answered with `info`."""
        self._next_worker = 1
        self._by_name: dict[tuple[str, int], Worker] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """What they answer."""
        return [
            Route("POST", "/api/v1/workers", "register", self.register, signed=True),
            Route("GET", "/api/v1/workers", "workers", self.list),
            Route("GET", r"/api/v1/workers/{worker:\d+}", "workers", self.show, signed=True),
            Route("GET", r"/api/v1/ws/{worker:\d+}", "ws", self.upgrade),
            Route("GET", r"/ws/{worker:\d+}", "ws", self.connect, port="websocket"),
            Route("GET", r"/api/v1/ws/{worker:\d+}", "ws", self.connect, port="websocket"),
        ]

    async def stop(self) -> None:
        """Close every websocket."""
        for worker in self.server.db.workers.values():
            if isinstance(worker.channel, Connection):
                worker.channel.cancel()
                await worker.channel.close(1001)
        for task in self._closing:
            task.cancel()

    async def register(self, exchange: Exchange) -> web.StreamResponse:
        """`POST workers`: a worker introduces itself, with the jobs it still works on."""
        missing = [name for name in _REQUIRED if not exchange.get(name)]
        if missing:
            return validation_error(*missing)
        if exchange.get("websocket_api_version") != "1":
            return error("Incompatible websocket API version", 426)
        instance = exchange.get("instance", "")
        if not instance or not instance.isdigit():
            return error("Failed: instance", 500)
        worker = self.add(exchange.get("host") or "", int(instance))
        worker.registrations += 1
        for name in _CAPABILITIES:
            if value := exchange.get(name):
                worker.properties[name.upper()] = value
        self.abandon(worker, set(exchange.all("job_id")))
        document: Document = {"id": worker.id}
        if self.server.flavour.port_delta is not None:
            document["service_port_delta"] = self.server.flavour.port_delta
            worker.error = None
        self.server.scheduler.wake()
        return answer(document)

    def add(self, host: str, instance: int) -> Worker:
        """The worker of that name, created where it is unknown."""
        worker = self._by_name.get((host, instance))
        if worker is None:
            worker = Worker(self._next_worker, host, instance)
            self._next_worker += 1
            self._by_name[host, instance] = self.server.db.workers[worker.id] = worker
        worker.t_seen = time.monotonic()
        return worker

    def abandon(self, worker: Worker, kept: set[str]) -> None:
        """Give up the jobs that a worker no longer knows (_incomplete_previous_job)."""
        current = worker.job
        if current is not None and self._incomplete(worker, current, kept):
            worker.tie(None)
        for job in list(worker.jobs.values()):
            self._incomplete(worker, job, kept)

    def _incomplete(self, worker: Worker, job: Job, kept: set[str]) -> bool:
        db = self.server.db
        if str(job.id) in kept:
            return False
        if job.state == "scheduled" or db.reschedule(job):
            return True
        db.auto_duplicate(job)
        reason = f"abandoned: associated worker {worker.name} re-connected but abandoned the job"
        db.done(job, "incomplete", reason)
        return True

    async def list(self, exchange: Exchange) -> web.StreamResponse:
        """`GET workers`."""
        server = self.server
        paged = server.flavour.port_delta is not None
        if not paged and exchange.get("limit") == "0":
            return text("<html><title>Server error</title></html>", 500)
        workers = list(server.db.workers.values())
        limit, offset = exchange.number("limit"), exchange.number("offset") or 0
        limit = server.flavour.list_limit[0] if limit is None else limit
        shown = workers[offset : offset + limit] if paged else workers
        timeout, live = server.scheduler.worker_timeout, paged or exchange.true("live")
        views = [worker_view(worker, timeout, live=live) for worker in shown]
        headers = links(exchange, limit, offset, more=len(workers) > offset + limit) if paged else None
        return answer({"workers": views}, headers=headers)

    async def show(self, exchange: Exchange) -> web.StreamResponse:
        """`GET workers/<id>`."""
        worker = self.server.db.workers.get(int(exchange.path["worker"]))
        if worker is None:
            return page_not_found()
        return answer({"worker": worker_view(worker, self.server.scheduler.worker_timeout, live=True)})

    async def upgrade(self, exchange: Exchange) -> web.StreamResponse:
        """The web UI's own port: sends the worker on to the websocket server, unless a proxy stands there."""
        if exchange.request.headers.get("Upgrade", "").lower() != "websocket":
            return page_not_found()
        if not self.redirect:
            return await self.connect(exchange)
        port = (self.server.public_port or self.server.port) + 1
        location = f"http://localhost:{port}/ws/{exchange.path['worker']}"
        return web.Response(status=302, headers={"Location": location})

    async def connect(self, exchange: Exchange) -> web.StreamResponse:
        """The websocket server: one connection per worker, the newer one wins."""
        server, worker = self.server, self.server.db.workers.get(int(exchange.path["worker"]))
        objection = server.keys.objection(
            exchange.request, server.flavour, hashed=server.flavour.websocket_hash
        )
        if objection is not None:
            return error(objection, 403)
        if worker is None:
            return text("Unknown worker", 400)
        if self._too_many(worker):
            worker.error = "limited at " + time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
            return web.Response(
                text="Limit of worker connections exceeded",
                status=429,
                headers={"Retry-After": self.retry_after},
            )
        socket = web.WebSocketResponse(max_msg_size=_LARGEST_MESSAGE, timeout=1.0, compress=False)
        await socket.prepare(exchange.request)
        server.traffic.connections += 1
        old = worker.channel
        connection = worker.channel = Connection(socket, worker)
        if isinstance(old, Connection):
            task = asyncio.create_task(old.close(1008, _ONE_ONLY))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        server.scheduler.wake()
        try:
            await self._listen(connection)
        finally:
            worker.closes.append(socket.close_code)
            connection.cancel()
            if worker.channel is connection:
                worker.channel = None
        return socket

    def _too_many(self, worker: Worker) -> bool:
        if self.limit is None or worker.job is not None or worker.channel is not None:
            return False
        return sum(other.channel is not None for other in self.server.db.workers.values()) >= self.limit

    async def _listen(self, connection: Connection) -> None:
        worker, socket = connection.worker, connection.socket
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            try:
                message = json.loads(frame.data)
            except ValueError:
                message = None
            self.server.traffic.counts["ws message"] += 1
            if not isinstance(message, dict):
                await socket.close(code=1003, message=b"Received unexpected data from worker, forcing close")
                return
            worker.statuses.append((time.monotonic(), message))
            if worker.properties.get("WEBSOCKET_API_VERSION") != "1":
                connection.send({"type": "incompatible"})
                await connection.close(1008, b"incompatible communication protocol version")
                return
            try:
                for hook in self.hooks:
                    await hook("before", worker, message)
                self.heard(worker, message, connection)
                for hook in self.hooks:
                    await hook("after", worker, message)
            except Dropped:
                await connection.close(1006)
                return

    def send_raw(self, worker: Worker, content: bytes) -> None:
        """Send any text to a worker; raises `LookupError` when it has no websocket."""
        if not isinstance(worker.channel, Connection):
            raise LookupError(f"worker {worker.name} is not connected")
        worker.channel.send_raw(content)

    async def close(self, worker: Worker, code: int) -> None:
        """Close a worker's websocket; 1006 breaks it without a word."""
        if isinstance(worker.channel, Connection):
            await worker.channel.close(code)

    def heard(self, worker: Worker, message: dict[str, Any], channel: Channel) -> None:
        """Act on one message of a worker."""
        db, kind = self.server.db, message.get("type")
        was_idle, worker.idle_despite_job = worker.idle_despite_job, False
        if kind == "quit":
            worker.t_seen, worker.error = None, "graceful disconnect"
            for assigned in list(worker.jobs.values()):
                db.reschedule(assigned)
        elif kind == "rejected":
            ids = message.get("job_ids")
            for job_id in ids if isinstance(ids, list) else []:
                job = worker.jobs.get(int(job_id))
                if job is not None and job.state == "assigned":
                    db.reschedule(job)
            worker.t_seen = time.monotonic()
        elif kind == "accepted":
            job = worker.jobs.get(int(message.get("jobid") or 0))
            if job is not None:
                if job.state == "assigned":
                    db.enter(job, "setup")
                worker.tie(job)
                worker.t_seen = time.monotonic()
        elif kind == "worker_status":
            self._status(worker, message, channel, was_idle=was_idle)
        self.server.scheduler.wake()

    def _status(self, worker: Worker, message: dict[str, Any], channel: Channel, *, was_idle: bool) -> None:
        db = self.server.db
        broken = message.get("status") == "broken"
        worker.t_seen = time.monotonic()
        worker.error = message.get("reason") if broken else None
        if not self.silent:
            channel.send(
                {
                    **self.server.flavour.info,
                    **({"population": len(db.workers)} if "population" in self.server.flavour.info else {}),
                }
            )
        told = message.get("job") or {}
        job_id = told.get("id")
        unfinished = list(worker.jobs.values())
        current = worker.job or (unfinished[0] if unfinished else None)
        token = (told.get("settings") or {}).get("JOBTOKEN")
        runs_it = (
            current is not None
            and str(job_id) == str(current.id)
            and token == worker.properties.get("JOBTOKEN")
            and current.state in EXECUTION
            and len(unfinished) <= 1
        )
        if not runs_it and was_idle:
            for job in {*unfinished, *([current] if current else ())}:
                if job.state == "assigned":
                    db.reschedule(job)
        if not runs_it:
            worker.idle_despite_job = not broken and job_id is None and current is not None
