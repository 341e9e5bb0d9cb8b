"""Processes that start in a few milliseconds: forked from one that has imported everything.

Each is a process of its own with its own pid, which is what a SIGKILL needs; only the imports, most of a
second each, are made once.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.crash import process as bombed

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.crash.process", "pseudoworker.bridge.daemon"])


class Spawned:
    """One run of the real process."""

    def __init__(
        self, config: Path, *, instances: str, trace: Path | None, at: str, sites: Mapping[str, str]
    ) -> None:
        self._process = _CONTEXT.Process(
            target=_run, args=(str(config), instances, trace and str(trace), at, dict(sites))
        )
        self.trace = trace

    def start(self) -> None:
        """Fork it."""
        self._process.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.exitcode is not None

    @property
    def exit_status(self) -> int | None:
        """As `subprocess` has it: negative for a signal; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    async def ended(self) -> int:
        """Wait for its end."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._process.sentinel, gone.set)
        try:
            while self._process.exitcode is None:
                await gone.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        return self._process.exitcode


@asynccontextmanager
async def spawned(
    config: Path, *, instances: str, trace: Path | None = None, at: str = "", sites: Mapping[str, str] = {}
) -> AsyncIterator[Spawned]:
    """Run it; it is killed at the end unless it has gone by itself."""
    process = Spawned(config, instances=instances, trace=trace, at=at, sites=sites)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        await process.ended()


def _die_with_parent() -> None:
    """Whatever becomes of the tests, no process of theirs goes on and talks to ports that others use."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _run(config: str, instances: str, trace: str | None, at: str, sites: Mapping[str, str]) -> None:
    """In the new process."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    output = os.open(f"{config}/pseudoworker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    for name in [name for name in os.environ if name.startswith(("OPENQA_", "XDG_"))]:
        del os.environ[name]
    os.environ["OPENQA_CONFIG"] = os.environ["HOME"] = config
    logging.getLogger().handlers.clear()
    arguments = ["run", "--instance", instances, "--verbose"]
    sys.exit(bombed.main(arguments, trace=Path(trace) if trace else None, at=at, sites=sites))
