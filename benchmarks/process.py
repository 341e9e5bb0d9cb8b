"""The real process under measurement: started, and looked at from outside."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.fakes.pair import pseudoworker

EVERY = 5.0
"""Seconds between two looks: adding up the memory of a process takes it some milliseconds."""


@dataclass
class Usage:
    """What a process took during a window."""

    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of processor time."""
    pss: float = 0.0
    """MB of memory, shared pages by their share: the most that was seen."""
    threads: int = 0
    files: int = 0


class Subject:
    """The process. `measure` begins a window, `usage` ends it."""

    def __init__(self, pid: int, log: Path) -> None:
        self._process = psutil.Process(pid)
        self.log = log

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[Usage]:
        """Look at it until the block ends; the usage is complete then."""
        usage = Usage()
        began, before = time.monotonic(), self._cpu()
        watch = asyncio.create_task(self._watch(usage))
        try:
            yield usage
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            self._look(usage)
            usage.seconds, usage.cpu = time.monotonic() - began, self._cpu() - before

    async def _watch(self, usage: Usage) -> None:
        while True:
            self._look(usage)
            await asyncio.sleep(EVERY)

    def _look(self, usage: Usage) -> None:
        usage.pss = max(usage.pss, pss(self._process.pid))
        usage.threads = max(usage.threads, self._process.num_threads())
        usage.files = max(usage.files, self._process.num_fds())

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def pss(pid: int) -> float:
    """Memory of a process in MB, shared pages by their share (PSS)."""
    return float(psutil.Process(pid).memory_full_info().pss) / 1e6


@asynccontextmanager
async def subject(config: Path, slots: int) -> AsyncIterator[Subject]:
    """`pseudoworker run` with this configuration; raises what it said when it ended
    early."""
    log = config / "pseudoworker.log"
    arguments = ("run", "--instance", f"1-{slots}")
    async with pseudoworker(config, *arguments, log=log) as process:
        yield Subject(process.pid, log)
        if process.returncode is not None:
            raise RuntimeError(f"pseudoworker ended: {log.read_text()[-2000:]}")
