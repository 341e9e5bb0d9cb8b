"""Helper jobs on the slave: small jobs of ours that never run, through which the slave gets or keeps an
asset."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping

from pseudoworker.openqa import states
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.retry import POLL, READ
from pseudoworker.openqa.views import JobView, parse_jobs
from pseudoworker.slave.jobs import NewJob, SlaveJobs

TEST = "pseudoworker-asset"
"""Name of the test of all helper jobs."""
OWNER = "PSEUDOWORKER"
"""The setting of a helper job that tells whose it is."""

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
        job_id = (await self._jobs.create([job]))["asset"]
        self._open.add(job_id)
        return job_id

    async def view(self, job_id: int) -> JobView:
        """How the job is now."""
        return await self._jobs.view(job_id, policy=POLL)

    async def finish(self, job_id: int) -> None:
        """End the job; a failure to do so is only logged, `sweep` will see it."""
        try:
            await self._jobs.cancel(job_id)
        except OpenQAError as error:
            log.warning("Helper job %d stays open on the slave for now: %s", job_id, error)
        self._open.discard(job_id)

    async def sweep(self) -> int:
        """End helper jobs that a process before us, or a doubtful answer, left open; how many there were."""
        params = [
            ("test", TEST),
            ("state", ",".join(sorted(states.STATES - states.FINAL_STATES))),
            ("limit", "100"),
        ]
        answer = await self._client.get_json("/api/v1/jobs", policy=READ, params=params)
        left = [
            job.id
            for job in parse_jobs(answer, url=self._client.url_of("/api/v1/jobs"), broken=lambda *_: None)
            if job.settings.get(OWNER) == self._owner and job.id not in self._open
        ]
        for job_id in left:
            log.info("Ending helper job %d, which was left on the slave", job_id)
            await self._jobs.cancel(job_id)
        return len(left)


def unused_class() -> str:
    """A worker class that nobody has."""
    return f"{TEST}-{secrets.token_hex(8)}"
