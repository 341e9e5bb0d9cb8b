"""Slave jobs that are to be cancelled, whatever happens to the process or the network in between."""

from __future__ import annotations

import asyncio
import logging

from pseudoworker.bridge.journal import Journal
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.retry import PROBE
from pseudoworker.slave.jobs import SlaveJobs

logger = logging.getLogger(__name__)

PAUSE = 5.0
LONGEST_PAUSE = 300.0


class Reaper:
    """Cancels slave jobs, and remembers in the journal those that could not be cancelled yet."""

    def __init__(self, journal: Journal, jobs: SlaveJobs) -> None:
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
            waiting = await self._journal.to_reap()
            done = [await self._try(slave_id) for slave_id in waiting]
            if all(done):
                pause = PAUSE
                self._more.clear()
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
