"""Creating slave jobs: in one request, never twice.

`POST jobs` is not idempotent, and openQA has no way to make it so. So after any doubt (no answer, a server
error, a restart of this process) the slave is searched for jobs with our FEDERATED_REPORT before anything is
posted again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from pseudoworker.bridge.cluster import Cluster, Settings
from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa.errors import Busy, OpenQAError, Refused, Unauthorized
from pseudoworker.slave.jobs import FEDERATED_REPORT, NewJob, SlaveJobs
from pseudoworker.slave.posting import UnpostableJob

logger = logging.getLogger(__name__)

SETTLE = 3.0
"""Seconds to wait after a doubt before the search: the slave may still be at work on a request that we gave
up."""
LONGEST_PAUSE = 30.0


class CreateRefused(PseudoworkerError):
    """The slave does not take the job; the text is the reason for the master."""


class Creation:
    """Creates the jobs of clusters. `group` is a job group of the slave, its id or its name; `limit` bounds
    how long an outage is waited out, in seconds."""

    def __init__(self, jobs: SlaveJobs, *, group: str | None, limit: float) -> None:
        self._jobs = jobs
        self._group = group
        self._limit = limit
        self._doubtful: set[int] = set()

    def doubt(self, master_id: int) -> None:
        """An earlier process may have posted this job."""
        self._doubtful.add(master_id)

    async def create_all(self, cluster: Cluster, settings: Mapping[int, Settings]) -> Mapping[int, int]:
        """The slave ids of all members by their master ids.

        Raises CreateRefused, and OpenQAError when the slave does not answer for too long.
        """
        began = time.monotonic()
        pause = SETTLE
        doubt = bool(self._doubtful & settings.keys())
        while True:
            try:
                if doubt and (found := await self._find(settings)):
                    return found
                created = await self._post(cluster, settings)
            except (Busy, Unauthorized) as error:
                last: OpenQAError = error  # turned away before anything was done
            except Refused as error:
                raise CreateRefused(f"setup failure: the slave refused the job: {error.text}") from error
            except UnpostableJob as error:
                raise CreateRefused(f"setup failure: {error}") from error
            except OpenQAError as error:
                last, doubt = error, True
            else:
                self._doubtful -= settings.keys()
                return created
            if time.monotonic() - began > self._limit:
                raise last
            logger.warning("Jobs %s were not created yet: %s", ", ".join(map(str, sorted(settings))), last)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _post(self, cluster: Cluster, settings: Mapping[int, Settings]) -> Mapping[int, int]:
        jobs = [_new_job(cluster, master_id, settings[master_id]) for master_id in sorted(settings)]
        group_id = int(self._group) if self._group and self._group.isdecimal() else None
        ids = await self._jobs.create(
            jobs, group="" if group_id is not None else self._group or "", group_id=group_id
        )
        return {int(key): slave_id for key, slave_id in ids.items()}

    async def _find(self, settings: Mapping[int, Settings]) -> Mapping[int, int]:
        """The jobs of an earlier request, all or (if it never arrived) none."""
        found = {
            master_id: job.id
            for master_id, own in settings.items()
            if (job := await self._jobs.find(own[FEDERATED_REPORT], own)) is not None
        }
        if found and (lost := settings.keys() - found.keys()):
            names = ", ".join(map(str, sorted(lost)))
            raise CreateRefused(
                f"setup failure: slave jobs for {names} were deleted right after their creation"
            )
        return found


def _new_job(cluster: Cluster, master_id: int, settings: Settings) -> NewJob:
    def parents(kind: str) -> tuple[str, ...]:
        return tuple(
            str(edge.parent)
            for edge in sorted(cluster.edges, key=lambda edge: edge.parent)
            if edge.kind == kind and edge.child == master_id
        )

    return NewJob(
        str(master_id),
        settings,
        parallel=parents("_PARALLEL"),
        start_directly_after=parents("_START_DIRECTLY_AFTER"),
    )
