"""Routes that create, cancel, restart and delete jobs (API/V1/Job.pm)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from tests.fakes.database import BadRequest
from tests.fakes.exchange import Exchange, Route, answer, error
from tests.fakes.model import Document, Job

if TYPE_CHECKING:
    from tests.fakes.server import FakeOpenQA


class Creating:
    """What operators and the worker of a job that gives up may do to jobs."""

    def __init__(self, server: FakeOpenQA) -> None:
        self.server = server
        self.db = server.db

    def routes(self) -> list[Route]:
        """What they answer."""
        job = r"/api/v1/jobs/{job:\d+}"
        return [
            Route("POST", "/api/v1/jobs", "create", self.create, signed=True),
            Route("POST", f"{job}/cancel", "cancel", self.cancel, signed=True),
            Route("POST", f"{job}/restart", "restart", self.restart, signed=True),
            Route("POST", f"{job}/duplicate", "duplicate", self.duplicate, signed=True),
            Route("POST", f"{job}/prio", "prio", self.prio, signed=True),
            Route("DELETE", job, "delete", self.delete, signed=True),
        ]

    async def create(self, exchange: Exchange) -> web.StreamResponse:
        """`POST jobs`: one job, or several with their dependencies."""
        try:
            return answer(self.db.create(exchange.params))
        except BadRequest as problem:
            return error(str(problem))

    async def cancel(self, exchange: Exchange) -> web.StreamResponse:
        """`POST jobs/<id>/cancel`: with it goes its parallel cluster."""
        if (job := self._job(exchange)) is None:
            return missing()
        self.db.cancel(job, reason=exchange.get("reason"))
        return answer({"result": None})

    async def restart(self, exchange: Exchange) -> web.StreamResponse:
        """`POST jobs/<id>/restart`: clones the cluster and aborts what runs."""
        return self._again(exchange, abort=True)

    async def duplicate(self, exchange: Exchange) -> web.StreamResponse:
        """`POST jobs/<id>/duplicate`: the worker's own way, nothing is aborted."""
        return self._again(exchange, abort=False)

    def _again(self, exchange: Exchange, *, abort: bool) -> web.StreamResponse:
        job = self._job(exchange)
        settings = dict(pair.split("=", 1) for pair in exchange.all("set") if "=" in pair)
        document: Document = {"result": [], "test_url": []}
        if job is None or job.state in ("scheduled", "assigned"):
            return answer(document)
        clones = self.db.restart(job, settings) if abort else self.db.auto_duplicate(job, settings)
        if isinstance(clones, str):
            return answer(document | {"errors": [clones]})
        document["result"] = [{str(old): clone.id for old, clone in clones.items()}]
        document["test_url"] = [{str(old): f"/tests/{clone.id}" for old, clone in clones.items()}]
        if not abort:
            document["id"] = clones[job.id].id
        return answer(document)

    async def prio(self, exchange: Exchange) -> web.StreamResponse:
        """`POST jobs/<id>/prio`."""
        if (job := self._job(exchange)) is None:
            return missing()
        job.priority = exchange.number("prio") or 0
        job.touch()
        return answer({"result": 1})

    async def delete(self, exchange: Exchange) -> web.StreamResponse:
        """`DELETE jobs/<id>`."""
        if (job := self._job(exchange)) is None:
            return missing()
        self.db.delete(job)
        return answer({"result": 1})

    def _job(self, exchange: Exchange) -> Job | None:
        return self.db.jobs.get(int(exchange.path["job"]))


def missing() -> web.Response:
    """The 404 of most routes for a job that does not exist (find_job_or_render_not_found)."""
    return error("Job does not exist", 404)
