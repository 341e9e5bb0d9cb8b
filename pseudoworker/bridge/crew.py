"""All slots of the process: started one after the other, offered by availability, drained, aborted, let
go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence

from pseudoworker.bridge.availability import Load
from pseudoworker.bridge.availability import Slot as SlotState
from pseudoworker.bridge.lifecycle import Phase, Stop
from pseudoworker.bridge.recovery import Recovery
from pseudoworker.bridge.services import Services
from pseudoworker.bridge.slot import Slot
from pseudoworker.config.model import Configuration, SlotConfig
from pseudoworker.errors import PseudoworkerError
from pseudoworker.master.link import Link, Pace
from pseudoworker.master.registration import Capabilities, Identity, Registration, register
from pseudoworker.master.turns import Turns
from pseudoworker.observe.logs import SlotLogger
from pseudoworker.observe.snapshot import SlotSnapshot
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.values import positive_int
from pseudoworker.openqa.views import WorkerView
from pseudoworker.openqa.websocket import Connection, connect
from pseudoworker.slave.watch import Outage

logger = logging.getLogger(__name__)

LOOK_TIMEOUT = 120.0
"""Seconds in which the master has to tell which jobs it counts as ours."""
ABORT_TIMEOUT = 90.0
"""Seconds that the jobs have for their end when the process is aborted."""
TOGETHER = 0.1
"""Seconds for which steps of jobs are gathered."""
DETACH_TIMEOUT = 8.0
"""Seconds that letting go may take; the service manager is patient for ten at least."""


class Crew:
    """The slots. `dismiss`, `abort` and `drain` ask for the end; `dismissed` waits until it has come."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._slots: list[Slot] = []
        self._links: dict[int, asyncio.Task[None]] = {}
        self._recoveries: dict[int, asyncio.Task[None]] = {}
        """Slots that do not register before lost jobs of theirs were looked for."""
        self._end = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._aborted = False
        self._late = False
        """Whether the jobs were to be aborted when they were being let go already."""
        self._worked = False
        self._wanted = 0
        self._turns = Turns(configuration.limits.start_rate)
        self._moved: asyncio.TimerHandle | None = None

    async def muster(self, services: Services, *, ended: Callable[[PseudoworkerError], None]) -> None:
        """Make the slots, and give each the jobs that an earlier process left. `ended` is told what ends a
        link for good."""
        self._services = services
        self._ended = ended
        self._slots = [self._slot(config) for config in self._configuration.slots]
        services.watcher.listen(self._outage)
        await self._take_up()

    async def run(self) -> None:
        """Connect the slots, those with jobs first, no faster than `start_rate`, then keep their number
        right."""
        if not any(slot.runs() for slot in self._slots):
            await self._services.availability.looked()
        await self._look_for_lost()
        while True:
            self._wanted = self._number_wanted()
            for slot in sorted(self._slots, key=lambda slot: not slot.runs()):
                if self._is_away(slot) and (slot.runs() or self._is_wanted(slot)):
                    self._connect(slot)
            for slot in self._slots:
                if slot.instance in self._links and not slot.runs() and not self._is_wanted(slot):
                    await self._disconnect(slot)
            if not self._configuration.auto_slots:
                return
            await self._services.availability.looked()

    # For availability:

    def states(self) -> Sequence[SlotState]:
        """All slots."""
        return [slot.state for slot in self._slots]

    def loads(self) -> Sequence[Load]:
        """All jobs that need a worker of the slave."""
        return [load for slot in self._slots for load in slot.loads()]

    def offer(self, verdicts: Mapping[int, str | None]) -> None:
        """Tell each slot whether it may take a job."""
        for slot in self._slots:
            if slot.instance in verdicts:
                slot.verdict(verdicts[slot.instance])

    def moved(self) -> None:
        """A job goes on. Hundreds may at once, and none of it is urgent: they are looked at together."""
        if self._moved is None:
            self._moved = asyncio.get_running_loop().call_later(TOGETHER, self.changed)

    def changed(self) -> None:
        """A job was taken, or has ended, or a slot is connected."""
        if self._moved is not None:
            self._moved.cancel()
            self._moved = None
        self._services.availability.decide()
        waiting = sum(run.state.phase is Phase.QUEUED for slot in self._slots for run in slot.runs())
        self._services.metrics.slave_queue(waiting)
        busy = any(slot.runs() for slot in self._slots)
        self._worked = self._worked or busy
        if self._configuration.worker.terminate_after_jobs_done and self._worked and not busy:
            logger.info("All jobs are done: terminating as TERMINATE_AFTER_JOBS_DONE says")
            self.dismiss()

    # For the daemon:

    def snapshots(self) -> tuple[SlotSnapshot, ...]:
        """For `pseudoworker status` and the like."""
        return tuple(slot.snapshot() for slot in self._slots)

    def dismiss(self) -> None:
        """Stop now; jobs go on on the slave, and with the next process."""
        self._end.set()

    def drain(self) -> None:
        """Stop when all jobs have ended; take no new one."""
        logger.info("Finishing the current jobs, taking no new ones")
        if not self._aborted:
            self._finish(None)

    def abort(self) -> None:
        """Stop the jobs as a stock worker that quits does: cancelled on the slave, duplicated on the master.
        Asked again, it leaves what is still to be done for that to the next process."""
        if self._aborted:
            self.dismiss()
            if self._ending is not None:
                self._ending.cancel()
            return
        self._aborted = True
        if self._end.is_set():
            self._late = True
            return
        self._quit()

    async def dismissed(self) -> None:
        """Wait for the end."""
        await self._end.wait()

    async def detach(self) -> None:
        """Let go of everything: idle workers say good-bye, jobs are left as they are. If it is to abort
        meanwhile, it takes them up again for that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DETACH_TIMEOUT):
                await self._let_go()
        if self._late:
            await self._take_up()
            await asyncio.wait([self._quit()])
            await asyncio.gather(*(slot.detach() for slot in self._slots))

    async def _let_go(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
        await asyncio.gather(*(slot.leave() for slot in self._slots))
        tasks = [*self._links.values(), *self._recoveries.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(slot.detach() for slot in self._slots))

    async def _take_up(self) -> None:
        """Give each slot the jobs that the journal has for it."""
        pairings = await self._services.journal.pairings(slot.instance for slot in self._slots)
        for slot in self._slots:
            own = [pairing for pairing in pairings if pairing.slot == slot.instance]
            for pairing in own:
                logger.info("Going on with job %d in slot %d", pairing.master_id, slot.instance)
            slot.resume(own)

    def _quit(self) -> asyncio.Task[None]:
        for slot in self._slots:
            slot.stop(Stop.QUIT)
        return self._finish(ABORT_TIMEOUT)

    def _finish(self, timeout: float | None) -> asyncio.Task[None]:
        for slot in self._slots:
            slot.drain()
        if self._ending is not None:
            self._ending.cancel()
        self._ending = asyncio.create_task(self._wait_for_jobs(timeout))
        return self._ending

    async def _wait_for_jobs(self, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                for slot in self._slots:
                    await slot.emptied()
        except TimeoutError:
            logger.error("Jobs did not end in time and are left to the next process")
        self._end.set()

    # The links:

    def _outage(self, outage: Outage | None) -> None:
        for slot in self._slots:
            for run in slot.runs():
                run.outage(outage)

    def _slot(self, config: SlotConfig) -> Slot:
        slot_logger = SlotLogger(logger, config.instance)
        slot = Slot(self._services, config, logger=slot_logger, changed=self.changed, moved=self.moved)
        configuration, services = self._configuration, self._services
        credentials = configuration.master.credentials

        async def register_slot(job_ids: Sequence[int]) -> Registration:
            return await register(services.master, self._identity(config), job_ids)

        async def connect_slot(worker_id: int) -> Connection:
            return await connect(
                services.master.url,
                worker_id,
                credentials.key if credentials else "",
                credentials.secret if credentials else "",
                configuration.master.ca_file,
            )

        slot.link = Link(
            slot,
            register=register_slot,
            connect=connect_slot,
            pace=Pace(configuration.worker.status_min_interval, configuration.worker.status_max_interval),
            turns=self._turns,
            beat=lambda: services.metrics.beat(config.instance),
            lost=lambda: services.metrics.forget_beat(config.instance),
            logger=slot_logger,
        )
        return slot

    def _identity(self, config: SlotConfig) -> Identity:
        """Who the slot is: this machine, with the os-autoinst of the slave's workers, since that runs the
        tests."""
        serving = self._services.availability.capacity.workers
        versions = {worker.properties.get("ISOTOVIDEO_INTERFACE_VERSION", "") for worker in serving}
        version = max((positive_int(version) or 0 for version in versions), default=0)
        return Identity(
            host=self._configuration.host,
            instance=config.instance,
            worker_class=",".join(config.worker_class),
            capabilities=Capabilities.of_this_machine(version),
            parallel_one_host_only=self._configuration.worker.parallel_one_host_only,
        )

    def _connect(self, slot: Slot) -> None:
        assert slot.link is not None
        task = asyncio.create_task(slot.link.run(), name=f"slot {slot.instance}")
        self._links[slot.instance] = task
        task.add_done_callback(self._link_ended)

    async def _disconnect(self, slot: Slot) -> None:
        await slot.leave()
        task = self._links.pop(slot.instance)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._services.metrics.forget_beat(slot.instance)

    def _link_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        logger.error("Internal error of %s: stopping", task.get_name(), exc_info=error)
        self._ended(error if isinstance(error, PseudoworkerError) else PseudoworkerError(repr(error)))

    async def _look_for_lost(self) -> None:
        """Find out which slots have a job on the master that the journal does not know."""
        idle = {slot.instance: slot for slot in self._slots if not slot.runs()}
        recovery = Recovery(self._services)
        try:
            async with asyncio.timeout(LOOK_TIMEOUT):
                lost = await recovery.lost(idle)
        except (TimeoutError, OpenQAError) as error:
            logger.warning("The master does not tell whether jobs were lost: %s", error)
            return
        for instance, worker in lost.items():
            work = self._recover(idle[instance], recovery, worker)
            task = asyncio.create_task(work, name=f"recovery of slot {instance}")
            self._recoveries[instance] = task
            task.add_done_callback(self._link_ended)

    async def _recover(self, slot: Slot, recovery: Recovery, worker: WorkerView) -> None:
        patience = self._services.patience(SlotLogger(logger, slot.instance), slave=True)
        try:
            slot.resume(await patience.until_done(lambda: recovery.recover(worker)))
        except OpenQAError as error:
            logger.error("Jobs of slot %d are left to the master: %s", slot.instance, error)
        self._connect(slot)
        del self._recoveries[slot.instance]

    def _is_away(self, slot: Slot) -> bool:
        return slot.instance not in self._links and slot.instance not in self._recoveries

    def _is_wanted(self, slot: Slot) -> bool:
        return any(slot is one for one in self._slots[: self._wanted])

    def _number_wanted(self) -> int:
        if not self._configuration.auto_slots:
            return len(self._slots)
        classes = {frozenset({name}) for slot in self._slots for name in slot.classes}
        capacity = self._services.availability.capacity
        return len({worker.id for one in classes for worker in capacity.serving(one)})
