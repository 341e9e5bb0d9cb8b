"""One owner for each slot: a second process for the same slots refuses to start and names the first."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from pseudoworker.errors import PseudoworkerError


class AlreadyOwned(PseudoworkerError):
    """Another process works for one of the slots; the message names it."""


class Ownership:
    """Locks on the slots of this process, held until `release` or the end of the process, however it ends."""

    def __init__(self, directory: Path, instances: Iterable[int]) -> None:
        self._directory = directory
        self._instances = sorted(instances)
        self._held: list[TextIO] = []

    def acquire(self) -> None:
        """Take all locks or none. Raises AlreadyOwned, or OSError when the directory can not be written."""
        try:
            for instance in self._instances:
                self._held.append(_lock(lock_path(self._directory, instance), instance))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the slots free."""
        while self._held:
            self._held.pop().close()


def lock_path(directory: Path, instance: int) -> Path:
    """The file whose lock a slot's owner holds; it names the owner."""
    return directory / f"slot-{instance}.lock"


def _lock(path: Path, instance: int) -> TextIO:
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = file.read().strip() or "another process"
        file.close()
        raise AlreadyOwned(
            f"instance {instance} is already served by {owner} ({path});"
            " stop that process first, or choose other instances"
        ) from None
    file.truncate(0)
    file.write(f"pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S %z')}\n")
    file.flush()
    return file
