"""Hands scheduled jobs to free workers, as Scheduler/Model/Jobs.pm does but at once, and finds stale ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence

from tests.fakes import clusters
from tests.fakes.database import Database
from tests.fakes.model import EXECUTION, Document, Job, Worker
from tests.fakes.views import grab_view, is_dead


class Scheduler:
    """Runs shortly after each change, and now and then to look for workers that fell silent."""

    def __init__(self, db: Database, worker_timeout: float) -> None:
        self.db = db
        self.worker_timeout = worker_timeout
        self.paused = False
        """While true, nothing is handed out."""
        self._due: asyncio.TimerHandle | None = None
        self._stale: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for stale jobs."""
        self._stale = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End it."""
        if self._due is not None:
            self._due.cancel()
        if self._stale is not None:
            self._stale.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._stale

    def wake(self) -> None:
        """Look soon; many calls at once make one look."""
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(0.01, self.run)

    def run(self) -> None:
        """Hand out what can be handed out now."""
        self._due = None
        if self.paused or not self.db.scheduled:
            return
        free = [worker for worker in self.db.workers.values() if self._is_free(worker)]
        waiting = (job for job in self.db.scheduled.values() if job.blocked_by_id is None)
        for job in sorted(waiting, key=lambda job: (job.priority, job.id)):
            if not free:
                break
            if job.state != "scheduled" or job.assigned is not None:
                continue
            members = [
                member
                for member in clusters.parallel(self.db.jobs, job)
                if member.state == "scheduled" and member.blocked_by_id is None
            ]
            picked = self._pick(members, free)
            if picked is not None:
                for member, worker in picked:
                    free.remove(worker)
                    self._hand_over(member, worker)
        if self.db.flavour.explains_waiting:
            self._explain(free)

    def _explain(self, free: Sequence[Worker]) -> None:
        """Say of each job that stays scheduled why it does (newer releases)."""
        matches: dict[frozenset[str], bool] = {}
        for job in self.db.scheduled.values():
            if job.blocked_by_id is not None:
                continue
            needed = job.worker_classes
            if needed not in matches:
                matches[needed] = any(needed <= worker.classes for worker in free)
            classes = " ".join(sorted(needed))
            reason = (
                "no matching worker is free" if matches[needed] else f"no free workers for class {classes}"
            )
            if job.reason != reason:
                job.reason = reason
                job.touch()

    def _is_free(self, worker: Worker) -> bool:
        idle = worker.job is None and not worker.jobs and worker.error is None
        return idle and worker.channel is not None and not is_dead(worker, self.worker_timeout)

    def _pick(self, members: Sequence[Job], free: Sequence[Worker]) -> list[tuple[Job, Worker]] | None:
        if len(members) == 1:
            return _match(members, free)
        tied = [
            worker for worker in free if worker.properties.get("PARALLEL_ONE_HOST_ONLY", "0") not in ("", "0")
        ]
        if self.db.flavour.port_delta is None or not tied:
            return _match(members, free)
        for host in sorted({worker.host for worker in tied}):
            picked = _match(members, [worker for worker in tied if worker.host == host])
            if picked is not None:
                return picked
        return _match(members, [worker for worker in free if worker not in tied])

    def _hand_over(self, first: Job, worker: Worker) -> None:
        sequence = clusters.direct_sequence(self.db.jobs, first)
        jobs = [self.db.jobs[job_id] for job_id in clusters.flat(sequence)]
        self.db.assign(jobs, worker)
        assert worker.channel is not None
        if len(jobs) == 1:
            worker.channel.send({"type": "grab_job", "job": self._grabbed(first, alone=True)})
            return
        data = {str(job.id): self._grabbed(job, alone=False) for job in jobs}
        info: Document = {"ids": [str(job.id) for job in jobs], "data": data, "sequence": sequence}
        worker.channel.send({"type": "grab_jobs", "job_info": info | {"assigned_worker_id": worker.id}})

    def _grabbed(self, job: Job, *, alone: bool) -> Document:
        group = None if job.group_id is None else self.db.groups[job.group_id]
        return grab_view(job, group, self.db.register_assets(job), alone=alone)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(10.0, max(0.05, self.worker_timeout / 5)))
            self._incomplete_stale(self.db.workers.values())
            self.wake()

    def _incomplete_stale(self, workers: Iterable[Worker]) -> None:
        for worker in workers:
            jobs = {*worker.jobs.values(), *([worker.job] if worker.job else ())}
            if not jobs or not is_dead(worker, self.worker_timeout):
                continue
            for job in sorted(jobs, key=lambda job: job.id):
                if job.state not in EXECUTION or self.db.reschedule(job):
                    continue
                reason = (
                    f"abandoned: associated worker {worker.name} has not sent any status updates for too long"
                )
                self.db.done(job, "incomplete", reason)
                self.db.auto_duplicate(job)


def _match(members: Sequence[Job], free: Sequence[Worker]) -> list[tuple[Job, Worker]] | None:
    rest = list(free)
    picked = []
    for job in members:
        needed = job.worker_classes
        worker = next((worker for worker in rest if needed <= worker.classes), None)
        if worker is None:
            return None
        rest.remove(worker)
        picked.append((job, worker))
    return picked
