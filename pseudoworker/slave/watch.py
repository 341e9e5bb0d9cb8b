"""One watcher for all running jobs of a slave: one request a tick, whatever their number."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from pseudoworker.openqa.errors import Busy, Garbage, NotFound, OpenQAError, Refused, ServerFailed
from pseudoworker.openqa.retry import POLL, Policy
from pseudoworker.openqa.states import UPLOADING
from pseudoworker.openqa.views import JobView

log = logging.getLogger(__name__)

_SPARING = 5.0
"""How many times as long as the last request took nothing is asked, even when somebody is in a hurry."""

_MOST_CONFIRMATIONS = 20
"""Jobs missing in an answer that are asked for singly in one tick; the others' turn comes with the next."""


@dataclass(frozen=True)
class Gone:
    """A job does not exist any more: the slave said so twice, in the list and when asked for the job
    alone."""

    job_id: int


@dataclass(frozen=True)
class Outage:
    """The slave does not answer as it should."""

    since: float
    """Seconds since the epoch: when the first request failed."""
    error: OpenQAError
    """What the latest request met."""
    failures: int
    """Requests in a row that failed."""


@dataclass(frozen=True)
class Unreadable:
    """A job exists, but what the slave says about it makes no sense or fails. Told once, until it can be read
    again."""

    job_id: int
    error: OpenQAError


Observation = JobView | Gone | Unreadable
Tell = Callable[[Observation], None]
TellOutage = Callable[[Outage | None], None]


class Jobs(Protocol):
    """What the watcher needs of `SlaveJobs`."""

    async def view(self, job_id: int, *, policy: Policy = ...) -> JobView:
        """Fetch one job; raises `NotFound`."""
        ...

    async def views(self, job_ids: Iterable[int], *, policy: Policy = ...) -> dict[int, JobView]:
        """Fetch many jobs, leaving out those that do not exist."""
        ...


