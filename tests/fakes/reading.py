"""Routes that read: jobs, their files and images, assets (API/V1/{Job,Asset,JobSettings}.pm, File.pm)."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from tests.fakes import views
from tests.fakes.creating import missing
from tests.fakes.exchange import (
    Exchange,
    Route,
    answer,
    error,
    links,
    page_not_found,
    text,
    validation_error,
)
from tests.fakes.model import Job
from tests.fakes.serving import serve_bytes
from tests.fakes.source import source_page

if TYPE_CHECKING:
    from tests.fakes.server import FakeOpenQA

_KEY: Final = re.compile(r"^[\w*\[\]]+$")
_WORD: Final = re.compile(r"^\w+$")
_COLUMNS: Final = ("distri", "version", "flavor", "arch", "test", "machine", "build")
_SETTINGS: Final = ("iso", "hdd_1", "worker_class")


class Reading:
    """What anyone may read."""

    def __init__(self, server: FakeOpenQA) -> None:
        self.server = server
        self.db = server.db

    def routes(self) -> list[Route]:
        """What they answer."""
        job, test = r"/api/v1/jobs/{job:\d+}", r"/tests/{job:\d+}"
        return [
            Route("GET", "/api/v1/jobs", "jobs", self.list),
            Route("GET", job, "job", self.show),
            Route("GET", f"{job}/details", "details", self.details),
            Route("GET", r"/api/v1/experimental/jobs/{job:\d+}/status", "job_status", self.brief),
            Route("GET", "/api/v1/job_settings/jobs", "job_settings", self.by_setting),
            Route("GET", "/api/v1/assets", "assets", self.assets),
            Route("GET", r"/api/v1/assets/{asset:\d+}", "assets", self.asset),
            Route("GET", "/api/v1/assets/{type}/{name}", "assets", self.asset),
            Route("POST", "/api/v1/assets", "register_asset", self.register_asset, signed=True),
            Route("GET", "/api/v1/auth", "auth", self.auth, signed=True),
            Route("GET", test, "page", self.page),
            Route("GET", f"{test}/file/{{name}}", "get_file", self.file),
            Route("GET", f"{test}/images/{{name}}", "get_image", self.file),
            Route("GET", f"{test}/images/thumb/{{name}}", "get_thumb", self.thumb),
            Route("GET", r"/image/{one}/{two}/.thumbs/{name}", "get_thumb", self.thumb_by_md5),
            Route("GET", f"{test}/modules/{{module}}/steps/{{step}}/src", "src", self.source),
            Route("GET", f"{test}/asset/{{type}}/{{name}}", "asset_link", self.asset_link),
            Route("GET", "/assets/{type}/{name}", "download", self.download),
        ]

    async def list(self, exchange: Exchange) -> web.StreamResponse:
        """`GET jobs`: by ids, or by what they are."""
        ids = [part for value in exchange.all("ids") for part in value.split(",")]
        if any(not part.isdigit() for part in ids):
            return error("ids must be integers", 500 if self.server.flavour.port_delta is None else 400)
        default, largest = self.server.flavour.list_limit
        given = exchange.number("limit")
        limit, offset = min(largest, default if given is None else given), exchange.number("offset") or 0
        if not limit:
            return error("Limit exceeds maximum")
        if ids:
            wanted = {int(part) for part in ids}
            jobs: Iterable[Job] = (
                self.db.jobs[found] for found in sorted(wanted, reverse=True) if found in self.db.jobs
            )
        else:
            jobs = reversed(self.db.jobs.values())
        if not ids or len(exchange.params) > 1:
            jobs = (job for job in jobs if self._matches(job, exchange, by_ids=bool(ids)))
        latest = exchange.get("latest") is not None
        found = _latest(jobs) if latest else list(jobs)
        page = found if latest else found[offset : offset + limit]
        # Perl sorts the ids as strings.
        page.sort(key=lambda job: str(job.id))
        bodies = [views.list_view(self.db.jobs, job, self.server.flavour, self._group(job)) for job in page]
        headers = {} if latest else links(exchange, limit, offset, more=len(found) > offset + limit)
        return answer(b'{"jobs":[' + b",".join(bodies) + b"]}", headers=headers)

    def _matches(self, job: Job, exchange: Exchange, *, by_ids: bool) -> bool:
        for name, of_job in (("state", job.state), ("result", job.result)):
            options = [part for value in exchange.all(name) for part in value.split(",")]
            if options and of_job not in options:
                return False
        scope = exchange.get("scope")
        if scope in ("current", "relevant") and job.clone_id is not None:
            return False
        if scope == "relevant" and job.result == "obsoleted":
            return False
        before, after, group = exchange.number("before"), exchange.number("after"), exchange.number("groupid")
        if (before and job.id >= before) or (after and job.id <= after) or (group and job.group_id != group):
            return False
        if by_ids:
            return True
        if (group_name := exchange.get("group")) and self._group(job) != group_name:
            return False
        columns = all(
            not exchange.get(key) or job.settings.get(key.upper()) == exchange.get(key) for key in _COLUMNS
        )
        settings = all(
            not exchange.get(key) or exchange.get(key) in _values(job, key.upper()) for key in _SETTINGS
        )
        return columns and settings

    def _group(self, job: Job) -> str | None:
        return None if job.group_id is None else self.db.groups[job.group_id]

    async def show(self, exchange: Exchange) -> web.StreamResponse:
        """`GET jobs/<id>`."""
        if (job := self._job(exchange)) is None:
            return self._no_job()
        return answer(views.show_view(self.db.jobs, job, self.server.flavour, self._group(job)))

    def _no_job(self) -> web.Response:
        return missing() if self.server.flavour.missing_job_error else page_not_found()

    async def details(self, exchange: Exchange) -> web.StreamResponse:
        """`GET jobs/<id>/details`."""
        if (job := self._job(exchange)) is None:
            return self._no_job()
        return answer(views.details_view(self.db.jobs, job, self.server.flavour, self._group(job)))

    async def brief(self, exchange: Exchange) -> web.StreamResponse:
        """`GET experimental/jobs/<id>/status`."""
        if (job := self._job(exchange)) is None:
            return missing()
        return answer(
            {"id": job.id, "state": job.state, "result": job.result, "blocked_by_id": job.blocked_by_id}
        )

    async def by_setting(self, exchange: Exchange) -> web.StreamResponse:
        """`GET job_settings/jobs`: jobs by `key` and `value` (newer releases), or by a word in a list."""
        flavour, key, part = self.server.flavour, exchange.get("key") or "", exchange.get("list_value")
        value = exchange.get("value") if flavour.setting_value else None
        invalid = [] if _KEY.match(key) and (flavour.setting_value or "[" not in key) else ["key"]
        if part is not None and not _WORD.match(part):
            invalid.append("list_value")
        if invalid:
            return validation_error(invalid=invalid)
        if (value is None) == (part is None):
            if not flavour.setting_value:
                return validation_error("list_value")
            return error('either "value" or "list_value" needs to be specified')
        jobs = reversed(self.db.jobs.values())
        if value is not None:
            return answer({"jobs": [job.id for job in jobs if job.settings.get(key) == value]})
        found = [
            job.id
            for job in jobs
            for name, stored in job.settings.items()
            if fnmatch.fnmatchcase(name, key) and part in stored.split(",")
        ]
        return answer({"jobs": found})

    async def assets(self, exchange: Exchange) -> web.StreamResponse:
        """`GET assets`."""
        limit, offset = exchange.number("limit") or 100_000, exchange.number("offset") or 0
        page = list(self.db.assets.values())[offset : offset + limit]
        headers = links(exchange, limit, offset, more=len(self.db.assets) > offset + limit)
        return answer({"assets": [views.asset_view(asset) for asset in page]}, headers=headers)

    async def asset(self, exchange: Exchange) -> web.StreamResponse:
        """`GET assets/<id>` and `GET assets/<type>/<name>`."""
        path = exchange.path
        for asset in self.db.assets.values():
            if str(asset.id) == path.get("asset") or (asset.type, asset.name) == (
                path.get("type"),
                path.get("name"),
            ):
                return answer(views.asset_view(asset))
        return answer({}, 404)

    async def register_asset(self, exchange: Exchange) -> web.StreamResponse:
        """`POST assets`: make a file known that lies in the factory directory."""
        kind, name = exchange.get("type") or "", exchange.get("name") or ""
        asset = self.db.assets.get((kind, name)) or self.server.find_asset(kind, name)
        return error("registering asset failed") if asset is None else answer({"id": asset.id})

    async def auth(self, exchange: Exchange) -> web.StreamResponse:
        """`GET auth`: newer releases say whether a key is good."""
        return text("ok") if self.server.flavour.setting_value else page_not_found()

    async def page(self, exchange: Exchange) -> web.StreamResponse:
        """The job's page."""
        job = self._job(exchange)
        return (
            page_not_found()
            if job is None
            else text(f"<html><title>openQA: {job.name} test results</title></html>")
        )

    async def file(self, exchange: Exchange) -> web.StreamResponse:
        """Any file of the result directory: details, text results, logs, ulogs, screenshots."""
        job, name = self._job(exchange), exchange.path["name"]
        content = None if job is None else self.server.result_file(job, name)
        if job is None or content is None:
            return page_not_found()
        modified, guarded = job.t_finished or job.t_created, self.server.flavour.guards_downloads
        return serve_bytes(exchange.request, name, content, modified, guarded=guarded)

    async def thumb(self, exchange: Exchange) -> web.StreamResponse:
        """A thumbnail by the screenshot's name."""
        job, name = self._job(exchange), exchange.path["name"]
        content = None if job is None else self.db.thumbs.get(job.screenshots.get(name, ""))
        if job is None or content is None:
            return page_not_found()
        return serve_bytes(exchange.request, name, content, job.t_created)

    async def thumb_by_md5(self, exchange: Exchange) -> web.StreamResponse:
        """A thumbnail by the parts of its md5."""
        path = exchange.path
        content = self.db.thumbs.get(path["one"] + path["two"] + path["name"].removesuffix(".png"))
        return (
            page_not_found() if content is None else serve_bytes(exchange.request, path["name"], content, 0)
        )

    async def source(self, exchange: Exchange) -> web.StreamResponse:
        """The page that shows a module's source, the only one that names its script."""
        job = self._job(exchange)
        module = None if job is None else job.modules.get(exchange.path["module"])
        if job is None or module is None or not (module.details or {}).get("details"):
            return page_not_found()
        return source_page(job, module)

    async def asset_link(self, exchange: Exchange) -> web.StreamResponse:
        """`/tests/<id>/asset/<type>/<name>`: redirects to the download, for assets of that job."""
        job, kind, name = self._job(exchange), exchange.path["type"], exchange.path["name"]
        if job is None or (kind, name) not in job.assets or (kind, name) not in self.db.assets:
            return page_not_found()
        return web.Response(
            status=302, headers={"Location": f"{self.server.prefix}/assets/{kind}/{quote(name)}"}
        )

    async def download(self, exchange: Exchange) -> web.StreamResponse:
        """`/assets/<type>/<name>`, with ranges."""
        asset = self.db.assets.get((exchange.path["type"], exchange.path["name"]))
        guarded = self.server.flavour.guards_downloads
        if asset is None:
            refusal = page_not_found()
            if guarded:
                refusal.headers["Content-Disposition"] = f"attachment; filename={exchange.path['name']};"
            return refusal
        return serve_bytes(exchange.request, asset.name, asset.content, asset.modified, guarded=guarded)

    def _job(self, exchange: Exchange) -> Job | None:
        return self.db.jobs.get(int(exchange.path["job"]))


def _values(job: Job, key: str) -> list[str]:
    value = job.settings.get(key, "")
    return value.split(",") if key == "WORKER_CLASS" else [value]


def _latest(jobs: Iterable[Job]) -> list[Job]:
    seen: dict[tuple[str, ...], Job] = {}
    for job in jobs:
        seen.setdefault(tuple(job.settings.get(key.upper(), "") for key in _COLUMNS), job)
    return list(seen.values())
