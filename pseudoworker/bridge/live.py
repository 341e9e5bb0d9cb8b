"""The live view of one job: what a viewer on the master sees of the slave's screen and logs.

The master says `livelog_start` and `livelog_stop` for each viewer (Running.pm streaming). While there is one,
the slave's streams are open, and what they bring waits here for the next status post.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pseudoworker.bridge.live_streams import ScreenStream, Source, Stream, TextStream, keep_open
from pseudoworker.bridge.watched import WatchedJobs
from pseudoworker.openqa.errors import NotFound, OpenQAError, Refused
from pseudoworker.openqa.json import Json

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

PATIENCE = 3
"""Failures in succession after which a live screen that cannot be reached counts as missing."""


class LiveRelay:
    """The live view of one job on the master, fed by one job on the slave.

    Costs nothing while nobody watches. All methods belong to the event loop's thread.

    * `wake` is called whenever `take` has something new, so that the status can be posted within its 1 s
      pace.
    * `note` gets what belongs into the job's worker log, each thing once.
    """

    def __init__(
        self,
        source: Source,
        watched_jobs: WatchedJobs,
        *,
        wake: Callable[[], None],
        note: Callable[[str], None],
        log: Log,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._watched_jobs = watched_jobs
        self._note = note
        self._log = log
        self._sleep = sleep
        self._viewers = 0
        self._allowed = False
        self._slave_job: int | None = None
        self._last_shown: int | None = None
        self._has_worker = False
        """Whether the slave has shown that the job has a worker: a 404 then means that there is no such
        route."""
        self._tasks: list[asyncio.Task[None]] = []
        self._texts = {
            "log": TextStream("livelog", "the live log", wake),
            # The slave shows all serial terminals as one text, and so does the master: one field is enough.
            "serial_terminal": TextStream("liveterminal", "the live serial terminal", wake),
        }
        self._streams: dict[str, Stream] = {**self._texts, "screen": ScreenStream(wake)}
        """By the field of the status that they feed."""
        self._told: set[str] = set()

    @property
    def watched(self) -> bool:
        """Whether someone watches: the status is then posted every second instead of every ten."""
        return self._viewers > 0

    def viewers(self, change: int) -> None:
        """Count a viewer who comes (+1) or leaves (-1); the first opens the streams, the last closes them."""
        before, self._viewers = self._viewers, max(0, self._viewers + change)
        if self._viewers and not before:
            self._watched_jobs.enter(self)
        elif before and not self._viewers:
            self._watched_jobs.leave(self)

    def allow(self, allowed: bool) -> None:
        """Whether this job may have its streams open; called by WatchedJobs."""
        if self._allowed and self._viewers and not allowed:
            self._tell("interrupted", "The live view is interrupted: too many jobs are watched at a time")
        self._allowed = allowed
        self._open_or_close()

    def follow(self, slave_job: int | None) -> None:
        """Show this job of the slave from now on; None while there is none that has a worker."""
        if slave_job == self._slave_job:
            return
        self._close_streams()
        if self._last_shown not in (None, slave_job) and slave_job is not None:
            for text in self._texts.values():
                text.restarted(slave_job)
        self._slave_job = slave_job
        self._last_shown = slave_job or self._last_shown
        self._has_worker = False
        self._open_or_close()

    def take(self) -> dict[str, Json]:
        """What to add to the status that is posted now; empty when nobody watches or nothing is new.

        What was taken before counts as delivered, unless `put_back` was called since.
        """
        status: dict[str, Json] = {}
        if self._viewers:
            for field, stream in self._streams.items():
                news = stream.take()
                if news is not None:
                    status[field] = news
        return status

    def put_back(self) -> None:
        """The post that carried what was last taken failed: take it again next time."""
        for stream in self._streams.values():
            stream.put_back()

    async def close(self) -> None:
        """The job is over: close all streams and wait until they are."""
        tasks = list(self._tasks)
        self.viewers(-self._viewers)
        self.follow(None)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _open_or_close(self) -> None:
        slave_job = self._slave_job
        if not self._allowed or slave_job is None:
            self._close_streams()
        elif not self._tasks:
            self._log.debug("Opening the live streams of slave job %d", slave_job)
            self._tasks = [
                asyncio.create_task(self._relay(field, stream, slave_job))
                for field, stream in self._streams.items()
            ]

    def _close_streams(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    async def _relay(self, field: str, stream: Stream, slave_job: int) -> None:
        had_worker = False

        async def read() -> None:
            nonlocal had_worker
            had_worker = self._has_worker
            await stream.read(self._source, slave_job, self._answered)

        def failed(error: OpenQAError, failures: int) -> bool:
            return self._is_missing(field, error, failures, had_worker)

        await keep_open(read, failed=failed, sleep=self._sleep)

    def _answered(self) -> None:
        self._has_worker = True

    def _is_missing(self, field: str, error: OpenQAError, failures: int, had_worker: bool) -> bool:
        """Whether the slave does not have this stream at all; says so once.

        `had_worker`: the slave had shown before the attempt that the job has a worker.
        """
        self._log.debug("Live stream for %s ended: %s", field, error)
        if isinstance(error, NotFound) and not had_worker:
            return False  # the job has no worker yet, or no more
        refused = isinstance(error, Refused)
        if field == "screen" and (refused or (failures >= PATIENCE and had_worker)):
            self._tell(
                field,
                f"The slave's live screen is not available ({error}). Results go on. The live log grows only "
                "while someone watches on the slave itself, since the screen is what asks its worker for it",
            )
        elif refused:
            name = field.replace("_", " ")
            self._tell(field, f"The slave's {name} is not available live ({error}). Results go on")
        return refused

    def _tell(self, subject: str, text: str) -> None:
        if subject not in self._told:
            self._told.add(subject)
            self._log.warning("%s", text)
            self._note(text)
