"""What the worker of a job sends: status, artefacts, the end (API/V1/Job.pm, Schema/Result/Jobs.pm)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tests.fakes.chunks import Chunks
from tests.fakes.creating import missing
from tests.fakes.database import BadRequest
from tests.fakes.exchange import Exchange, Route, answer, error, text, validation_error
from tests.fakes.model import EXECUTION, Document, Job, Module, Worker

if TYPE_CHECKING:
    from tests.fakes.server import FakeOpenQA

_MD5: Final = re.compile(r"^[a-fA-F0-9]{32}$")
_STREAMS: Final = ("log", "serial_log", "serial_terminal", "serial_terminal_user")


class Refused(Exception):
    """The status post is answered with an error and stops where it is."""

    def __init__(self, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.status = status


class Reports:
    """The routes of a job's worker."""

    def __init__(self, server: FakeOpenQA, *, keep_content: bool) -> None:
        self.server = server
        self.db = server.db
        self.keep_content = keep_content
        """Whether files and images are kept, or only that they came."""
        self.on_status: list[Callable[[Job, Document], None]] = []
        """Called with each status that was taken."""
        self.chunks = Chunks(server)

    def routes(self) -> list[Route]:
        """What they answer."""
        job = r"/api/v1/jobs/{job:\d+}"
        return [
            Route("POST", f"{job}/status", "status", self.status, signed=True),
            Route("POST", f"{job}/artefact", "artefact", self.artefact, signed=True),
            Route("POST", f"{job}/upload_state", "upload_state", self.chunks.upload_state, signed=True),
            Route("POST", f"{job}/set_done", "set_done", self.set_done, signed=True),
            Route(
                "POST",
                f"/liveviewhandler{job}/upload_progress",
                "upload_progress",
                self.progress,
                signed=True,
                port="live",
            ),
        ]

    async def status(self, exchange: Exchange) -> web.StreamResponse:
        """`POST jobs/<id>/status`."""
        document = exchange.json()
        if document is None:
            return error("No status information provided")
        job = self.db.jobs.get(int(exchange.path["job"]))
        if job is None:
            return error(f"Got status update for non-existing job: {exchange.path['job']}")
        status = (document.get("status") if isinstance(document, dict) else None) or {}
        try:
            worker = self._worker(job, status)
            return answer(self.apply(job, worker, status))
        except Refused as refusal:
            job.report.refused["status"] += 1
            if job.final:
                job.report.late.append("status")
            return error(str(refusal), refusal.status)

    def _worker(self, job: Job, status: Document) -> Worker:
        worker_id = status.get("worker_id")
        if worker_id is None:
            raise Refused(f"Got status update for job {job.id} but does not contain a worker id!")
        worker = job.worker
        info = f"{job.state} with result {job.result}" if job.final else job.state
        if worker is None and job.t_finished is None:
            worker = job.assigned
            if worker is None:
                raise Refused(
                    f"Got status update for job {job.id} and worker {worker_id} but there is"
                    f" not even a worker assigned to this job (job is {info})"
                )
        if worker is None or str(worker.id) != str(worker_id):
            expected = worker.id if worker else "no updates anymore"
            raise Refused(
                f"Got status update for job {job.id} with unexpected worker ID {worker_id}"
                f" (expected {expected}, job is {info})"
            )
        return worker

    def apply(self, job: Job, worker: Worker, status: Document) -> Document:
        """Take a status of a job's worker; the answer. Raises `Refused`."""
        flavour = self.server.flavour
        if job.worker is not worker:
            worker.tie(job)
        worker.t_seen = time.monotonic()
        if status.get("uploading"):
            if job.state not in EXECUTION:
                return {"result": flavour.refused_uploading}
            self.db.enter(job, "uploading")
            self._record(job, status)
            return {"result": flavour.accepted_uploading}
        if job.state in ("assigned", "setup"):
            job.t_started = time.time()
            self.db.enter(job, "running")
        if job.state not in ("running", "uploading") and not (
            job.state == "cancelled" and flavour.cancelled_status
        ):
            return {"result": 0}
        self._streams(job, status)
        if "backend" in status and not flavour.lenient_status:
            raise Refused(
                "DBIx::Class::Row::store_column(): No such column 'backend' on OpenQA::Schema::Result::Jobs"
            )
        self._insert_modules(job, status.get("test_order"))
        images: set[str] = set()
        files: set[str] = set()
        unknown = [
            name
            for name, result in sorted((status.get("result") or {}).items())
            if not self._update_module(job, name, result, images, files)
        ]
        self._record(job, status)
        job.touch()
        if unknown:
            raise Refused("Failed modules: " + ", ".join(unknown), 490)
        worker.properties["CMD_SRV_URL"] = status.get("cmd_srv_url") or ""
        worker.properties["WORKER_HOSTNAME"] = status.get("worker_hostname") or ""
        return {
            "result": 1,
            "known_images": sorted(images),
            "known_files": sorted(files),
            "job_result": job.calculate_result(),
        }

    def _streams(self, job: Job, status: Document) -> None:
        for name in _STREAMS:
            piece = status.get(name)
            if isinstance(piece, dict) and piece.get("data"):
                if name == "log":
                    job.live.log += piece["data"]
                else:
                    job.live.terminal += piece["data"]
                job.live.notify()
        screen = status.get("screen")
        if isinstance(screen, dict):
            if screen.get("name"):
                job.live.screen = (screen["name"], screen.get("png") or "")
                job.live.notify()
        elif screen and not self.server.flavour.lenient_status:
            raise Refused('Can\'t use string ("screen") as a HASH ref while "strict refs" in use')

    def _insert_modules(self, job: Job, order: Any) -> None:
        lenient = self.server.flavour.lenient_status
        if not order:
            return
        if not isinstance(order, list):
            if lenient:
                return
            raise Refused('Can\'t use string as an ARRAY ref while "strict refs" in use')
        rows = []
        for entry in order:
            whole = isinstance(entry, dict) and all(
                entry.get(name) for name in ("name", "category", "script")
            )
            flags = entry.get("flags") or {} if whole else {}
            if not whole or not isinstance(flags, dict):
                if lenient:
                    continue
                raise Refused("null value in column of relation job_modules violates not-null constraint")
            kept = {flag for flag in ("milestone", "fatal", "always_rollback") if flags.get(flag)}
            if not flags.get("ignore_failure"):
                kept.add("important")
            if flags.get("always_run") and self.server.flavour.always_run:
                kept.add("always_run")
            rows.append(Module(entry["name"], entry["category"], entry["script"], frozenset(kept)))
        for row in rows:
            job.modules.setdefault(row.name, row)

    def _update_module(self, job: Job, name: str, result: Any, images: set[str], files: set[str]) -> bool:
        module = job.modules.get(name)
        if module is None:
            return False
        module.result = module_result(result)
        steps = result.get("details")
        for step in steps if isinstance(steps, list) else []:
            screenshot = step.get("screenshot")
            if isinstance(screenshot, dict):
                step["screenshot"] = screenshot["name"]
                job.screenshots[screenshot["name"]] = screenshot["md5"]
                if screenshot["md5"] in self.db.images:
                    images.add(screenshot["md5"])
            elif (other := step.get("text") or step.get("audio")) and other in job.files:
                files.add(other)
        module.details = result
        return True

    def _record(self, job: Job, status: Document) -> None:
        kept = {key: value for key, value in status.items() if key not in ("result", "test_order")}
        if "screen" in kept and isinstance(kept["screen"], dict):
            kept["screen"] = {"name": kept["screen"].get("name")}
        for name in ("result", "test_order"):
            if name in status:
                kept[name] = (
                    [entry["name"] for entry in status[name]]
                    if name == "test_order"
                    else sorted(status[name])
                )
        job.report.statuses.append(kept)
        job.report.status_times.append(time.monotonic())
        for listener in self.on_status:
            listener(job, status)

    async def artefact(self, exchange: Exchange) -> web.StreamResponse:
        """`POST jobs/<id>/artefact`: an image, a thumbnail, a file, a ulog or a chunk of an asset."""
        job = self.db.jobs.get(int(exchange.path["job"]))
        if job is None:
            return error(f"Specified job {exchange.path['job']} does not exist", 404)
        if job.worker is None:
            job.report.refused[exchange.kind] += 1
            if job.final:
                job.report.late.append(exchange.kind)
            return error("No worker assigned", 404)
        job.worker.t_seen = time.monotonic()
        upload = exchange.upload
        if upload is None and not exchange.get("local"):
            return validation_error("file")
        md5 = exchange.get("md5", "") or ""
        if exchange.true("image"):
            if not _MD5.match(md5):
                return validation_error(invalid=["md5"]) if md5 else validation_error("md5")
            assert upload is not None
            self._store_image(job, md5.lower(), upload[1], thumb=exchange.true("thumb"))
            return text("OK")
        if scope := exchange.get("asset"):
            return await self.chunks.take(job, scope, upload, exchange.get("local"))
        assert upload is not None
        name, content = upload
        target, prefix = (job.ulogs, "ulogs/") if exchange.true("ulog") else (job.files, "")
        target[name] = content if self.keep_content else b""
        job.report.uploads[prefix + name] += 1
        job.cache.pop("details", None)
        return text("OK")

    def _store_image(self, job: Job, md5: str, content: bytes, *, thumb: bool) -> None:
        store, counter = (self.db.thumbs, job.report.thumbs) if thumb else (self.db.images, job.report.images)
        store[md5] = content if self.keep_content else b""
        counter[md5] += 1

    async def set_done(self, exchange: Exchange) -> web.StreamResponse:
        """`POST jobs/<id>/set_done`."""
        job = self.db.jobs.get(int(exchange.path["job"]))
        if job is None:
            return missing()
        if worker_id := exchange.get("worker_id"):
            if job.assigned is None:
                job.report.refused["set_done"] += 1
                return error("Refusing to set result because job has already been re-scheduled.")
            if str(job.assigned.id) != worker_id:
                job.report.refused["set_done"] += 1
                return error(
                    f"Refusing to set result because job is currently assigned to worker {job.assigned.id})."
                )
        result, reason = exchange.get("result"), exchange.get("reason")
        newbuild = exchange.get("newbuild")
        job.report.ends.append({key: value for key, value in exchange.params if key != "worker_id"})
        try:
            final = self.db.done(job, result, reason, newbuild=newbuild is not None)
        except BadRequest as problem:
            job.report.ends.pop()
            return error(str(problem))
        return answer({"result": final, "reason": reason})

    async def progress(self, exchange: Exchange) -> web.StreamResponse:
        """`POST /liveviewhandler/api/v1/jobs/<id>/upload_progress`."""
        job = self.db.jobs.get(int(exchange.path["job"]))
        if job is None:
            return missing()
        document = exchange.json()
        job.report.progress.append(document if isinstance(document, dict) else {})
        return answer({})


def module_result(result: Document) -> str:
    """A module's result as os-autoinst writes it, in the web UI's words (JobModules::update_result)."""
    told = str(result.get("result") or "none")
    for prefix, word in (
        ("fail", "failed"),
        ("na", "none"),
        ("ok", "passed"),
        ("unk", "none"),
        ("skip", "skipped"),
    ):
        if told.startswith(prefix) and told != word:
            told = word + told[len(prefix) :]
    return "softfailed" if result.get("dents") and told == "passed" else told
