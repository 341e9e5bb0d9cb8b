"""The driver of one job: turns what happens into events of the lifecycle, journals, and carries out its
commands.

All decisions are in `bridge.lifecycle`. What is done here runs in tasks that end when the job closes, or
when the process detaches: then the journal holds all that the next process needs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine

from pseudoworker.bridge import lifecycle
from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.bridge.endings import Ending
from pseudoworker.bridge.farewell import Farewell
from pseudoworker.bridge.journal import Pairing
from pseudoworker.bridge.lifecycle import Phase, Stop
from pseudoworker.bridge.named_tasks import NamedTasks
from pseudoworker.bridge.patience import Patience
from pseudoworker.bridge.preparation import NotRunnable, Preparation
from pseudoworker.bridge.relay import Relay
from pseudoworker.bridge.services import Services
from pseudoworker.bridge.settings import needed_classes, run_time
from pseudoworker.bridge.story import Story
from pseudoworker.bridge.yielding import yield_to_relatives
from pseudoworker.master.job import LeaseLost, MasterJob
from pseudoworker.master.registration import Registration
from pseudoworker.observe.logs import SlotLogger
from pseudoworker.observe.snapshot import SlotSnapshot
from pseudoworker.openqa import states
from pseudoworker.openqa.errors import NotFound, OpenQAError
from pseudoworker.openqa.messages import Grabbed
from pseudoworker.openqa.values import flat_settings
from pseudoworker.openqa.views import JobView
from pseudoworker.slave.watch import Gone, Observation, Outage, Unreadable

logger = logging.getLogger(__name__)

LEASE_CHECK = 60.0
"""Seconds between two looks at the master's view of a job that does not post statuses yet."""
SETTLE = 300.0
"""Seconds that the slave's worker has for its last words on a cancelled job, or the slave for an announced
restart."""
EARLY = frozenset({Phase.CLAIMED, Phase.PROVIDING, Phase.CREATING, Phase.QUEUED})