class Watcher:
    """Polls all watched jobs and tells each one's owner when something about it has changed.

    `run` is to be started as a task, once. `watch`, `unwatch` and `wake` are called from the same event loop.
    Owners are told by callbacks that the loop runs by itself (`call_soon`), so that an error in one cannot
    stop the watcher; they should do no more than put the observation into a queue of their own. Without
    watched jobs no request is made.
    """

    def __init__(
        self,
        jobs: Jobs,
        interval: float = 10.0,
        *,
        longest_pause: float = 60.0,
        least_pause: float = 0.5,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare to watch.

        :param interval: seconds between two requests while all is well.
        :param longest_pause: seconds; the pause doubles with each failed request up to this.
        :param least_pause: seconds between two requests however often `wake` is called; while the slave does
            not answer it is `interval` instead.
        :param clock: seconds since the epoch.
        """
        self._jobs = jobs
        self._interval = interval
        self._longest_pause = max(longest_pause, interval)
        self._least_pause = min(least_pause, interval)
        self._clock = clock
        self._owners: dict[int, list[Tell]] = {}
        self._seen: dict[int, Observation] = {}
        self._listeners: list[TellOutage] = []
        self._woken = asyncio.Event()
        self.outage: Outage | None = None
        """What is wrong with the slave at present; None when nothing is known to be."""

    def watch(self, job_id: int, tell: Tell) -> None:
        """Watch a job from now on; its present state is told as the first change, and the next tick comes at
        once."""
        self._owners.setdefault(job_id, []).append(tell)
        if job_id in self._seen:
            self._tell(job_id, tell, self._seen[job_id])
        self.wake()

    def unwatch(self, job_id: int, tell: Tell | None = None) -> None:
        """Stop telling one owner of a job, or all of them. A change that is on its way is not told any
        more."""
        owners = [] if tell is None else [owner for owner in self._owners.get(job_id, []) if owner != tell]
        if owners:
            self._owners[job_id] = owners
        else:
            self._owners.pop(job_id, None)
            self._seen.pop(job_id, None)

    def listen(self, tell: TellOutage) -> Callable[[], None]:
        """Be told of outages: with an `Outage` at each failed request, with None when the slave answers
        again.

        :return: a function that ends it.
        """
        self._listeners.append(tell)
        return lambda: self._listeners.remove(tell) if tell in self._listeners else None

    def wake(self) -> None:
        """Ask for a tick now rather than when the interval is over."""
        self._woken.set()

    @property
    def watched(self) -> frozenset[int]:
        """The ids of all watched jobs."""
        return frozenset(self._owners)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            if not self._owners:
                self._woken.clear()
                await self._woken.wait()
                continue
            self._woken.clear()
            began = time.monotonic()
            try:
                await self.tick()
            except OpenQAError as error:
                self._failed(error)
            else:
                self._recovered()
            await self._pause(time.monotonic() - began)

    async def tick(self) -> None:
        """Ask for all watched jobs once and tell what changed. Raises `OpenQAError` when the slave does not
        answer."""
        asked = frozenset(job_id for job_id in self._owners if not isinstance(self._seen.get(job_id), Gone))
        if not asked:
            return
        found = await self._jobs.views(asked, policy=POLL)
        for job in found.values():
            self._observe(job.id, job)
        for job_id in sorted(asked - found.keys(), key=self._is_unreadable)[:_MOST_CONFIRMATIONS]:
            await self._confirm_missing(job_id)

    async def _confirm_missing(self, job_id: int) -> None:
        """Ask for a job alone that the list did not have."""
        try:
            await self._jobs.view(job_id, policy=POLL)
        except NotFound:
            self._observe(job_id, Gone(job_id))
        except (Garbage, ServerFailed) as error:
            if not self._is_unreadable(job_id):
                log.warning("slave job %d cannot be read: %s", job_id, error)
                self._observe(job_id, Unreadable(job_id, error))
        else:
            log.debug("slave job %d is not listed but exists; it is asked for again", job_id)

    def _is_unreadable(self, job_id: int) -> bool:
        return isinstance(self._seen.get(job_id), Unreadable)

    def _observe(self, job_id: int, observation: Observation) -> None:
        if job_id not in self._owners or self._seen.get(job_id) == observation:
            return
        self._seen[job_id] = observation
        for tell in self._owners[job_id]:
            self._tell(job_id, tell, observation)

    def _tell(self, job_id: int, tell: Tell, observation: Observation) -> None:
        def deliver() -> None:
            if tell in self._owners.get(job_id, []):
                tell(observation)

        asyncio.get_running_loop().call_soon(deliver)

    def _failed(self, error: OpenQAError) -> None:
        if self.outage is None:
            self.outage = Outage(self._clock(), error, 1)
            log.warning("the slave does not answer: %s", error)
        else:
            self.outage = Outage(self.outage.since, error, self.outage.failures + 1)
            log.debug("the slave still does not answer: %s", error)
        self._tell_listeners()

    def _recovered(self) -> None:
        if self.outage is None:
            return
        log.info("the slave answers again after %.0f s", self._clock() - self.outage.since)
        self.outage = None
        self._tell_listeners()

    def _tell_listeners(self) -> None:
        for tell in self._listeners:
            asyncio.get_running_loop().call_soon(tell, self.outage)

    def _is_any_ending(self) -> bool:
        return any(isinstance(job, JobView) and job.state == UPLOADING for job in self._seen.values())

    async def _pause(self, took: float) -> None:
        """Wait for the next tick: the interval, or longer after failures, or shorter when woken or while a
        job is about to end. A slave that took long for its last answer is spared in proportion."""
        least = min(max(self._least_pause, _SPARING * took), self._interval)
        whole = least if self._is_any_ending() else self._interval
        if self.outage is not None:
            error = self.outage.error
            asked_for = (error.retry_after or 0.0) if isinstance(error, Busy) else 0.0
            doubled = self._interval * 2.0 ** min(self.outage.failures - 1, 30)
            # A final refusal, of the key for instance, does not end by asking often.
            doubled = self._longest_pause if isinstance(error, Refused) else min(doubled, self._longest_pause)
            least, whole = max(self._interval, asked_for), max(doubled, asked_for)
        await asyncio.sleep(least)
        if whole > least:
            try:
                async with asyncio.timeout(whole - least):
                    await self._woken.wait()
            except TimeoutError:
                pass  # nobody woke us: it is time for the next tick
