"""The driver of one job: turns what happens into events of the lifecycle, journals, and carries out its
commands.

All decisions are in `bridge.lifecycle`. What is done here runs in tasks that end when the job closes, or
when the process detaches: then the journal holds all that the next process needs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial

from pseudoworker.bridge import lifecycle
from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.bridge.assets.names import Asset, promised_assets
from pseudoworker.bridge.assets.provider import Held
from pseudoworker.bridge.cluster import Cluster, ClusterFailed
from pseudoworker.bridge.creation import CreateRefused
from pseudoworker.bridge.endings import Ending
from pseudoworker.bridge.journal import Pairing
from pseudoworker.bridge.lifecycle import Phase, Stop
from pseudoworker.bridge.patience import Patience
from pseudoworker.bridge.relay import Relay
from pseudoworker.bridge.services import Services
from pseudoworker.bridge.settings import UnmappedClass, for_slave
from pseudoworker.bridge.story import Story
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
SLAVE_OUTAGE = 1800.0
"""Seconds after which the jobs of a slave that can not be reached are given up: openQA's own patience with a
worker."""
VERDICT = 60.0
"""Seconds to wait for the master's own verdict on a job whose relatives failed."""
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
            cancelled=lambda: self.in_background(self.check_lease()),
            progress_wanted=lambda: self._start_unless_running("progress", self._progress()),
        )
        self._events: asyncio.Queue[lifecycle.Event] = asyncio.Queue()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._numbered = 0
        self._cluster: Cluster | None = None
        self._settings: dict[str, str] | None = None
        self._held = Held()

    # What the slot and the daemon call:

    async def run(self) -> None:
        """Live until the job is closed. Cancelling it detaches: nothing is said to either side."""
        try:
            await self.story.load()
            await self.relay.load()
            if self._resumed:
                self.story.tell(f"resumed after a restart of pseudoworker, {self.state.phase}")
                self.in_background(self.check_lease())
                for command in lifecycle.resume(self.state):
                    self._carry_out(command)
            else:
                self._events.put_nowait(lifecycle.Began())
            self._start("heartbeat", self._heartbeat())
            while self.state.phase is not Phase.CLOSED:
                await self._apply(await self._events.get())
        finally:
            await self._wind_up()

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
        self.relay.registered(registration.port_delta)

    def reconnected(self) -> None:
        """The websocket was closed for a while: a stop command may have been lost."""
        self.in_background(self.check_lease())

    def in_background(self, work: Coroutine[None, None, None]) -> None:
        """Run this beside everything else, as long as the job lives."""
        self._numbered += 1
        self._start(f"background {self._numbered}", work)

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

    async def check_lease(self) -> None:
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
        for command in commands:
            self._carry_out(command)
        await self.story.save()
        self._changed()

    def _carry_out(self, command: lifecycle.Command) -> None:
        match command:
            case lifecycle.Provide():
                self._start("provide", self._provide())
            case lifecycle.AbandonProvide():
                self._cancel("provide")
            case lifecycle.Create():
                self._start("create", self._create())
            case lifecycle.Follow(slave_id, restarted):
                self._start("follow", self._follow(slave_id, restarted))
            case lifecycle.StopSlave(slave_id):
                self._start("stop slave", self._stop_slave(slave_id))
            case lifecycle.RelayProgress():
                self._start_unless_running("progress", self._progress())
            case lifecycle.RelayRest(slave_id):
                self._cancel("progress")
                self._start("rest", self._rest(slave_id))
            case lifecycle.Await(last):
                self._start_unless_running("await", self._await(last))
            case lifecycle.TellEnd(ending):
                for name in ("progress", "rest"):
                    self._cancel(name)
                self._start("end", self._tell_end(ending))
            case lifecycle.Close():
                self._cancel("heartbeat")

    # What the commands do:

    async def _provide(self) -> None:
        try:
            await self._prepare()
        except ClusterFailed as failure:
            self._events.put_nowait(lifecycle.Failed(str(failure)))
        except AssetFailure as failure:
            self._events.put_nowait(lifecycle.Failed(f"asset failure: {failure}"))
        except UnmappedClass as failure:
            self._events.put_nowait(lifecycle.Failed(f"setup failure: {failure}"))
        else:
            assert self._cluster is not None
            self._events.put_nowait(lifecycle.Provided(related=len(self._cluster.members) > 1))

    async def _prepare(self) -> None:
        """Gather the cluster and bring the assets. Outages are waited out."""
        services = self._services
        settings = for_slave(
            self.job.settings,
            report_url=services.master_url(self.job.id),
            to_slave=services.configuration.classes.to_slave,
        )
        patience = self._patience()
        self._cluster = await patience.until_done(
            lambda: services.clusters.gather(self.job.id, services.master_view)
        )
        related = len(self._cluster.members) > 1
        coming = await self._coming(self._cluster, patience)
        provided = await patience.until_done(
            lambda: services.assets.provider.provide(self.job, self.story.tell, coming=coming, hold=related)
        )
        self._held = provided.held
        self._settings = {**settings, **provided.settings}
        await services.clusters.ready(self.job.id, self._cluster)

    async def _coming(self, cluster: Cluster, patience: Patience) -> frozenset[Asset] | None:
        """What the jobs that this one follows directly will publish on the slave; None when it follows
        none."""
        before = cluster.directly_before(self.job.id)
        if not before:
            return None
        views = [await patience.until_done(partial(self._services.master_view, member)) for member in before]
        return frozenset(asset for view in views for asset in promised_assets(view.settings))

    async def _create(self) -> None:
        services = self._services
        try:
            if self._settings is None or self._cluster is None:
                await self._prepare()
            assert self._settings is not None
            assert self._cluster is not None
            if self._resumed:
                services.creation.doubt(self.job.id)
            slave_id = await services.clusters.create(self.job.id, self._cluster, self._settings)
        except (ClusterFailed, CreateRefused) as failure:
            self._events.put_nowait(lifecycle.Failed(str(failure)))
        except AssetFailure as failure:
            self._events.put_nowait(lifecycle.Failed(f"asset failure: {failure}"))
        except UnmappedClass as failure:
            self._events.put_nowait(lifecycle.Failed(f"setup failure: {failure}"))
        except OpenQAError as failure:
            self._events.put_nowait(lifecycle.Failed(f"api failure: {failure}"))
        else:
            self.story.tell(f"slave job created: {services.slave_url(slave_id)}")
            self._events.put_nowait(lifecycle.Created(slave_id))
            await self._held.release()

    async def _follow(self, slave_id: int, restarted: bool) -> None:
        services = self._services
        self.running_since = None
        self._unwatch()
        if restarted:
            self.story.tell(f"restarted on the slave: {services.slave_url(slave_id)}")
            await self.relay.start_over(slave_id)
        else:
            await self.relay.follow(slave_id)
        services.watcher.watch(slave_id, self._seen)
        self._start("limits", self._limits())

    async def _stop_slave(self, slave_id: int) -> None:
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
            await self._relay_rest()
            last = await self._look(slave_id)
        except AssetFailure as error:
            self._events.put_nowait(lifecycle.RelayFailed(f"asset failure: {error}"))
        except OpenQAError as error:
            self._events.put_nowait(lifecycle.RelayFailed(f"api failure: {error}"))
        else:
            self._events.put_nowait(lifecycle.Relayed(last))
        services.availability.wake()

    async def _relay_rest(self) -> None:
        try:
            await self.relay.rest()
        except LeaseLost as lost:
            if self.state.stop not in (Stop.CANCEL, Stop.OBSOLETE):
                raise
            # A job that was cancelled before it began takes no results, but it does take its end.
            self._logger.debug("The master takes no results: %s", lost)

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
        try:
            if not (self._resumed and await self._told_before()):
                await self._end(ending)
        except LeaseLost as lost:
            self._logger.warning("The master does not want the end any more: %s", lost)
        self._events.put_nowait(lifecycle.EndTold())

    async def _told_before(self) -> bool:
        """Whether the process before this one told the end and died before it could write that down."""
        view = await self._patience().until_done(self._master.view)
        return view.state == states.DONE or view.assigned_worker_id not in (None, self._master.worker_id)

    async def _end(self, ending: Ending) -> None:
        if self.state.slave_id is None and (self.state.stop is None or self.state.stop.brings_results):
            await self.relay.explain(ending.reason)
        if ending.duplicate:
            await self._master.duplicate()
        if self.state.related and ending.result in states.ABORTED_RESULTS:
            await self._verdict()
        patience = self._patience()
        result = await patience.until_done(
            lambda: self._master.set_done(ending.result, ending.reason, newbuild=ending.newbuild)
        )
        result = result or ending.result
        self._logger.info("Ended as %s%s", result, f" ({ending.reason})" if ending.reason else "")
        self._services.metrics.job_ended(result, time.time() - self.claimed)

    async def _verdict(self) -> None:
        """Let the master end this job for the failure of its relative, as it does for local workers."""
        deadline = time.monotonic() + VERDICT
        while time.monotonic() < deadline:
            if (await self._master.view()).result != states.NONE:
                return
            await asyncio.sleep(1)

    # What is watched:

    def _seen(self, observation: Observation) -> None:
        if isinstance(observation, Gone):
            url = self._services.slave_url(observation.job_id)
            self._events.put_nowait(lifecycle.Gone(observation.job_id, url))
            return
        if isinstance(observation, Unreadable):
            self.last_error = str(observation.error)
            return
        self.relay.view = observation
        if observation.state in (states.RUNNING, states.UPLOADING) and self.running_since is None:
            self.running_since = time.monotonic()
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
        limits = self._services.configuration.limits
        began = time.monotonic()
        while self.running_since is None:
            if time.monotonic() - began > limits.queue_timeout:
                self.stop(Stop.QUEUE_TIMEOUT)
                return
            await asyncio.sleep(min(LEASE_CHECK, limits.queue_timeout))
        await asyncio.sleep(run_time(self.job.settings) + limits.run_margin)
        self.stop(Stop.RUN_TIMEOUT)

    async def _heartbeat(self) -> None:
        """Post a status regularly while the slave job runs; before that, make sure that the job is still
        ours."""
        while True:
            if self.state.phase in EARLY:
                await asyncio.sleep(LEASE_CHECK)
                if self.state.phase in EARLY:
                    await self._patience().until_done(self.check_lease)
            else:
                await self.relay.heartbeat(active=self.turn.is_set() and self.state.phase is Phase.RUNNING)

    def outage(self, outage: Outage | None) -> None:
        """The slave does not answer, or answers again."""
        self.last_error = None if outage is None else str(outage.error)
        if outage is not None and time.time() - outage.since > SLAVE_OUTAGE:
            self.stop(Stop.SLAVE_LOST)

    # Tasks:

    def _patience(self) -> Patience:
        return self._services.patience(self._logger)

    def _start_unless_running(self, name: str, work: Coroutine[None, None, None]) -> None:
        if name in self._tasks:
            work.close()
        else:
            self._start(name, work)

    def _start(self, name: str, work: Coroutine[None, None, None]) -> None:
        self._cancel(name)
        task = asyncio.create_task(work, name=f"{name} of job {self.job.id}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._finished(name, done))

    def _cancel(self, name: str) -> None:
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    def _finished(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._broke(error)

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
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.relay.close()
        await self._held.release()
        if self.state.phase is Phase.CLOSED:
            await self._services.clusters.leave(self.job.id)


def run_time(settings: Mapping[str, str]) -> float:
    """Seconds that a job may take by its own settings, set-up included (`OpenQA::Worker::Job`,
    `_compute_timeouts`)."""

    def number(key: str, default: float) -> float:
        try:
            return float(settings.get(key, default))
        except ValueError:
            return default

    return number("MAX_SETUP_TIME", 3600.0) + number("MAX_JOB_TIME", 7200.0) * number("TIMEOUT_SCALE", 1.0)
