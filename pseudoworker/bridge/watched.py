"""Who may have live streams open, when more jobs are watched than is good for the slave."""

from __future__ import annotations

from typing import Protocol

MOST = 100
"""Jobs of one process whose live streams are open at a time; each holds three connections to the slave."""


class Watched(Protocol):
    """A job that someone watches."""

    def allow(self, allowed: bool) -> None:
        """Open the live streams, or close them."""


class WatchedJobs:
    """The watched jobs of one process: those watched last have their live streams open, `most` of them."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._jobs: list[Watched] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def enter(self, job: Watched) -> None:
        """Someone begins to watch this job; the one that has been watched longest may have to give way."""
        self._jobs.append(job)
        if len(self._jobs) > self._most:
            self._jobs[-self._most - 1].allow(False)
        job.allow(True)

    def leave(self, job: Watched) -> None:
        """Nobody watches this job any more; one that had given way may come back."""
        position = self._jobs.index(job)
        waiting = len(self._jobs) - self._most
        del self._jobs[position]
        job.allow(False)
        if 0 < waiting <= position:
            self._jobs[waiting - 1].allow(True)
