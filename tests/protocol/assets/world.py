"""Both fakes with assets, and the package under test between them as the daemon would open it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from pseudoworker.bridge.assets.factory import Assets, open_assets
from pseudoworker.bridge.assets.provider import Provided
from pseudoworker.config.model import (
    AssetPolicy,
    ClassMap,
    Configuration,
    Credentials,
    Limits,
    Site,
    WorkerSettings,
)
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.messages import Grabbed
from pseudoworker.openqa.views import JobView
from tests.fakes.exchange import Exchange, Route, answer, page_not_found
from tests.fakes.flavour import BW, Flavour
from tests.fakes.model import Asset, Job
from tests.fakes.pair import MASTER_KEY, SLAVE_KEY, FakePair
from tests.fakes.server import FakeOpenQA
from tests.fakes.serving import serve_bytes

GRU_PAUSE = 0.05


def content_of(size: int, seed: int = 0) -> bytes:
    """Bytes that repeat nowhere near."""
    block = b"".join((index * 2654435761 + seed).to_bytes(8, "big", signed=False) for index in range(4096))
    return (block * (size // len(block) + 1))[:size]


class Memory:
    """Acknowledgements that survive, as the journal's do."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, str], dict[str, str]] = {}

    async def acknowledged(self, master_id: int, kind: str) -> Mapping[str, str]:
        return dict(self.kept.get((master_id, kind), {}))

    async def acknowledge(self, master_id: int, kind: str, values: Mapping[str, str]) -> None:
        self.kept.setdefault((master_id, kind), {}).update(values)


class Gru:
    """The slave's background task that downloads what `…_URL` settings name (Task/Asset/Download.pm)."""

    def __init__(self, slave: FakeOpenQA, domains: tuple[str, ...] = ("127.0.0.1", "localhost")) -> None:
        self.slave = slave
        self.domains = domains
        self.running = True
        self.shown: tuple[int, int, int, int] | None = None
        """Tasks that run, wait and are delayed, and busy workers; None shows nothing."""
        self.full = False
        self.needs_key = ""
        """URLs that begin so are not given to this task, which has no key (`require_for_assets`)."""
        self.urls: list[str] = []
        self._seen: set[int] = set()
        slave.hooks.append(self._look)
        self.tasks: set[asyncio.Task[None]] = set()

    async def _look(self, when: str, exchange: Exchange) -> None:
        if when != "after" or exchange.kind != "create" or not self.running:
            return
        for job in list(self.slave.db.jobs.values()):
            urls = {key: url for key, url in job.settings.items() if key.endswith("_URL")}
            if urls and job.id not in self._seen:
                self._seen.add(job.id)
                task = asyncio.create_task(self._download(job, urls))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    async def _download(self, job: Job, urls: Mapping[str, str]) -> None:
        await asyncio.sleep(GRU_PAUSE)
        for key, url in urls.items():
            self.urls.append(url)
            host = url.split("/")[2].rpartition(":")[0]
            if not any(host.endswith(domain) for domain in self.domains):
                self._fail(job, f'Host "{host}" of URL "{url}" is not on the passlist')
                return
            if self.full:
                self._fail(job, f'Downloading "{url}" failed with: No space left on device')
                return
            if self.needs_key and url.startswith(self.needs_key):
                self._fail(job, f'Downloading "{url}" failed with: Download of "x" failed: 403 Forbidden')
                return
            try:
                async with aiohttp.ClientSession() as session, session.get(url) as response:
                    content = await response.read()
                    status = response.status
            except aiohttp.ClientError as error:
                self._fail(job, f'Downloading "{url}" failed with: Download of "x" failed: {error}')
                return
            if status != 200:
                self._fail(job, f'Downloading "{url}" failed with: Download of "x" failed: {status} no')
                return
            kind = {"ISO_URL": "iso", "KERNEL_URL": "other"}.get(
                key, "hdd" if key.startswith("HDD") else "other"
            )
            self.slave.db.register(kind, job.settings[key.removesuffix("_URL")], content)

    def _fail(self, job: Job, reason: str) -> None:
        job.result, job.reason = "incomplete", f"preparation failed: {reason}"
        self.slave.db.scheduled.pop(job.id, None)
        job.enter("done")
        job.touch()


def minion_route(gru: Gru) -> Route:
    """What gru shows for monitoring (Controller/Admin/Influxdb.pm)."""

    async def minion(exchange: Exchange) -> web.StreamResponse:
        if gru.shown is None:
            return page_not_found()
        running, waiting, delayed, busy = gru.shown
        return web.Response(
            text=f"openqa_minion_jobs,url=http://x active={running}i,delayed={delayed}i,failed=0i,"
            f"inactive={waiting}i\nopenqa_minion_workers,url=http://x active={busy}i,inactive=1i\n"
        )

    return Route("GET", "/admin/influxdb/minion", "minion", minion)


def partial_route(server: FakeOpenQA) -> Route:
    """Partial files of uploads are served like any file of the factory directory."""

    async def serve(exchange: Exchange) -> web.StreamResponse:
        key = (int(exchange.path["job"]), exchange.path["scope"], exchange.path["name"])
        part = server.reports.chunks.partial.get(key)
        return page_not_found() if part is None else serve_bytes(exchange.request, key[2], bytes(part), 0.0)

    path = r"/assets/tmp/{scope}/{job:\d+}/{folder}/{name}"
    return Route("GET", path, "partial", serve)


def unregister_route(server: FakeOpenQA) -> Route:
    """`DELETE workers/<id>`: only those that are offline."""

    async def unregister(exchange: Exchange) -> web.StreamResponse:
        worker = server.db.workers.pop(int(exchange.path["worker"]))
        server.workers._by_name.pop((worker.host, worker.instance))
        return answer({"message": "Delete worker successfully."})

    return Route("DELETE", r"/api/v1/workers/{worker:\d+}", "unregister", unregister, signed=True)


