"""Helper jobs on the slave: small jobs of ours that never run, through which the slave gets or keeps an
asset."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping

from pseudoworker.openqa import states
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.retry import POLL, PROBE, READ
from pseudoworker.openqa.views import JobView, parse_jobs
from pseudoworker.slave.jobs import NewJob, SlaveJobs

TEST = "pseudoworker-asset"
"""Name of the test of all helper jobs."""
OWNER = "PSEUDOWORKER"
"""The setting of a helper job that tells whose it is."""

WIND_UP = 3.0
"""Seconds for ending a job when a transfer ends, perhaps since this process does."""

log = logging.getLogger(__name__)


class HelperJobs:
    """Posts helper jobs and makes sure that none stays behind.

    `owner` tells our jobs from those of another bridge; a later process with the same owner cleans up after
    us.
    """

    def __init__(self, client: Client, owner: str) -> None:
        self._client = client
        self._jobs = SlaveJobs(client)
        self._owner = owner
        self._open: set[int] = set()
        self._untidy = True

    async def post(self, settings: Mapping[str, str], *, worker_class: str = "") -> int:
        """A new helper job's id. Its class is one that no worker has, unless `worker_class` names one.

        While it is not over, the slave keeps the assets that its settings name (Task/Asset/Limit.pm:
        `pending`), and downloads those that have an `…_URL` (Gru.pm, enqueue_download_jobs).
        """
        job = NewJob(
            "asset",
            {
                **settings,
                "TEST": TEST,
                OWNER: self._owner,
                "WORKER_CLASS": worker_class or unused_class(),
            },
        )
        try:
            job_id = (await self._jobs.create([job]))["asset"]
        except OpenQAError:
            self._untidy = True  # it may exist nevertheless
            raise
        self._open.add(job_id)
        return job_id

    async def view(self, job_id: int) -> JobView:
        """How the job is now."""
        return await self._jobs.view(job_id, policy=POLL)

    async def finish(self, job_id: int) -> None:
        """End the job. Takes a few seconds at most and never raises: what fails is left to the next
        `tidy`."""
        self._open.discard(job_id)
        try:
            async with asyncio.timeout(WIND_UP):
                await self._client.post_form(f"/api/v1/jobs/{job_id}/cancel", policy=PROBE)
        except (OpenQAError, TimeoutError) as error:
            self._untidy = True
            log.warning("Helper job %d stays open on the slave for now: %s", job_id, error)

    async def sweep(self) -> int:
        """End helper jobs that a process before us, a doubtful answer or an outage left open; how many there
        were. Raises OpenQAError."""
        params = [("test", TEST), ("state", ",".join(sorted(states.STATES - states.FINAL_STATES)))]
        answer = await self._client.get_json("/api/v1/jobs", policy=READ, params=[*params, ("limit", "100")])
        jobs = parse_jobs(answer, url=self._client.url_of("/api/v1/jobs"), broken=lambda *_: None)
        left = [job for job in jobs if job.settings.get(OWNER) == self._owner and job.id not in self._open]
        for job in left:
            log.info("Ending helper job %d, which was left on the slave", job.id)
            await self._jobs.cancel(job.id)
        self._untidy = False
        return len(left)

    async def tidy(self) -> None:
        """`sweep`, if there may be any."""
        if self._untidy:
            await self.sweep()


def unused_class() -> str:
    """A worker class that nobody has."""
    return f"{TEST}-{secrets.token_hex(8)}"