class JobRun:
    """One job of the master, from its claim to its end. `changed` is called after every step."""

    def __init__(
        self,
        services: Services,
        pairing: Pairing,
        *,
        master: MasterJob,
        resumed: bool,
        changed: Callable[[], None],
    ) -> None:
        self.job = Grabbed(pairing.master_id, flat_settings(pairing.job.get("settings")) or {}, pairing.job)
        self.state = pairing.state
        self.slot = pairing.slot
        self.needs = needed_classes(self.job.settings, services.configuration.classes.to_slave)
        self.claimed = pairing.claimed or time.time()
        self.running_since: float | None = None
        """When the slave job was first seen running, by the monotonic clock."""
        self.last_error: str | None = None
        self.turn = asyncio.Event()
        """Set while this is its slot's current job; until then nothing about it is told to the master."""
        self._services = services
        self._master = master
        self._resumed = resumed
        self._changed = changed
        self._logger = SlotLogger(logger, self.slot, self.job.id, self.state.slave_id)
        self.story = Story(services.journal, self.job.id, self._logger)
        self.relay = Relay(
            services,
            master,
            self.story,
            self._logger,
            job_token=self.job.settings.get("JOBTOKEN", ""),
            failed=self._broke,
            cancelled=lambda: self.in_background(self._check_lease_soon()),
            progress_wanted=lambda: self._tasks.start_unless_running("progress", self._progress()),
        )
        self._farewell = Farewell(master, self.relay, patience=self._patience(), logger=self._logger)
        self._events: asyncio.Queue[lifecycle.Event] = asyncio.Queue()
        self._tasks = NamedTasks(f"job {self.job.id}", self._broke)
        self._preparation = Preparation(
            services,
            self.job,
            note=self.story.tell,
            patience=services.patience(self._logger, slave=True),
        )
        self._started = asyncio.Event()
        self._moved = asyncio.Event()
        """Set at each step, for whoever waits for a phase."""

    # What the slot and the daemon call:

    async def run(self) -> None:
        """Live until the job is closed. Cancelling it detaches: nothing is said to either side."""
        token = self.job.settings.get("JOBTOKEN", "")
        self._services.secrets.add(token)
        try:
            await self.story.load()
            await self.relay.load()
            if self._resumed:
                self.story.tell(f"resumed after a restart of pseudoworker, {self.state.phase}")
                self.in_background(self._check_lease_soon())
                for command in lifecycle.resume(self.state):
                    self._carry_out(command)
            else:
                self._events.put_nowait(lifecycle.Began())
            self._tasks.start("heartbeat", self._heartbeat())
            while self.state.phase is not Phase.CLOSED:
                await self._apply(await self._events.get())
        finally:
            await self._wind_up()
            self._services.secrets.drop(token)

    def stop(self, stop: Stop) -> None:
        """End the job before its time."""
        self._logger.info("Stopping: %s", stop)
        self._events.put_nowait(lifecycle.StopAsked(stop))

    def viewers(self, change: int) -> None:
        """Somebody on the master came to watch the job (+1) or left (-1)."""
        self.relay.viewers(change)

    def developer_session(self) -> None:
        """Somebody on the master opened a developer session."""
        self.relay.developer_session()

    def registered(self, registration: Registration) -> None:
        """The slot was registered again."""
        self._master.worker_id = registration.worker_id
        self._master.port_delta = registration.port_delta

    def reconnected(self) -> None:
        """The websocket was closed for a while: a stop command may have been lost."""
        self.in_background(self._check_lease_soon())

    def take_turn(self) -> None:
        """The job is its slot's current one from now on: what it has to say is said."""
        self.turn.set()
        self._moved.set()
        if self.state.phase is Phase.RUNNING:
            self._tasks.start_unless_running("progress", self._progress())

    def in_background(self, work: Coroutine[None, None, None]) -> None:
        """Run this beside everything else, as long as the job lives."""
        self._tasks.add(work)

    def snapshot(self, worker_id: int | None, *, state: str, reason: str) -> SlotSnapshot:
        """The job as `pseudoworker status` shows it."""
        slave_id, view = self.state.slave_id, self.relay.view
        modules = [module.name for module in view.modules] if view is not None else []
        running = next((m.name for m in view.modules if m.result == states.RUNNING), "") if view else ""
        return SlotSnapshot(
            self.slot,
            worker_id,
            state,
            reason,
            master_job=self.job.id,
            master_url=self._services.master_url(self.job.id),
            slave_job=slave_id,
            slave_url=self._services.slave_url(slave_id) if slave_id is not None else "",
            phase=self.state.phase.value,
            module=running,
            module_index=modules.index(running) + 1 if running else 0,
            module_count=len(modules),
            bytes_relayed=self.relay.bytes_relayed,
            since=self.claimed,
            last_error=self.last_error or "",
        )

    async def _check_lease(self) -> None:
        """Ask the master whether the job is still ours; a stop command may have been lost with a
        connection."""
        try:
            view = await self._master.view()
        except (LeaseLost, NotFound):
            self.stop(Stop.LEASE_LOST)
            return
        if self.state.phase is Phase.ENDING:
            return
        if view.assigned_worker_id not in (None, self._master.worker_id):
            self.stop(Stop.LEASE_LOST)
        elif view.state == states.CANCELLED:
            self.stop(Stop.OBSOLETE if view.result == states.OBSOLETED else Stop.CANCEL)
        elif view.state in (states.DONE, states.SCHEDULED):
            self.stop(Stop.LEASE_LOST)

    # Events to steps:

    async def _apply(self, event: lifecycle.Event) -> None:
        after, commands = lifecycle.step(self.state, event)
        if after != self.state:
            await self._services.journal.record(self.job.id, after)
            if after.phase is not self.state.phase:
                self._logger.debug("%s -> %s", self.state.phase, after.phase)
            self.state = after
            self._logger.slave_job = after.slave_id
            self._changed()
        for command in commands:
            self._carry_out(command)
        await self.story.save()
        self._moved.set()

    def _carry_out(self, command: lifecycle.Command) -> None:
        match command:
            case lifecycle.Provide():
                self._tasks.start("provide", self._provide())
            case lifecycle.AbandonProvide():
                self._tasks.cancel("provide")
            case lifecycle.Create():
                self._tasks.start("create", self._create())
            case lifecycle.Follow(slave_id, restarted):
                self._tasks.cancel("progress", "rest", "await")
                self._tasks.start("follow", self._follow(slave_id, restarted))
            case lifecycle.StopSlave(slave_id):
                self._tasks.start("stop slave", self._stop_slave(slave_id))
            case lifecycle.RelayProgress():
                self._tasks.start_unless_running("progress", self._progress())
            case lifecycle.RelayRest(slave_id):
                self._tasks.cancel("progress")
                # The status that waits for its time is not due.
                self._tasks.start("heartbeat", self._heartbeat())
                self._tasks.start("rest", self._rest(slave_id))
            case lifecycle.Await(last):
                self._tasks.start_unless_running("await", self._await(last))
            case lifecycle.TellEnd(ending):
                self._tasks.cancel("progress", "rest", "heartbeat")
                self._tasks.start("end", self._tell_end(ending))
            case lifecycle.Close():
                self._tasks.cancel("heartbeat")

    # What the commands do:

    async def _provide(self) -> None:
        try:
            related = await self._preparation.prepare()
        except NotRunnable as failure:
            self._events.put_nowait(lifecycle.Failed(str(failure)))
        else:
            self._events.put_nowait(lifecycle.Provided(related))

    async def _create(self) -> None:
        try:
            slave_id = await self._preparation.create(doubtful=self._resumed)
        except NotRunnable as failure:
            self._events.put_nowait(lifecycle.Failed(str(failure)))
        else:
            self.story.tell(f"slave job created: {self._services.slave_url(slave_id)}")
            self._events.put_nowait(lifecycle.Created(slave_id))

    async def _follow(self, slave_id: int, restarted: bool) -> None:
        services = self._services
        self.running_since = None
        self._started.clear()
        self._unwatch()
        if restarted:
            self.story.tell(f"restarted on the slave: {services.slave_url(slave_id)}")
        await self.relay.follow(slave_id)
        services.watcher.watch(slave_id, self._seen)
        self._tasks.start("limits", self._limits())

    async def _stop_slave(self, slave_id: int) -> None:
        if self.state.related and self.state.stop is Stop.CANCEL:
            await yield_to_relatives(self._master.view, lambda: self._services.slave_jobs.view(slave_id))
        await self._services.reaper.cancel(slave_id)
        self._services.watcher.wake()
        self._events.put_nowait(lifecycle.SlaveStopped())

    async def _progress(self) -> None:
        if self.turn.is_set():
            await self._patience().until_done(self.relay.progress)

    async def _rest(self, slave_id: int) -> None:
        services = self._services
        await self.turn.wait()
        try:
            whole = await self._relay_rest(slave_id)
            last = await self._look(slave_id)
        except AssetFailure as error:
            self._events.put_nowait(lifecycle.RelayFailed(f"asset failure: {error}"))
        except OpenQAError as error:
            self._events.put_nowait(lifecycle.RelayFailed(f"api failure: {error}"))
        else:
            self._events.put_nowait(lifecycle.Relayed(last, whole))
        services.availability.wake()

    async def _relay_rest(self, slave_id: int) -> bool:
        """Whether the slave job was there long enough."""
        try:
            await self.relay.rest()
        except NotFound:
            if not isinstance(await self._look(slave_id), lifecycle.Gone):
                raise
            return False
        except LeaseLost as lost:
            if self.state.stop not in (Stop.CANCEL, Stop.OBSOLETE):
                raise
            # A job that was cancelled before it began takes no results, but it does take its end.
            self._logger.debug("The master takes no results: %s", lost)
        return True

    async def _look(self, slave_id: int) -> lifecycle.Observed | lifecycle.Gone:
        services = self._services
        try:
            return self._observed(await services.slave_jobs.view(slave_id))
        except NotFound:
            return lifecycle.Gone(slave_id, services.slave_url(slave_id))

    async def _await(self, last: lifecycle.Observed) -> None:
        await asyncio.sleep(SETTLE)
        self._events.put_nowait(lifecycle.WaitedEnough(last))

    async def _tell_end(self, ending: Ending) -> None:
        await self.turn.wait()
        await self.relay.cut_off()
        result = await self._farewell.tell(ending, self.state, doubtful=self._resumed)
        if result is not None:
            self._services.metrics.job_ended(result, time.time() - self.claimed)
        self._events.put_nowait(lifecycle.EndTold())

    # What is watched:

    def _seen(self, observation: Observation) -> None:
        if isinstance(observation, Gone):
            url = self._services.slave_url(observation.job_id)
            self._events.put_nowait(lifecycle.Gone(observation.job_id, url))
            return
        if isinstance(observation, Unreadable):
            self.last_error = str(observation.error)
            return
        self.relay.saw(observation)
        if observation.state in (states.RUNNING, states.UPLOADING) and self.running_since is None:
            self.running_since = time.monotonic()
            self._started.set()
            self.story.tell(f"running on the slave, {time.time() - self.claimed:.0f} s after the claim")
        self._events.put_nowait(self._observed(observation))

    def _observed(self, view: JobView) -> lifecycle.Observed:
        return lifecycle.Observed(
            slave_id=view.id,
            state=view.state,
            result=view.result,
            reason=view.reason,
            clone_id=view.clone_id,
            url=self._services.slave_url(view.id),
            has_worker=view.assigned_worker_id is not None,
        )

    async def _limits(self) -> None:
        """Stop a slave job that does not start, or does not end, in time."""
        await self.turn.wait()
        limits = self._services.configuration.limits
        try:
            async with asyncio.timeout(limits.queue_timeout):
                await self._started.wait()
        except TimeoutError:
            self.stop(Stop.QUEUE_TIMEOUT)
            return
        await asyncio.sleep(run_time(self.job.settings) + limits.run_margin)
        self.stop(Stop.RUN_TIMEOUT)

    async def _heartbeat(self) -> None:
        """Post a status regularly while the slave job runs; before that, make sure that the job is still
        ours."""
        while True:
            active = self.turn.is_set() and self.state.phase is Phase.RUNNING
            if active:
                await self.relay.heartbeat()
                continue
            self._moved.clear()
            try:
                async with asyncio.timeout(LEASE_CHECK):
                    await self._moved.wait()
            except TimeoutError:
                if self.state.phase in EARLY:
                    await self._check_lease_soon()

    async def _check_lease_soon(self) -> None:
        """Check the lease once the master can be asked."""
        try:
            await self._patience().until_done(self._check_lease)
        except OpenQAError as error:
            self._logger.warning("Whether the job is still ours can not be found out: %s", error)

    def outage(self, outage: Outage | None) -> None:
        """The slave does not answer, or answers again."""
        self.last_error = None if outage is None else str(outage.error)
        limit = self._services.configuration.limits.slave_outage
        if outage is not None and time.time() - outage.since > limit:
            self.stop(Stop.SLAVE_LOST)

    def _patience(self) -> Patience:
        return self._services.patience(self._logger)

    def _broke(self, error: Exception) -> None:
        """A task failed with what nobody expected there: the job ends, the process goes on."""
        if isinstance(error, LeaseLost):
            self._logger.warning("%s", error)
            self.stop(Stop.LEASE_LOST)
            return
        self.last_error = str(error) or type(error).__name__
        self._logger.error("Giving the job up: %s", self.last_error, exc_info=error)
        self.stop(Stop.BROKEN)
        self._events.put_nowait(lifecycle.Failed(f"worker broken: {self.last_error}"))
        self._events.put_nowait(lifecycle.RelayFailed(f"worker broken: {self.last_error}"))
        if self.state.phase is Phase.ENDING:
            self._events.put_nowait(lifecycle.EndTold())

    def _unwatch(self) -> None:
        for slave_id in self._services.watcher.watched:
            self._services.watcher.unwatch(slave_id, self._seen)

    async def _wind_up(self) -> None:
        self._unwatch()
        await self._tasks.close()
        await self.relay.close()
        await self._preparation.release()
        if self.state.phase is Phase.CLOSED:
            await self._services.clusters.leave(self.job.id)