def repo_route(roots: dict[object, Path], side: object) -> Route:
    """`/assets/repo/<name>/<path>`."""

    async def repo_file(exchange: Exchange) -> web.StreamResponse:
        root = roots.get(side)
        path = None if root is None else root / exchange.path["name"] / exchange.path["path"]
        if path is None or not path.is_file():
            return page_not_found()
        return serve_bytes(exchange.request, path.name, path.read_bytes(), path.stat().st_mtime)

    return Route("GET", "/assets/repo/{name}/{path:.+}", "repo_file", repo_file)


@dataclass
class World:
    """What a test needs."""

    pair: FakePair
    assets: Assets
    factory: Path
    gru: Gru
    memory: Memory
    pairs: dict[int, int]
    master_client: Client
    slave_client: Client
    directories: dict[object, Path]
    """Where the repositories of each side lie."""
    notes: list[str] = field(default_factory=list)

    @property
    def master(self) -> Any:
        return self.pair.master

    @property
    def slave(self) -> Any:
        return self.pair.slave

    def put(self, side: FakeOpenQA, kind: str, name: str, content: bytes, age: float = 0.0) -> Asset:
        """An asset that lies there, modified that many seconds ago."""
        asset = side.db.register(kind, name, content)
        asset.modified = float(int(time.time() - age))
        return asset

    async def provide(self, **settings: str) -> Provided:
        return await self.assets.provider.provide(Grabbed(1, settings, {}), self.notes.append)

    def on_slave(self, kind: str, name: str) -> bytes | None:
        asset = self.slave.db.assets.get((kind, name))
        return None if asset is None else bytes(asset.content)

    def leftovers(self) -> list[str]:
        """Partial files in the slave's factory directory."""
        return [str(path) for path in self.factory.rglob("*") if path.name.startswith("pseudoworker-")]

    def open_helpers(self) -> list[int]:
        """Helper jobs that are not over."""
        jobs = self.slave.db.jobs.values()
        return [job.id for job in jobs if job.settings["TEST"] == "pseudoworker-asset" and not job.final]

    def running_job(self) -> Job:
        """A job of the master that a worker runs."""
        job: Job = self.master.post()
        worker = self.master.workers.add("bridge", 1)
        self.master.db.scheduled.pop(job.id)
        job.assigned = worker
        worker.tie(job)
        job.enter("running")
        return job

    def finished_job(self, assets: Mapping[tuple[str, str], bytes], **settings: str) -> JobView:
        """A job of the slave that is over and created these assets, given by their names on the slave."""
        job_id = self.slave.db.create(({"TEST": "made"} | settings).items())["id"]
        job: Job = self.slave.db.jobs[job_id]
        self.slave.db.scheduled.pop(job.id)
        job.result = "passed"
        job.enter("done")
        for (kind, template), content in assets.items():
            name = template.replace("{id}", f"{job_id:08d}")
            self.put(self.slave, kind, name, content).created_by = job_id
            job.assets.append((kind, name))
        listed: dict[str, tuple[str, ...]] = {}
        for kind, name in job.assets:
            listed[kind] = (*listed.get(kind, ()), name)
        return JobView(job_id, "made", "done", "passed", settings=job.settings, assets=listed)


@asynccontextmanager
async def world(
    tmp_path: Path,
    *,
    flavour: Flavour = BW,
    seen: bool = True,
    local_upload: bool = False,
    chunk_size: int = 100_000,
    domains: tuple[str, ...] = ("127.0.0.1", "localhost"),
    master_url: str = "",
    slave_url: str = "",
    **policy: Any,
) -> AsyncIterator[World]:
    """`seen`: whether the bridge sees the slave's factory directory; `policy`: of AssetPolicy."""
    factory = tmp_path / "factory"
    for kind in ("iso", "hdd", "other", "repo", "tmp"):
        (factory / kind).mkdir(parents=True, exist_ok=True)
    pair = FakePair(flavour=flavour, slave={"factory": factory})
    directories: dict[object, Path] = {}
    for side in (pair.master, pair.slave):
        side.extra_routes += [partial_route(side), unregister_route(side), repo_route(directories, side)]
    gru = Gru(pair.slave, domains)
    pair.slave.extra_routes.append(minion_route(gru))
    threads = ThreadPoolExecutor(8)
    async with pair:
        clients = [
            Client(url, *key, executor=threads, in_flight=16)
            for url, key in (
                (master_url or pair.master.url, MASTER_KEY),
                (slave_url or pair.slave.url, SLAVE_KEY),
            )
        ]
        pairs: dict[int, int] = {}

        async def pairing(master_id: int) -> int | None:
            return pairs.get(master_id)

        memory = Memory()
        options = {"min_free": 0, "factory_dir": factory if seen else None} | policy
        assets = open_assets(
            Configuration(
                master=Site(clients[0].url, Credentials(*MASTER_KEY)),
                slave=Site(clients[1].url, Credentials(*SLAVE_KEY)),
                host="bridge",
                slots=(),
                classes=ClassMap("lab"),
                state_dir=tmp_path / "state",
                worker=WorkerSettings(local_upload=local_upload),
                limits=Limits(upload_chunk_size=chunk_size),
                assets=AssetPolicy(**options),
            ),
            master=clients[0],
            slave=clients[1],
            pairing=pairing,
            acknowledgements=memory,
        )
        try:
            yield World(pair, assets, factory, gru, memory, pairs, clients[0], clients[1], directories)
        finally:
            await assets.close()
            for task in gru.tasks:
                task.cancel()
            for client in clients:
                client.close()
            threads.shutdown()
