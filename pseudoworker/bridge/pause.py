"""How far the results of a paused test are on the master: what opens the needle editor there."""

from __future__ import annotations

import time
from collections.abc import Callable

from pseudoworker.master.upload_progress import Progress

LATEST = 12.0
"""Seconds after a pause began when the slave has what it is going to have: its worker uploads the steps of
the running module with its next status, at most 10 s later (`OpenQA::Worker::Job`,
_upload_results_step_0_prepare)."""


class Pause:
    """One job's pauses. The steps of the running module count once they have changed since the pause
    began."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._before = ""

    def changed(self, *, paused: bool, shown: str) -> None:
        """The test was paused, or goes on; `shown` is the fingerprint of the running module's steps on the
        master."""
        self._began = self._clock() if paused else None
        self._before = shown

    def progress(self, *, running: str | None, shown: str, last: str | None, outstanding: int) -> Progress:
        """What to tell the live handler.

        `running` is the running module, `last` the last one that has ended, `outstanding` the files on their
        way.
        """
        has_steps = self._began is not None and (
            shown != self._before or self._clock() - self._began > LATEST
        )
        return Progress(up_to=running if has_steps else last, current=running, images=outstanding, files=0)
