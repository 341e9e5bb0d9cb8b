"""The `upload` transport: the asset enters the slave as the product of a job that we run there ourselves.

openQA has no plain upload route: besides the file system and downloads, only a worker brings assets, as
products of its job. So a helper worker of ours, with a class that nobody else uses, takes a helper job and
uploads the asset in chunks, straight from the master's download. Nothing but the API is needed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pseudoworker.bridge.assets.errors import NoSpace, TransportRefused
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.source import Source
from pseudoworker.bridge.assets.transport import Carried, Order
from pseudoworker.config.model import Credentials
from pseudoworker.master.assets import Upload, Uploader, UploadFailure, stored_type
from pseudoworker.master.job import LeaseLost, MasterJob
from pseudoworker.master.registration import Capabilities, Identity, register
from pseudoworker.openqa.errors import OpenQAError, Refused, Unauthorized
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.messages import (
    GrabJob,
    GrabJobs,
    InvalidGrab,
    Stop,
    accepted,
    free,
    quit_,
    rejected,
    working,
)
from pseudoworker.openqa.retry import PROBE, REGISTER_HELPER
from pseudoworker.openqa.websocket import Connection, connect
from pseudoworker.slave.assets import WIND_UP, HelperJobs, unused_class

ASSIGNED_WITHIN = 300.0
"""Seconds for the slave's scheduler to hand us our own job."""
KEEP_ALIVE = 60.0
"""Seconds between two statuses of the helper worker while it uploads."""
MOST_WORKERS = 4
"""Helper workers at a time, and so numbers that the slave's list of workers ever shows."""

log = logging.getLogger(__name__)


@dataclass
class UploadTransport:
    """Uploads to the slave as a worker of the slave. `owner` names this bridge among the slave's workers."""

    master: Site
    slave: Site
    helpers: HelperJobs
    credentials: Credentials
    ca_file: Path | None
    owner: str
    chunk_size: int
    executor: Executor = field(repr=False)
    name: str = "upload"
    _numbers: list[int] = field(default_factory=lambda: list(range(MOST_WORKERS, 0, -1)))
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_WORKERS))
    _refused: str | None = None

    def unfit(self, target: Asset) -> str | None:
        """Of Transport: openQA tells the type of an upload by its name."""
        kind = stored_type(target.name)
        if kind != target.type:
            return f"the slave would file an upload of this name under {kind}/ by its ending"
        return None

    async def problem(self) -> str | None:
        """Of Transport."""
        return self._refused

    async def close(self) -> None:
        """Of Transport: transfers that run are cancelled by whoever waits for them."""

    async def carry(self, order: Order) -> Carried:
        """Of Transport."""
        async with self._free:
            number = self._numbers.pop()
            try:
                async with self._worker(number) as (worker, worker_class):
                    await self._run_job(worker, worker_class, order)
            except Unauthorized as error:
                self._refused = f"the slave's key may not be a worker: {error}"
                raise TransportRefused(self._refused, lasting=True) from error
            except UploadFailure as error:
                if "No space left" in str(error):
                    raise NoSpace(f"the slave's disk is full: {error}") from error
                raise TransportRefused(str(error)) from error
            except Refused as error:
                raise TransportRefused(str(error)) from error
            except LeaseLost as error:
                raise TransportRefused(f"the slave ended the helper job: {error}") from error
            finally:
                self._numbers.append(number)
        self._refused = None
        return Carried(self.name)

    @asynccontextmanager
    async def _worker(self, number: int) -> AsyncIterator[tuple[_Worker, str]]:
        """A helper worker that the slave's scheduler may hand jobs to, and its class."""
        worker_class = unused_class()
        host = "pseudoworker-" + re.sub(r"[^A-Za-z0-9_.-]", "-", self.owner)
        identity = Identity(host, number, worker_class, Capabilities.of_this_machine())
        worker_id = (await register(self.slave.client, identity, policy=REGISTER_HELPER)).worker_id
        try:
            connection = await connect(
                self.slave.url, worker_id, self.credentials.key, self.credentials.secret, self.ca_file
            )
            worker = _Worker(worker_id, self.slave.url, connection)
            try:
                await connection.send(free())
                yield worker, worker_class
            finally:
                await asyncio.shield(_soon(worker.leave()))
        finally:
            await asyncio.shield(self._unregister(worker_id))

    async def _run_job(self, worker: _Worker, worker_class: str, order: Order) -> None:
        """Post a helper job for this worker, take it, and have it produce the asset."""
        job_id = await self.helpers.post({}, worker_class=worker_class)
        try:
            raw = await worker.take(job_id)
            keeper = asyncio.ensure_future(worker.keep_alive(job_id, raw))
            sender = asyncio.ensure_future(
                self._produce(MasterJob(self.slave.client, job_id, worker.id), order)
            )
            try:
                await asyncio.wait((keeper, sender), return_when=asyncio.FIRST_COMPLETED)
                if not sender.done():
                    await keeper  # raises why it ended
                await sender
            finally:
                keeper.cancel()
                sender.cancel()
                await asyncio.gather(keeper, sender, return_exceptions=True)
        finally:
            await asyncio.shield(self.helpers.finish(job_id))

    async def _produce(self, job: MasterJob, order: Order) -> None:
        await job.post_status()
        file = order.file
        upload = Upload(job.job_id, order.target.name, "public", file.size, self.chunk_size)
        uploader = Uploader(self.slave.client, self.executor)
        try:
            await uploader.send(upload, lambda start: Source(self.master, file, start=start))
        except UploadFailure:
            raise  # discarded already
        except BaseException:
            await asyncio.shield(_soon(uploader.discard(upload)))
            raise
        await job.announce_uploading()
        await job.set_done("passed")

    async def _unregister(self, worker_id: int) -> None:
        """Have the slave forget the helper worker; where it does not, its next use takes the entry over."""
        try:
            async with asyncio.timeout(WIND_UP):
                await self.slave.client.delete(f"/api/v1/workers/{worker_id}", policy=PROBE)
        except (OpenQAError, TimeoutError) as error:
            log.debug("Helper worker %d stays listed on the slave: %s", worker_id, error)


