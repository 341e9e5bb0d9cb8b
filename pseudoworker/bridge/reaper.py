"""Slave jobs that are to be cancelled, whatever happens to the process or the network in between."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.retry import PROBE, Policy

logger = logging.getLogger(__name__)

PAUSE = 5.0
LONGEST_PAUSE = 300.0


class Jobs(Protocol):
    """What is needed of `SlaveJobs`."""

    async def cancel(self, job_id: int, *, policy: Policy) -> bool:
        """Cancel a job; False when it does not exist."""
        ...


class ToReap(Protocol):
    """What is needed of the journal."""

    async def reap(self, slave_id: int) -> None:
        """Remember that a slave job is to be cancelled."""
        ...

    async def reaped(self, slave_id: int) -> None:
        """It was cancelled, or is gone."""
        ...

    async def to_reap(self) -> list[int]:
        """All that are still to be cancelled."""
        ...


class Reaper:
    """Cancels slave jobs, and remembers in the journal those that could not be cancelled yet."""

    def __init__(self, journal: ToReap, jobs: Jobs) -> None:
        self._journal = journal
        self._jobs = jobs
        self._more = asyncio.Event()

    async def cancel(self, slave_id: int) -> None:
        """Cancel the job now, or as soon as the slave can be reached; returns after the first try."""
        await self._journal.reap(slave_id)
        if not await self._try(slave_id):
            self._more.set()

    async def run(self) -> None:
        """Try again what did not succeed, until cancelled."""
        pause = PAUSE
        while True:
            self._more.clear()
            waiting = await self._journal.to_reap()
            done = [await self._try(slave_id) for slave_id in waiting]
            if all(done):
                pause = PAUSE
                await self._more.wait()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _try(self, slave_id: int) -> bool:
        try:
            found = await self._jobs.cancel(slave_id, policy=PROBE)
        except OpenQAError as error:
            logger.warning("Slave job %d could not be cancelled yet: %s", slave_id, error)
            return False
        logger.info("Slave job %d %s", slave_id, "cancelled" if found else "does not exist any more")
        await self._journal.reaped(slave_id)
        return True
