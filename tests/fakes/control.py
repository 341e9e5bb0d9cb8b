"""The API for tests: `/fake/…`, unsigned, on the web UI's port; in-process tests may use the objects."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fakes.exchange import Exchange, Route, answer, error
from tests.fakes.faults import Fault
from tests.fakes.invariants import violations
from tests.fakes.model import Document, Job

if TYPE_CHECKING:
    from tests.fakes.server import FakeOpenQA


class Control:
    """What a test may ask and order."""

    def __init__(self, server: FakeOpenQA) -> None:
        self.server = server

    def routes(self) -> list[Route]:
        """Everything below /fake."""
        routes = (
            ("GET", "/fake/state", self.state),
            ("POST", "/fake/jobs", self.create),
            ("GET", r"/fake/jobs/{job:\d+}", self.job),
            ("POST", r"/fake/jobs/{job:\d+}/{command}", self.command),
            ("GET", "/fake/violations", self.violations),
            ("GET", "/fake/traffic", self.traffic),
            ("DELETE", "/fake/traffic", self.forget),
            ("POST", "/fake/faults", self.add_fault),
            ("DELETE", "/fake/faults", self.clear_faults),
            ("POST", r"/fake/workers/{worker:\d+}/send", self.send),
            ("POST", r"/fake/workers/{worker:\d+}/close/{code:\d+}", self.close),
            ("POST", "/fake/set", self.set),
        )
        return [Route(method, path, "control", handler) for method, path, handler in routes]

    async def state(self, exchange: Exchange) -> web.StreamResponse:
        """How many jobs are in which state and result, and how the workers are."""
        db = self.server.db
        states: dict[str, int] = {}
        for job in db.jobs.values():
            name = f"{job.state}/{job.result}"
            states[name] = states.get(name, 0) + 1
        usage = resource.getrusage(resource.RUSAGE_SELF)
        workers = [
            {
                "id": worker.id,
                "name": worker.name,
                "connected": worker.channel is not None,
                "error": worker.error,
                "job": worker.job.id if worker.job else None,
                "closes": worker.closes,
            }
            for worker in db.workers.values()
        ]
        cpu = usage.ru_utime + usage.ru_stime
        document = {"pid": os.getpid(), "cpu_seconds": cpu, "streams": self.server.live.open}
        return answer({"jobs": states, "workers": workers, **document})

    async def create(self, exchange: Exchange) -> web.StreamResponse:
        """`{"settings": {…}, "count": n}`: create jobs without signing."""
        document = exchange.json()
        settings = {str(key): str(value) for key, value in document["settings"].items()}
        return answer([self.server.db.create(settings.items()) for _ in range(document.get("count", 1))])

    async def job(self, exchange: Exchange) -> web.StreamResponse:
        """Everything that is known about one job."""
        job = self.server.db.jobs.get(int(exchange.path["job"]))
        return error("no such job", 404) if job is None else answer(dump(self.server, job))

    async def command(self, exchange: Exchange) -> web.StreamResponse:
        """What a user or the instance would do: `cancel`, `restart`, `watch`, … (see `order`)."""
        job = self.server.db.jobs.get(int(exchange.path["job"]))
        if job is None:
            return error("no such job", 404)
        try:
            self.server.order(job, exchange.path["command"], dict(exchange.params))
        except LookupError as problem:
            return error(str(problem), 404)
        return answer({})

    async def violations(self, exchange: Exchange) -> web.StreamResponse:
        """What must never happen, and did."""
        return answer(violations(self.server))

    async def traffic(self, exchange: Exchange) -> web.StreamResponse:
        """Requests and bytes, by kind."""
        traffic = self.server.traffic
        return answer(
            {
                "counts": traffic.counts,
                "received": traffic.received,
                "sent": traffic.sent,
                "struck": traffic.struck,
                "connections": traffic.connections,
            }
        )

    async def forget(self, exchange: Exchange) -> web.StreamResponse:
        """Count from nothing."""
        self.server.traffic.reset()
        return answer({})

    async def add_fault(self, exchange: Exchange) -> web.StreamResponse:
        """One fault, as `faults.Fault` has it."""
        try:
            self.server.traffic.faults.append(Fault.parse(exchange.json()))
        except (ValueError, TypeError) as problem:
            return error(str(problem))
        return answer({})

    async def clear_faults(self, exchange: Exchange) -> web.StreamResponse:
        """No faults any more."""
        self.server.traffic.clear()
        return answer({})

    async def send(self, exchange: Exchange) -> web.StreamResponse:
        """Send the body to a worker as it is."""
        worker = self.server.db.workers[int(exchange.path["worker"])]
        self.server.workers.send_raw(worker, exchange.body)
        return answer({})

    async def close(self, exchange: Exchange) -> web.StreamResponse:
        """Close a worker's websocket with a code; 1006 just breaks it."""
        worker = self.server.db.workers[int(exchange.path["worker"])]
        await self.server.workers.close(worker, int(exchange.path["code"]))
        return answer({})

    async def set(self, exchange: Exchange) -> web.StreamResponse:
        """`skew`, `paused`, `worker_timeout`, `refused`, `limit`: switches of the instance."""
        document = exchange.json()
        server = self.server
        switches: Mapping[str, tuple[object, str]] = {
            "skew": (server.keys, "skew"),
            "refused": (server.keys, "refused"),
            "paused": (server.scheduler, "paused"),
            "worker_timeout": (server.scheduler, "worker_timeout"),
            "limit": (server.workers, "limit"),
        }
        if unknown := set(document) - set(switches):
            return error(f"unknown: {', '.join(sorted(unknown))}")
        for name, value in document.items():
            target, attribute = switches[name]
            setattr(target, attribute, value)
        server.scheduler.wake()
        return answer({})


def dump(server: FakeOpenQA, job: Job) -> Document:
    """All of a job as JSON, contents as md5 sums."""
    report = job.report
    return {
        "id": job.id,
        "state": job.state,
        "result": job.result,
        "reason": job.reason,
        "clone_id": job.clone_id,
        "settings": job.settings,
        "worker": job.assigned.id if job.assigned else None,
        "modules": [
            {
                "name": module.name,
                "category": module.category,
                "script": module.script,
                "result": module.result,
                "flags": sorted(module.flags),
                "details": module.details,
            }
            for module in job.modules.values()
        ],
        "files": {name: digest(content) for name, content in job.files.items()},
        "ulogs": {name: digest(content) for name, content in job.ulogs.items()},
        "screenshots": dict(job.screenshots),
        "images": {md5: digest(server.db.images.get(md5)) for md5 in job.screenshots.values()},
        "thumbs": {md5: digest(server.db.thumbs.get(md5)) for md5 in job.screenshots.values()},
        "assets": [list(asset) for asset in job.assets],
        "live": {
            "log": job.live.log,
            "terminal": job.live.terminal,
            "screen": job.live.screen,
            "viewers": job.live.viewers,
        },
        "states": report.states,
        "statuses": report.statuses,
        "ends": [dict(end) for end in report.ends],
        "refused": report.refused,
        "uploads": report.uploads,
        "late": report.late,
        "progress": report.progress,
    }


def digest(content: bytes | None) -> Any:
    """Size and md5 of a content; None for one that is missing."""
    return (
        None if content is None else [len(content), hashlib.md5(content, usedforsecurity=False).hexdigest()]
    )
