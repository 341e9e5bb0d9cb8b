"""How fast assets move between the lab's instances, against the plain limit of each way, in one run.

`python -m benchmarks.assets [MEGABYTES [WAY…]]` (1000, all ways: local url bridge upload relay), with the lab
up. Downloads are measured against curl writing to the same disk, uploads against openQA's own client
(`upload.pl`) in one process, each right before the transport that it is the limit of. Prints one JSON object
a line: what was measured, and the load of the machine then.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from examples.lab.layout import Instance
from pseudoworker.bridge.assets.upload import UploadTransport
from pseudoworker.bridge.assets.url import UrlTransport
from pseudoworker.config.model import Credentials
from pseudoworker.master.job import MasterJob
from pseudoworker.openqa.views import JobView
from pseudoworker.slave.assets import HelperJobs
from tests.fakes.ports import free_ports
from tests.real.assets_lab import LabAssets, lab_assets

CHUNK = 1_000_000
UPLOAD = Path(__file__).with_name("upload.pl")


class Memory:
    """The most memory that this process had while something ran."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._end = threading.Event()
        self.before = self._process.memory_info().rss
        self.peak = self.before
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            self.peak = max(self.peak, self._process.memory_info().rss)


async def timed(work: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Seconds that it took, and memory in MB."""
    begin = time.monotonic()
    with Memory() as memory:
        await work()
    seconds = time.monotonic() - begin
    return {"s": seconds, "before_mb": memory.before / 1e6, "peak_mb": memory.peak / 1e6}


async def run(*command: str) -> float:
    """Seconds that a program took; raises when it failed."""
    begin = time.monotonic()
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    if await process.wait():
        raise RuntimeError(f"{command[0]} failed")
    return time.monotonic() - begin


def fill(path: Path, size: int) -> None:
    """A file of bytes that nothing can pack, with the owner of its directory."""
    with path.open("wb") as file:
        for _ in range(size // 1_000_000):
            file.write(os.urandom(1_000_000))
    status = path.parent.stat()
    os.chown(path, status.st_uid, status.st_gid)


@asynccontextmanager
async def job_of_ours(la: LabAssets, instance: Instance, client: Any) -> AsyncIterator[MasterJob]:
    """A job of an instance that runs on a worker of ours, to upload to."""
    key = instance.operator
    transport = UploadTransport(
        la.assets.products.master,
        site_of(la, client),
        HelperJobs(client, f"bench-{secrets.token_hex(4)}"),
        Credentials(key.key, key.secret),
        None,
        f"bench-{secrets.token_hex(4)}",
        CHUNK,
        la.assets.threads,
    )
    async with transport._worker(1) as (worker, worker_class):
        job_id = await transport.helpers.post({}, worker_class=worker_class)
        raw = await worker.take(job_id)
        keeper = asyncio.ensure_future(worker.keep_alive(job_id, raw))
        job = MasterJob(client, job_id, worker.id)
        await job.post_status()
        try:
            yield job
        finally:
            keeper.cancel()
            await job.set_done("passed")


def site_of(la: LabAssets, client: Any) -> Any:
    """The site that belongs to a client."""
    products = la.assets.products
    return products.master if client is la.master else products.slave


async def measure(size: int, ways: Sequence[str]) -> None:
    """Measure one way after the other, and print each."""
    for way in ways:
        name = f"bench-{secrets.token_hex(4)}.raw"
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as directory:
            async with lab_assets(Path(directory), seen=True, transport="local", chunk_size=CHUNK) as la:
                files = [instance.factory_directory / "hdd" / name for instance in la.lab]
                try:
                    figures = await WAYS[way](la, way, name, size)
                finally:
                    for file in files:
                        remove(file)
        figures |= {"ratio": figures["plain_s"] / figures["s"], "load": load}
        print(json.dumps({"way": way, "bytes": size, "cpus": os.cpu_count()} | figures), flush=True)


async def download(la: LabAssets, way: str, name: str, size: int) -> dict[str, float]:
    """A transport that downloads, after curl."""
    policy: dict[str, Any] = {"transport": way}
    if way == "bridge":
        policy = {"transport": "url", "serve_address": f"127.0.0.1:{free_ports(1)}"}
    fill(la.lab.master.factory_directory / "hdd" / name, size)
    address = f"{la.lab.master.url}/assets/hdd/{name}"
    copy = la.lab.slave.factory_directory / "hdd" / f"curl-{name}"
    with tempfile.TemporaryDirectory() as directory:
        async with lab_assets(Path(directory), seen=way == "local", chunk_size=CHUNK, **policy) as other:
            if way == "bridge":
                (url,) = other.assets.provider._placer.transports
                assert isinstance(url, UrlTransport)
                url._refused["master"] = (float("inf"), "measuring the bridge")
            plain = await run("curl", "--silent", "--fail", "--output", str(copy), address)
            remove(copy)
            return {"plain_s": plain} | await timed(partial(provide, other, name))


async def provide(la: LabAssets, name: str) -> None:
    """Bring the asset, and let it go."""
    provided = await la.provide(HDD_1=name)
    await provided.held.release()


async def upload(la: LabAssets, _way: str, name: str, size: int) -> dict[str, float]:
    """The transport that uploads, after openQA's own client."""
    source = la.lab.master.factory_directory / "hdd" / name
    fill(source, size)
    with tempfile.TemporaryDirectory() as directory:
        async with (
            lab_assets(Path(directory), transport="upload", chunk_size=CHUNK) as other,
            job_of_ours(la, la.lab.slave, la.slave) as job,
        ):
            plain = await run(*perl(la.lab.slave, job.job_id, source, f"plain-{name}"))
            remove(la.lab.slave.factory_directory / "hdd" / f"plain-{name}")
            return {"plain_s": plain} | await timed(partial(provide, other, name))


async def relay(la: LabAssets, _way: str, name: str, size: int) -> dict[str, float]:
    """A product on its way to the master, after openQA's own client; and what the download alone takes."""
    made = la.lab.slave.factory_directory / "hdd" / name
    final = la.lab.master.factory_directory / "hdd" / name
    fill(made, size)
    products = la.assets.products
    products = replace(products, local=replace(products.local, allowed=False))
    async with job_of_ours(la, la.lab.master, la.master) as job:
        plain = await run(*perl(la.lab.master, job.job_id, made, f"plain-{name}"))
        remove(final.with_name(f"plain-{name}"))
        url = f"{la.lab.slave.url}/assets/hdd/{name}"
        read = await run("curl", "--silent", "--fail", "--output", "/dev/null", url)
        view = JobView(1, "made", "done", "passed", assets={"hdd": (name,)})
        figures = await timed(partial(products.relay, view, job, la.notes.append))
        assert size_of(final) == size
        return {"plain_s": plain, "download_s": read, "sum_s": plain + read} | figures


WAYS = {"local": download, "url": download, "bridge": download, "upload": upload, "relay": relay}


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file."""
    return path.stat().st_size


def perl(instance: Instance, job_id: int, file: Path, name: str) -> tuple[str, ...]:
    """openQA's own client, uploading."""
    key = instance.operator
    return (
        "perl",
        str(UPLOAD),
        instance.url,
        key.key,
        key.secret,
        str(job_id),
        str(file),
        name,
        str(CHUNK),
    )


if __name__ == "__main__":
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    asyncio.run(measure(megabytes * 1_000_000, sys.argv[2:] or list(WAYS)))
