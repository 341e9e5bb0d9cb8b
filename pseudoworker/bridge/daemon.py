"""The service: puts everything together, runs until it is told to stop, and leaves nothing undone that can
be done."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Callable

from pseudoworker import __version__
from pseudoworker.bridge.assembly import assemble
from pseudoworker.bridge.crew import Crew
from pseudoworker.bridge.journal import JournalError
from pseudoworker.bridge.owner import Ownership
from pseudoworker.bridge.services import Services
from pseudoworker.config.model import Configuration
from pseudoworker.errors import PseudoworkerError
from pseudoworker.observe.control import serve_control, socket_path
from pseudoworker.observe.folding import ranges
from pseudoworker.observe.logs import banner, set_up_logging
from pseudoworker.observe.notify import Notifier, Watchdog
from pseudoworker.observe.page import serve_status
from pseudoworker.observe.secrets import Secrets
from pseudoworker.observe.snapshot import ProcessSnapshot
from pseudoworker.openqa.errors import OpenQAError

logger = logging.getLogger(__name__)

PRUNE_EVERY = 3600.0
KEEP_CLOSED = 30 * 86_400.0
"""Seconds for which ended jobs stay in the journal: chained jobs ask where an asset was produced."""
COLLECTED = (20_000, 20, 20)
"""How much grows before Python looks for cycles (`gc.set_threshold`). Each poll of hundreds of jobs makes a
hundred thousand objects that are gone without it a moment later; with the default it was busy with them all
the time."""
BEAT_MARGIN = 60.0
"""Seconds that a heartbeat may be late before the watchdog is let run out."""


def run(configuration: Configuration) -> int:
    """Be the worker until stopped; returns the exit status. Raises PseudoworkerError when it can not
    start."""
    sites = (configuration.master, configuration.slave)
    secrets = Secrets(site.credentials.secret for site in sites if site.credentials)
    folding = set_up_logging(configuration.worker.log_level, verbose=configuration.verbose, secrets=secrets)
    gc.freeze()  # what was imported stays for good
    gc.set_threshold(*COLLECTED)
    try:
        return asyncio.run(Daemon(configuration, secrets).main())
    finally:
        folding.flush()


class Daemon:
    """One process with its slots."""

    def __init__(self, configuration: Configuration, secrets: Secrets) -> None:
        self._configuration = configuration
        self._secrets = secrets
        self._instances = [slot.instance for slot in configuration.slots]
        self._started = time.time()
        self._notifier = Notifier()
        self._failure: PseudoworkerError | None = None

    async def main(self) -> int:
        """Start, serve until told to stop, stop. Raises PseudoworkerError when it can not start or go on."""
        configuration = self._configuration
        logger.info("%s", self._banner())
        owner = Ownership(configuration.state_dir, self._instances)
        try:
            configuration.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner.acquire()
        except OSError as error:
            raise JournalError(
                f"{configuration.state_dir}: can not be written: {error.strerror or error};"
                " give it to the service user, or set state_dir in pseudoworker.toml"
            ) from error
        try:
            crew = Crew(configuration)
            async with assemble(configuration, crew, self._secrets) as services:
                await crew.muster(services, ended=self._fail)
                await self._serve(services, crew)
        finally:
            owner.release()
        if self._failure is not None:
            raise self._failure
        return 0

    async def _serve(self, services: Services, crew: Crew) -> None:
        def snapshot() -> ProcessSnapshot:
            for side, client in (("master", services.master), ("slave", services.slave)):
                if client.skew is not None:
                    services.metrics.clock_skew(side, client.skew)
            return ProcessSnapshot(
                pid=os.getpid(),
                started=self._started,
                version=__version__,
                master_url=self._configuration.master.url,
                slave_url=self._configuration.slave.url,
                slots=crew.snapshots(),
                totals=services.metrics.totals(),
            )

        async with contextlib.AsyncExitStack() as stack:
            control = socket_path(self._configuration.state_dir, self._instances)
            await stack.enter_async_context(serve_control(control, snapshot))
            if listen := self._configuration.observe.listen:
                await stack.enter_async_context(serve_status(listen, services.metrics, snapshot))
            background = {
                "watcher": services.watcher.run(),
                "availability": services.availability.run(),
                "reaper": services.reaper.run(),
                "helpers": self._sweep(services),
                "journal": services.journal.watch(),
                "pruning": self._prune(services),
                "slots": crew.run(),
                "watchdog": Watchdog(self._notifier, lambda: self._beats(services)).run(),
            }
            tasks = [asyncio.create_task(work, name=name) for name, work in background.items()]
            for task in tasks:
                task.add_done_callback(self._background_ended)
            self._crew = crew
            self._listen_to_signals(crew)
            self._notifier.ready(f"{len(self._instances)} slots")
            try:
                await crew.dismissed()
                self._notifier.stopping()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await crew.detach()

    def _listen_to_signals(self, crew: Crew) -> None:
        loop = asyncio.get_running_loop()

        def on(number: signal.Signals, action: Callable[[], None]) -> None:
            def handle() -> None:
                logger.info("Received signal %s", number.name[3:])
                action()

            loop.add_signal_handler(number, handle)

        def terminate() -> None:
            on(signal.SIGTERM, crew.abort)  # the second one
            if self._configuration.on_stop == "abort":
                crew.abort()
            else:
                crew.dismiss()

        on(signal.SIGTERM, terminate)
        on(signal.SIGINT, crew.abort)
        on(signal.SIGHUP, crew.drain)

    def _fail(self, error: PseudoworkerError) -> None:
        """Something that no retry mends: stop, and say why."""
        self._failure = self._failure or error
        self._crew.dismiss()

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        logger.error("Internal error in %s: stopping, jobs are kept", task.get_name(), exc_info=error)
        self._fail(
            error if isinstance(error, PseudoworkerError) else PseudoworkerError(f"internal error: {error!r}")
        )

    async def _sweep(self, services: Services) -> None:
        """Remove what an earlier process left on the slave to hold or carry assets."""
        patience = services.patience(logging.LoggerAdapter(logger))
        try:
            left = await patience.until_done(services.assets.helpers.sweep)
        except OpenQAError as error:
            logger.warning("Helper jobs that an earlier process left can not be looked for: %s", error)
            return
        if left:
            logger.info("Ended %d helper jobs that an earlier process had left on the slave", left)

    async def _prune(self, services: Services) -> None:
        while True:
            dropped = await services.journal.prune(older_than=KEEP_CLOSED)
            if dropped:
                logger.debug("Dropped %d old jobs from the journal", dropped)
            await asyncio.sleep(PRUNE_EVERY)

    def _beats(self, services: Services) -> bool:
        return (
            services.metrics.heartbeat_age() <= self._configuration.worker.status_max_interval + BEAT_MARGIN
        )

    def _banner(self) -> str:
        configuration = self._configuration
        classes = sorted({name for slot in configuration.slots for name in slot.worker_class})
        return banner(
            __version__,
            ranges(set(self._instances)),
            configuration.files,
            configuration.host,
            classes,
            configuration.master.url,
            configuration.slave.url,
            configuration.state_dir,
        )