@dataclass
class _Worker:
    id: int
    instance_url: str
    connection: Connection

    async def take(self, job_id: int) -> Mapping[str, Json]:
        """Wait until our job is handed to us, and accept it."""
        try:
            async with asyncio.timeout(ASSIGNED_WITHIN):
                while True:
                    match await self.connection.receive():
                        case GrabJob(job) if job.id == job_id:
                            await self.connection.send(accepted(job_id))
                            return job.raw
                        case GrabJob(job):
                            await self._reject([job.id])
                        case GrabJobs(jobs):
                            await self._reject(list(jobs))
                        case InvalidGrab(ids):
                            await self._reject(list(ids))
                        case _:
                            pass
        except TimeoutError:
            raise TransportRefused(
                f"the slave's scheduler did not assign helper job {job_id} within {ASSIGNED_WITHIN:.0f} s"
            ) from None

    async def keep_alive(self, job_id: int, raw: Mapping[str, Json]) -> None:
        """Report as working until the job is stopped by somebody, which raises."""
        while True:
            await self.connection.send(working(self.instance_url, raw))
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    while not isinstance(message := await self.connection.receive(), Stop):
                        pass
            except TimeoutError:
                continue
            if message.job_id in (None, job_id):
                raise TransportRefused(f"helper job {job_id} was stopped on the slave ({message.kind})")

    async def leave(self) -> None:
        """Go on purpose: only a worker that is offline can be unregistered."""
        try:
            await self.connection.send(quit_())
        except OpenQAError as error:
            log.debug("Helper worker %d could not say that it goes: %s", self.id, error)
        await self.connection.close()

    async def _reject(self, ids: list[int]) -> None:
        await self.connection.send(rejected(ids, "this worker only uploads an asset of its own"))


async def _soon(work: Awaitable[None]) -> None:
    """Await it for a few seconds at most: this process may be about to end."""
    try:
        async with asyncio.timeout(WIND_UP):
            await work
    except TimeoutError as error:
        log.debug("Not wound up: %s", error)
