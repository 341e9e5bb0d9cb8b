"""What viewers of a running job get: server-sent events (WebAPI/Controller/Running.pm)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from tests.fakes.exchange import Exchange, Route, answer, page_not_found
from tests.fakes.model import Document, Job

if TYPE_CHECKING:
    from tests.fakes.server import FakeOpenQA

_TAIL: Final = 10 * 1024


class LiveView:
    """The streams; the screen's is the one that asks the worker for live data."""

    def __init__(self, server: FakeOpenQA) -> None:
        self.server = server
        self.text_interval = 0.05
        """Seconds between two looks at a text (1.0 in real ones)."""
        self.enabled = True
        """False: there is no live handler, and no page for pictures either."""
        self.open = 0
        """Streams that are open now."""
        self.opened = 0
        self._tasks: set[asyncio.Task[object]] = set()

    def routes(self) -> list[Route]:
        """What they answer; pictures come from another port in newer releases."""
        test = r"/tests/{job:\d+}"
        routes = [
            Route("GET", f"{test}/status", "live_status", self.status),
            Route("GET", f"{test}/livelog", "livelog", self.log),
            Route("GET", f"{test}/liveterminal", "liveterminal", self.terminal),
        ]
        if self.server.flavour.live_handler:
            routes.append(
                Route("GET", f"/liveviewhandler{test}/streaming", "streaming", self.screen, port="live")
            )
        else:
            routes.append(Route("GET", f"{test}/streaming", "streaming", self.screen))
        return routes

    async def stop(self) -> None:
        """Break every stream."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def status(self, exchange: Exchange) -> web.StreamResponse:
        """`/tests/<id>/status`: state and running module."""
        job = self.server.db.jobs.get(int(exchange.path["job"]))
        if job is None:
            return page_not_found()
        document: Document = {"state": job.state, "result": job.result}
        if job.worker is not None:
            document["workerid"] = job.worker.id
            running = [module.name for module in job.modules.values() if module.result == "running"]
            if running:
                document["running"] = running[-1]
        return answer(document)

    async def log(self, exchange: Exchange) -> web.StreamResponse:
        """`/tests/<id>/livelog`."""
        return await self._text(exchange, lambda job: job.live.log)

    async def terminal(self, exchange: Exchange) -> web.StreamResponse:
        """`/tests/<id>/liveterminal`."""
        return await self._text(exchange, lambda job: job.live.terminal)

    async def _text(self, exchange: Exchange, of: Callable[[Job], str]) -> web.StreamResponse:
        job = self.server.db.jobs.get(int(exchange.path["job"]))
        if job is None or job.worker is None:
            return self._refusal(job)
        async with self._stream(exchange) as stream:
            content = of(job)
            start = max(0, len(content) - _TAIL)
            if start:
                start = content.find("\n", start) + 1 or len(content)
            for line in content[start:].splitlines(keepends=True):
                await stream.send(json.dumps([line]))
            at = len(content)
            while job.worker is not None:
                changed = job.live.changed
                if len(of(job)) == at:
                    await changed.wait()
                await asyncio.sleep(self.text_interval)
                content = of(job)
                if len(content) > at:
                    await stream.send(json.dumps([content[at:]]))
                    at = len(content)
            return await stream.end()

    def _refusal(self, job: Job | None) -> web.Response:
        if job is None or not self.server.flavour.plain_live_error:
            return page_not_found()
        problem = f"The test {job.name} has no worker assigned so this route is not available."
        return web.Response(text=f"Page not found - {problem}", status=404)

    async def screen(self, exchange: Exchange) -> web.StreamResponse:
        """`…/streaming`: pictures as data URIs."""
        job = self.server.db.jobs.get(int(exchange.path["job"]))
        if not self.enabled or job is None or job.worker is None:
            return self._refusal(job)
        worker = job.worker
        async with self._stream(exchange) as stream:
            self._viewers(job, 1)
            try:
                shown = None
                while job.worker is worker:
                    changed = job.live.changed
                    if job.live.screen is not None and job.live.screen is not shown:
                        shown = job.live.screen
                        await stream.send(f"data:image/png;base64,{shown[1]}")
                    await changed.wait()
            finally:
                self._viewers(job, -1)
            return await stream.end()

    def watch(self, job: Job) -> None:
        """Be a viewer without a connection."""
        self._viewers(job, 1)

    def unwatch(self, job: Job) -> None:
        """Leave again."""
        self._viewers(job, -1)

    def _viewers(self, job: Job, change: int) -> None:
        job.live.viewers += change
        worker = job.worker
        if worker is not None and worker.channel is not None:
            kind = "livelog_start" if change > 0 else "livelog_stop"
            worker.channel.send({"type": kind, "jobid": job.id})

    @contextlib.asynccontextmanager
    async def _stream(self, exchange: Exchange) -> AsyncIterator[EventStream]:
        stream = EventStream(exchange.request)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        self.opened += 1
        try:
            yield stream
        finally:
            self.open -= 1
            self._tasks.discard(task)


class EventStream:
    """An answer whose head goes out with its first event, as Mojolicious does it: clients wait until then."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})

    async def send(self, data: str) -> None:
        """One event."""
        if not self._response.prepared:
            self._response.enable_chunked_encoding()
            await self._response.prepare(self._request)
        await self._response.write(f"data: {data}\n\n".encode())

    async def end(self) -> web.StreamResponse:
        """The end of the stream."""
        return self._response
