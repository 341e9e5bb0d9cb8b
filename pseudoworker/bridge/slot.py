"""One slot: what the emulated worker makes of the master's words, and its queue of jobs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence

from pseudoworker.bridge.availability import Load
from pseudoworker.bridge.availability import Slot as SlotState
from pseudoworker.bridge.journal import JournalError, Pairing
from pseudoworker.bridge.lifecycle import Phase, State, Stop
from pseudoworker.bridge.run import EARLY, JobRun
from pseudoworker.bridge.services import Services
from pseudoworker.bridge.settings import needed_classes, slave_classes
from pseudoworker.config.model import SlotConfig
from pseudoworker.master.job import MasterJob
from pseudoworker.master.link import Link, Message
from pseudoworker.master.registration import IncompatibleMaster, Registration
from pseudoworker.observe.logs import SlotLogger
from pseudoworker.observe.snapshot import SlotSnapshot
from pseudoworker.openqa import messages

STARTING = "pseudoworker is starting"
STOPPING = "currently stopping"
HANDOVER = 5.0
"""Seconds for which a new job waits for the end of the one before."""


class Slot:
    """A worker as the master sees it. `changed` is called when it took a job, a job ended, or it connected;
    `moved` when a job goes on."""

    def __init__(
        self,
        services: Services,
        config: SlotConfig,
        *,
        logger: SlotLogger,
        changed: Callable[[], None],
        moved: Callable[[], None],
    ) -> None:
        self.instance = config.instance
        self.classes = frozenset(
            slave_classes(
                {"WORKER_CLASS": ",".join(config.worker_class)}, services.configuration.classes.to_slave
            )
        )
        self.link: Link | None = None
        self.draining = False
        self._services = services
        self._logger = logger
        self._changed = changed
        self._moved = moved
        self._registration: Registration | None = None
        self._reason: str | None = STARTING
        """Why the slot takes no job, None when it does."""
        self._since = time.time()
        self._queue: list[JobRun] = []
        """The current job and those that wait for it, in their order."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._claiming: frozenset[str] | None = None
        """The slave's classes that a job needs which is being written down, before it is in the queue."""
        self._empty = asyncio.Event()
        self._empty.set()

    # For the daemon:

    def resume(self, pairings: Iterable[Pairing]) -> None:
        """Go on with the jobs of an earlier process."""
        for pairing in pairings:
            self._start(pairing, resumed=True)
        self._next_turn()

    def verdict(self, reason: str | None) -> None:
        """May this slot take a job now? `reason` says why not."""
        if reason != self._reason:
            self._reason = reason
            if not self._queue:
                self._since = time.time()
                self._logger.debug(
                    "Takes no jobs: %s" if reason else "Takes jobs", *([reason] if reason else [])
                )
                self._status_changed()

    def drain(self) -> None:
        """Finish what runs, take nothing new."""
        self.draining = True
        self._status_changed()

    def stop(self, stop: Stop) -> None:
        """End all jobs of the slot."""
        for run in self._queue:
            run.stop(stop)

    async def emptied(self) -> None:
        """Wait until the slot has no job."""
        await self._empty.wait()

    async def leave(self) -> None:
        """Say good-bye to the master if there is no job that we come back for."""
        if self.link is not None and not self._queue:
            await self.link.send(messages.quit_())

    async def detach(self) -> None:
        """Let go of all jobs without a word to either side; the journal has what the next process needs."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        self._queue.clear()
        self._empty.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def state(self) -> SlotState:
        """For `bridge.availability`."""
        taken = bool(self._queue) or self._claiming is not None
        busy = taken or self.draining or self.link is None or not self.link.is_connected
        return SlotState(self.instance, self.classes, busy=busy, offered=self._reason is None)

    def loads(self) -> list[Load]:
        """The jobs of the slot that need a worker of the slave."""
        if self._claiming is not None:
            return [Load(self._claiming, None)]
        return [
            Load(run.needs, run.running_since)
            for run in self._queue[:1]
            if run.state.phase in EARLY or run.running_since is not None
        ]

    def runs(self) -> Sequence[JobRun]:
        """The current job and those that wait for it."""
        return self._queue

    def snapshot(self) -> SlotSnapshot:
        """For `pseudoworker status` and the like."""
        worker_id = None if self._registration is None else self._registration.worker_id
        problem = "not started" if self.link is None else self.link.problem
        if not self._queue:
            state = "offline" if problem else "broken" if self._reason else "free"
            reason = problem or (STOPPING if self.draining else self._reason or "")
            return SlotSnapshot(self.instance, worker_id, state, reason, since=self._since)
        return self._queue[0].snapshot(worker_id, state="offline" if problem else "working", reason=problem)

    # For the link:

    def job_ids(self) -> Sequence[int]:
        """All jobs of the slot, so that the master leaves them to us."""
        return [run.job.id for run in self._queue]

    def status(self) -> Message:
        """The `worker_status` that is true now."""
        if self._queue:
            current, *pending = self._queue
            return messages.working(
                self._services.configuration.master.url, current.job.raw, [run.job.id for run in pending]
            )
        if self.draining:
            return messages.broken(STOPPING)
        return messages.free() if self._reason is None else messages.broken(self._reason)

    async def registered(self, registration: Registration) -> None:
        """Use the worker id from now on."""
        if self._registration is not None and registration.worker_id != self._registration.worker_id:
            self._logger.warning("The master gave us the new worker id %d", registration.worker_id)
        self._registration = registration
        for run in self._queue:
            run.registered(registration)

    async def connected(self) -> None:
        """A stop command or our word of acceptance may have been lost with the last connection."""
        self._changed()
        if self._queue:
            if self._queue[0].state.phase in EARLY:
                await self._accept(self._queue[0])
            for run in self._queue:
                run.reconnected()

    async def received(self, message: messages.ServerMessage) -> None:
        """Do what the master asks for, as `OpenQA::Worker::CommandHandler` does."""
        match message:
            case messages.GrabJob(job):
                await self._grab([job])
            case messages.GrabJobs(jobs, sequence):
                await self._grab([jobs[job_id] for job_id in _flat(sequence)])
            case messages.InvalidGrab(ids, reason):
                self._logger.error("Refusing to grab jobs: %s", reason)
                await self._reject(ids, reason)
            case messages.Stop(kind, job_id):
                if (run := self._run_of(job_id)) is not None:
                    run.stop(Stop(kind))
                else:
                    self._logger.warning("Ignoring %s of job %s, which is not ours", kind, job_id)
            case messages.LiveLog(start, job_id):
                if (run := self._current(job_id)) is not None:
                    run.viewers(1 if start else -1)
            case messages.DeveloperSession(job_id):
                if (run := self._current(job_id)) is not None:
                    run.developer_session()
            case messages.Incompatible():
                raise IncompatibleMaster(
                    "the master says that it does not speak our version of the worker protocol"
                )
            case messages.Ignored(reason):
                self._logger.debug("Ignoring a message of the master: %s", reason)
            case messages.Info():
                pass

    async def _grab(self, jobs: Sequence[messages.Grabbed]) -> None:
        ids = [job.id for job in jobs]
        if self._queue and set(ids) <= {run.job.id for run in self._queue}:
            await self._accept(self._queue[0])  # it was said before; the master may not have heard it
            return
        if self._queue and all(run.state.phase is Phase.ENDING for run in self._queue):
            # The master took the end and looks for more work before we have written that down.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANDOVER):
                    await self._empty.wait()
        if (reason := self._why_not()) is not None:
            self._logger.info("Rejecting jobs %s: %s", ids, reason)
            await self._reject(ids, reason)
            return
        assert self._registration is not None
        pairings = [
            Pairing(job.id, self.instance, self._registration.worker_id, job.raw, State(), position)
            for position, job in enumerate(jobs)
        ]
        self._claiming = needed_classes(jobs[0].settings, self._services.configuration.classes.to_slave)
        try:
            await self._services.journal.claim(pairings)
        except JournalError as error:
            self._logger.error("Rejecting jobs %s: %s", ids, error)
            await self._reject(ids, str(error))
            self._services.availability.wake()
            return
        finally:
            self._claiming = None
        for pairing in pairings:
            self._start(pairing, resumed=False)
        self._next_turn()
        await self._accept(self._queue[0])

    def _why_not(self) -> str | None:
        if self.draining:
            return STOPPING
        if self._queue:
            return f"already busy with job(s) {', '.join(str(run.job.id) for run in self._queue)}"
        return self._reason

    async def _accept(self, run: JobRun) -> None:
        if self.link is not None:
            await self.link.send(messages.accepted(run.job.id))

    async def _reject(self, ids: Sequence[int], reason: str) -> None:
        if self.link is not None and ids:
            await self.link.send(messages.rejected(ids, reason))

    # The queue:

    def _start(self, pairing: Pairing, *, resumed: bool) -> None:
        worker_id = pairing.worker_id if self._registration is None else self._registration.worker_id
        worker = self._services.configuration.worker
        master = MasterJob(
            self._services.master, pairing.master_id, worker_id, worker_hostname=worker.worker_hostname
        )
        run = JobRun(self._services, pairing, master=master, resumed=resumed, changed=self._moved)
        if self._registration is not None:
            run.registered(self._registration)
        self._queue.append(run)
        self._empty.clear()
        task = asyncio.create_task(run.run(), name=f"job {pairing.master_id}")
        self._tasks[pairing.master_id] = task
        task.add_done_callback(lambda done: self._ended(run, done))

    def _ended(self, run: JobRun, task: asyncio.Task[None]) -> None:
        if self._tasks.get(run.job.id) is not task:
            return  # the slot has let go of it
        del self._tasks[run.job.id]
        self._queue.remove(run)
        if (error := task.exception()) is not None:
            self._logger.error("Job %d ended by an internal error", run.job.id, exc_info=error)
        self._since = time.time()
        if self._queue:
            self._next_turn(accept=True)
        else:
            self._empty.set()
        self._services.availability.wake()
        self._changed()
        self._status_changed()

    def _next_turn(self, *, accept: bool = False) -> None:
        if not self._queue:
            return
        run = self._queue[0]
        run.take_turn()
        self._since = time.time()
        self._changed()
        self._status_changed()
        if accept:
            run.in_background(self._take_up(run))

    async def _take_up(self, run: JobRun) -> None:
        await self._services.journal.move_up(run.job.id)
        await self._accept(run)

    def _run_of(self, job_id: int | None) -> JobRun | None:
        return next((run for run in self._queue if run.job.id == job_id), None)

    def _current(self, job_id: int | None) -> JobRun | None:
        return self._queue[0] if self._queue and self._queue[0].job.id == job_id else None

    def _status_changed(self) -> None:
        if self.link is not None:
            self.link.status_changed()


def _flat(sequence: messages.Sequence) -> list[int]:
    """The ids of a nested sequence in the order in which they run."""
    flat: list[int] = []
    for item in sequence:
        flat.extend(_flat(item) if isinstance(item, tuple) else [item])
    return flat
