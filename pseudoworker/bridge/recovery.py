"""Jobs that the master counts as ours and the journal does not know: it was damaged, lost, or left behind on
another host.

Asked before a slot registers, since a registration gives up every job that it does not name. A lost job that
runs on the slave, which its FEDERATED_REPORT tells, is taken up again. Any other is left to the master: it
hands the job to another worker, or ends it as abandoned and duplicates it, as for every worker that lost its
memory."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from pseudoworker.bridge.journal import Pairing
from pseudoworker.bridge.lifecycle import Phase, State
from pseudoworker.bridge.modules import SOURCE, source_of
from pseudoworker.bridge.reported import REPORTED, Reported
from pseudoworker.bridge.services import Services
from pseudoworker.bridge.settings import UnmappedClass, for_slave
from pseudoworker.master.job import LeaseLost, MasterJob
from pseudoworker.openqa import states
from pseudoworker.openqa.errors import NotFound
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.views import JobView, WorkerView
from pseudoworker.slave.capacity import workers
from pseudoworker.slave.jobs import SearchTooWide

logger = logging.getLogger(__name__)


class Recovery:
    """Finds lost jobs. Both methods raise OpenQAError when one side does not answer."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def lost(self, instances: Iterable[int]) -> Mapping[int, WorkerView]:
        """The workers of these slots, by instance, that have a job which the journal does not know."""
        wanted = frozenset(instances)
        host = self._services.configuration.host
        return {
            worker.instance: worker
            for worker in await workers(self._services.master)
            if worker.host == host
            and worker.instance in wanted
            and worker.job_id is not None
            and not await self._services.journal.knows(worker.job_id)
        }

    async def recover(self, worker: WorkerView) -> Sequence[Pairing]:
        """The jobs of a worker that run on the slave, written into the journal, in the order of its queue."""
        found = [
            (view, slave_job)
            for view in await self._queue(worker)
            if (slave_job := await self._slave_job(view)) is not None
        ]
        pairings = [
            _pairing(worker, view, slave_job, position) for position, (view, slave_job) in enumerate(found)
        ]
        if pairings:
            await self._services.journal.claim(pairings)
        for view, slave_job in found:
            await self._acknowledge(view, slave_job, worker.id)
        return pairings

    async def _queue(self, worker: WorkerView) -> list[JobView]:
        """The current job of a worker and those that are to follow it directly there."""
        queue: list[JobView] = []
        waiting = [worker.job_id] if worker.job_id is not None else []
        while waiting:
            job_id = waiting.pop(0)
            if any(view.id == job_id for view in queue):
                continue
            try:
                view = await self._services.master_view(job_id)
            except NotFound:
                continue
            if view.assigned_worker_id == worker.id and view.state != states.DONE:
                queue.append(view)
                waiting.extend(sorted(view.children.directly_chained))
        return queue

    async def _slave_job(self, view: JobView) -> JobView | None:
        services = self._services
        report = services.master_url(view.id)
        try:
            settings = for_slave(
                view.settings, report_url=report, to_slave=services.configuration.classes.to_slave
            )
            found = await services.slave_jobs.find(report, settings)
        except (UnmappedClass, SearchTooWide) as error:
            logger.warning("Job %d is not looked for on the slave: %s", view.id, error)
            found = None
        if found is None:
            logger.error(
                "Job %d is left to the master: the journal has lost it, and it does not run", view.id
            )
        else:
            logger.warning("Job %d was lost and is found again as slave job %d", view.id, found.id)
        return found

    async def _acknowledge(self, view: JobView, slave_job: JobView, worker_id: int) -> None:
        """What the master has already, as far as both sides tell: modules that show the same result there.

        Of a job that the slave restarted the master may hold older results, so all comes anew.
        """
        if slave_job.origin_id is not None:
            return
        services = self._services
        try:
            modules = await MasterJob(services.master, view.id, worker_id).modules()
        except LeaseLost:
            return  # deleted meanwhile, which its run finds out
        shown = {module.name: module.result for module in modules}
        details = await services.slave_results.details(slave_job.id)
        same = {
            module.name: str(Reported(module.result, module.fingerprint))
            for module in details.modules
            if module.result in states.FINISHED_MODULE_RESULTS and shown.get(module.name) == module.result
        }
        await services.journal.acknowledge(view.id, REPORTED, same)
        await services.journal.acknowledge(view.id, SOURCE, source_of(slave_job.id))


def _pairing(worker: WorkerView, view: JobView, slave_job: JobView, position: int) -> Pairing:
    settings: dict[str, Json] = dict(view.settings)
    if token := worker.properties.get("JOBTOKEN"):
        settings["JOBTOKEN"] = token
    job: dict[str, Json] = {"id": view.id, "name": view.name, "settings": settings}
    tied = (*view.parents.parallel, *view.children.parallel)
    directly = (*view.parents.directly_chained, *view.children.directly_chained)
    state = State(Phase.QUEUED, slave_job.id, related=bool(tied or directly))
    return Pairing(view.id, worker.instance, worker.id, job, state, position)
