"""Files of one job on their way from the slave to the master: a few at a time, none twice, none given up
early."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pseudoworker.openqa.errors import Garbage, NotFound, OpenQAError, Refused, ServerFailed

PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before a file that the slave does not have yet is asked for again; the pause doubles each time."""


@dataclass
class Transfer:
    """One thing to bring over; `bring` raises NotFound while the slave does not have it."""

    name: str
    bring: Callable[[], Awaitable[None]]
    done: Callable[[], None] = lambda: None
    """Called when it is on the master, or was given up."""
    asked: int = 0
    """How often the slave was asked for it in vain."""


class Transfers:
    """Runs the transfers of one job, at most `workers` at a time.

    While the slave job runs, its own worker may still be uploading what its results name, so a missing file
    is asked for again. Once `finish` was called, it is missing for good. `gave_up` is told the name and the
    error of each thing that one side does not give or does not take, now and for ever; `failed` is told any
    other error, after which nothing more is brought."""

    def __init__(
        self,
        workers: int,
        *,
        gave_up: Callable[[str, OpenQAError], None],
        failed: Callable[[Exception], None],
        patient: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]] = lambda bring: bring(),
    ) -> None:
        self._queue: asyncio.Queue[Transfer] = asyncio.Queue()
        self._gave_up = gave_up
        self._failed = failed
        self._patient = patient
        self._workers = workers
        self._tasks: set[asyncio.Task[None]] = set()
        self._later: dict[asyncio.TimerHandle, Transfer] = {}
        self._finishing = False
        self._failure: Exception | None = None

    def add(self, transfer: Transfer) -> None:
        """Bring this over as soon as a place is free."""
        if self._failure is not None:
            return
        self._queue.put_nowait(transfer)
        if len(self._tasks) < self._workers:
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._worked)

    @property
    def outstanding(self) -> int:
        """How many are not on the master yet."""
        return self._queue.qsize() + len(self._later) + len(self._tasks)

    @property
    def finishing(self) -> bool:
        """Whether the slave job has ended, so that what it does not have now it never will."""
        return self._finishing

    async def finish(self) -> None:
        """Wait until everything is on the master or given up. Raises the error that `failed` was told."""
        self._finishing = True
        later = list(self._later.items())
        self._later.clear()
        for handle, transfer in later:
            handle.cancel()
            self.add(transfer)
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._finishing = False
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Drop what is not done."""
        for handle in self._later:
            handle.cancel()
        self._later.clear()
        for task in self._tasks:
            task.cancel()
        while not self._queue.empty():
            self._queue.get_nowait()

    async def _work(self) -> None:
        while not self._queue.empty() and self._failure is None:
            transfer = self._queue.get_nowait()
            try:
                await self._patient(transfer.bring)
            except NotFound as error:
                if not self._finishing:
                    self._ask_again(transfer)
                    continue
                self._gave_up(transfer.name, error)
            except (Refused, Garbage, ServerFailed) as error:
                self._gave_up(transfer.name, error)
            transfer.done()

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception) and self._failure is None:
            self._failure = error
            self._failed(error)

    def _ask_again(self, transfer: Transfer) -> None:
        def again() -> None:
            del self._later[handle]
            self.add(transfer)

        pause = min(PAUSE * 2**transfer.asked, LONGEST_PAUSE)
        transfer.asked += 1
        handle = asyncio.get_running_loop().call_later(pause, again)
        self._later[handle] = transfer
