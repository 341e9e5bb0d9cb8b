"""Which slots may take a job now, and why the others may not.

A slot is free only while the slave could start a job of its class at once (or may queue it, by the
configured allowance), so the master never piles jobs on a slave that can not take them. Everything else
looks broken to the master, with the reason."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.slave.capacity import Capacity

logger = logging.getLogger(__name__)

CLOSEST = 1.0
"""Seconds between two looks at the slave's workers at least."""


@dataclass(frozen=True)
class Slot:
    """What matters of one slot."""

    instance: int
    classes: frozenset[str]
    """Classes of the slave that its own classes stand for; a job needs one or more of them."""
    busy: bool
    offered: bool
    """Whether the master was told that it is free; such a slot stays free while it can."""


@dataclass(frozen=True)
class Load:
    """A job of ours that takes, or will take, a worker of the slave which may still look idle."""

    classes: frozenset[str]
    running_since: float | None
    """When it was first seen running (monotonic clock), None while it waits."""


def why_not(
    slots: Sequence[Slot], capacity: Capacity, loads: Iterable[Load], *, taken: float, allowance: int
) -> Mapping[int, str | None]:
    """For each slot that is not busy: None when it may be offered, else the reason why it may not.

    `taken` is when the capacity was looked at (monotonic clock): workers of jobs that were seen running
    before that do not look idle any more. `allowance` is how many more jobs each class may have than idle
    workers."""
    # by class: idle workers that jobs, and the slots granted so far, will take
    spoken_for: Counter[str] = Counter()
    for load in loads:
        if load.running_since is None or load.running_since > taken:
            spoken_for.update(load.classes)
    totals, idle = _memory(capacity.total), _memory(capacity.idle)
    verdicts: dict[int, str | None] = {}
    for slot in sorted(slots, key=lambda slot: (not slot.offered, slot.instance)):
        if slot.busy:
            continue
        reasons = []
        for name in sorted(slot.classes):
            total = totals(name)
            if total == 0:
                reasons.append(f"the slave has no worker of class {name}")
            elif idle(name) + allowance <= spoken_for[name]:
                reasons.append(f"no idle worker of class {name} on the slave ({total} in all)")
            else:
                spoken_for.update(slot.classes)
                verdicts[slot.instance] = None
                break
        else:
            verdicts[slot.instance] = "; ".join(reasons)
    return verdicts


def _memory(count: Callable[[frozenset[str]], int]) -> Callable[[str], int]:
    """The same for one class, counted once: there may be hundreds of slots and of workers."""
    return cache(lambda name: count(frozenset({name})))


class Obstacles:
    """What keeps every slot from working, whatever the slave's workers do. `ask_access` raises when the
    slave does not take our key; it is asked again after `again` seconds, or at once after it was refused."""

    def __init__(
        self,
        ask_access: Callable[[], Awaitable[None]],
        problem: Callable[[], Awaitable[str | None]],
        *,
        again: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask_access = ask_access
        self._problem = problem
        self._again = again
        self._clock = clock
        self._accepted = -float("inf")

    async def __call__(self) -> str | None:
        """The first obstacle, None if there is none. Raises OpenQAError."""
        now = self._clock()
        if now - self._accepted > self._again:
            self._accepted = -float("inf")
            await self._ask_access()
            self._accepted = now
        return await self._problem()


class Availability:
    """Keeps looking at the slave while anybody could be offered, and tells each change.

    `fetch` asks the slave for its workers; `obstacle` tells what else keeps every slot from working (a
    refused key, a full disk), None if nothing; `changed` is called with the verdict for every slot that is
    not busy. `overdue` is how many jobs are missing of clusters in hand: they are let in whatever the
    slave's load, since those that are here would wait for them in vain."""

    def __init__(
        self,
        *,
        fetch: Callable[[], Awaitable[Capacity]],
        obstacle: Callable[[], Awaitable[str | None]],
        slots: Callable[[], Sequence[Slot]],
        loads: Callable[[], Iterable[Load]],
        changed: Callable[[Mapping[int, str | None]], None],
        allowance: int,
        interval: float,
        overdue: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._obstacle = obstacle
        self._slots = slots
        self._loads = loads
        self._changed = changed
        self._allowance = allowance
        self._interval = interval
        self._overdue = overdue
        self._clock = clock
        self._wake = asyncio.Event()
        self._seen = asyncio.Condition()
        self._capacity = Capacity(())
        self._taken = -float("inf")
        self._problem: str | None = "the slave was not asked yet"

    @property
    def capacity(self) -> Capacity:
        """The slave's workers as last seen."""
        return self._capacity

    @property
    def problem(self) -> str | None:
        """What keeps every slot from taking a job, None if nothing does."""
        return self._problem

    def wake(self) -> None:
        """Something of ours ended: look again soon."""
        self._wake.set()

    async def looked(self) -> None:
        """Wait until the slave has been looked at the next time."""
        async with self._seen:
            await self._seen.wait()

    def decide(self) -> None:
        """Judge anew by what is known, without a look at the slave: a job was taken or began to run."""
        self._changed(self._verdicts())

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._look()
            self.decide()
            async with self._seen:
                self._seen.notify_all()
            await asyncio.sleep(CLOSEST)
            try:
                async with asyncio.timeout(self._interval - CLOSEST):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    def _verdicts(self) -> Mapping[int, str | None]:
        slots = self._slots()
        if self._problem is not None:
            return {slot.instance: self._problem for slot in slots if not slot.busy}
        allowance = self._allowance + self._overdue()
        return why_not(slots, self._capacity, self._loads(), taken=self._taken, allowance=allowance)

    async def _look(self) -> None:
        taken = self._clock()
        try:
            problem = await self._obstacle()
            capacity = await self._fetch()
        except OpenQAError as error:
            self._tell(f"slave: {error}")
            return
        self._tell(problem)
        self._capacity, self._taken = capacity, taken

    def _tell(self, problem: str | None) -> None:
        if problem != self._problem:
            if problem:
                logger.warning("No slot takes jobs: %s", problem)
            else:
                logger.info("The slave can take jobs")
        self._problem = problem
