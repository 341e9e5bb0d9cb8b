"""Creating slave jobs: in one request, never twice.

`POST jobs` is not idempotent, and openQA has no way to make it so. So after any doubt (no answer, a server
error, a restart of this process) the slave is searched for jobs with our FEDERATED_REPORT before anything is
posted again. A slave may be slower still and create the jobs of a request that we gave up after our search
found nothing: so after a second request it is searched for twins, and they are cancelled."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from pseudoworker.bridge.cluster import Cluster, Settings
from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa.errors import Busy, OpenQAError, Refused, Unauthorized
from pseudoworker.openqa.views import JobView
from pseudoworker.slave.jobs import FEDERATED_REPORT, NewJob, SearchTooWide
from pseudoworker.slave.posting import UnpostableJob

logger = logging.getLogger(__name__)

SETTLE = 3.0
"""Seconds to wait after a doubt before the search: the slave may still be at work on a request that we gave
up."""
LONGEST_PAUSE = 30.0
TWIN_SEARCHES = (10.0, 60.0, 300.0)
"""Seconds between the searches for twins."""
_PASSED_ON = frozenset({502, 504, 598})
"""What a proxy says when it gave the request to the slave and got no answer."""


class CreateRefused(PseudoworkerError):
    """The slave does not take the job; the text is the reason for the master."""


class Jobs(Protocol):
    """What is needed of `SlaveJobs`."""

    async def create(
        self, jobs: Sequence[NewJob], *, group: str = "", group_id: int | None = None
    ) -> dict[str, int]:
        """Create jobs, all or none; their ids by key."""
        ...

    async def find(self, report_url: str, settings: Mapping[str, str]) -> JobView | None:
        """The job that counts for a master job."""
        ...

    async def posted(self, report_url: str, settings: Mapping[str, str]) -> frozenset[int]:
        """All jobs that were posted for a master job and can still be run."""
        ...


class Creation:
    """Creates the jobs of clusters. `group` is a job group of the slave, its id or its name; `limit` bounds
    how long an outage is waited out, in seconds; `cancel` sees to it that a slave job is cancelled."""

    def __init__(
        self,
        jobs: Jobs,
        *,
        group: str | None,
        limit: float,
        cancel: Callable[[int], Awaitable[None]],
    ) -> None:
        self._jobs = jobs
        self._group = group
        self._limit = limit
        self._cancel = cancel
        self._doubtful: set[str] = set()
        """Reports of jobs that an earlier process may have posted, though they were not found."""
        self._searches: set[asyncio.Task[None]] = set()

    async def earlier(self, settings: Settings) -> int | None:
        """The slave job that an earlier process may have posted, None when it did not.

        Raises CreateRefused, and OpenQAError when the slave does not answer.
        """
        await asyncio.sleep(SETTLE)
        found = await self._find_one(settings)
        if found is None:
            self._doubtful.add(settings[FEDERATED_REPORT])
        return found

    async def create_all(self, cluster: Cluster, settings: Mapping[int, Settings]) -> Mapping[int, int]:
        """The slave ids of all members by their master ids.

        Raises CreateRefused, and OpenQAError when the slave does not answer for too long.
        """
        began = time.monotonic()
        pause = SETTLE
        doubt = False
        while True:
            try:
                if doubt and (found := await self._find(settings)):
                    return found
                created = await self._post(cluster, settings)
            except (Busy, Unauthorized) as error:
                last: OpenQAError = error
                doubt = doubt or error.status in _PASSED_ON  # else turned away before anything was done
            except Refused as error:
                raise CreateRefused(f"setup failure: the slave refused the job: {error.text}") from error
            except UnpostableJob as error:
                raise CreateRefused(f"setup failure: {error}") from error
            except OpenQAError as error:
                last, doubt = error, True
            else:
                reports = {own[FEDERATED_REPORT] for own in settings.values()}
                if doubt or reports & self._doubtful:
                    self._search_twins(settings, created)
                self._doubtful -= reports
                return created
            if time.monotonic() - began > self._limit:
                raise last
            logger.warning("Jobs %s were not created yet: %s", ", ".join(map(str, sorted(settings))), last)
            asked_for = (last.retry_after or 0.0) if isinstance(last, Busy) else 0.0
            await asyncio.sleep(max(pause, min(asked_for, self._limit)))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def close(self) -> None:
        """Search no more."""
        for task in self._searches:
            task.cancel()
        await asyncio.gather(*self._searches, return_exceptions=True)

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
            master_id: slave_id
            for master_id, own in settings.items()
            if (slave_id := await self._find_one(own)) is not None
        }
        if found and (lost := settings.keys() - found.keys()):
            for slave_id in found.values():
                await self._cancel(slave_id)
            names = ", ".join(map(str, sorted(lost)))
            raise CreateRefused(
                f"setup failure: slave jobs for {names} were deleted right after their creation"
            )
        return found

    async def _find_one(self, settings: Settings) -> int | None:
        try:
            job = await self._jobs.find(settings[FEDERATED_REPORT], settings)
        except SearchTooWide as error:
            raise CreateRefused(
                f"setup failure: whether the job was created is not known: {error}"
            ) from error
        return None if job is None else job.id

    def _search_twins(self, settings: Mapping[int, Settings], created: Mapping[int, int]) -> None:
        task = asyncio.create_task(self._cancel_twins(settings, created), name="search for twins")
        self._searches.add(task)
        task.add_done_callback(self._searches.discard)

    async def _cancel_twins(self, settings: Mapping[int, Settings], created: Mapping[int, int]) -> None:
        for pause in TWIN_SEARCHES:
            await asyncio.sleep(pause)
            for master_id, own in settings.items():
                try:
                    twins = await self._jobs.posted(own[FEDERATED_REPORT], own)
                except OpenQAError as error:
                    logger.warning("Slave jobs could not be searched for twins: %s", error)
                    continue
                for twin in twins - {created[master_id]}:
                    logger.error(
                        "Job %d was created once more as slave job %d: cancelling it", master_id, twin
                    )
                    await self._cancel(twin)


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
