"""Daemons as plain processes: started detached, known by pid and marker, stopped without hitting a stranger.

Each process carries the environment variable `OPENQA_LAB_DAEMON=<lab directory>/<daemon>`, and so do its
children. A pid file alone could name a process of somebody else after a reboot; the marker cannot.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.lab.errors import LabError
from examples.lab.owner import Owner

MARKER = "OPENQA_LAB_DAEMON"
STOP_LIMIT = 30.0
_LOG_PART = 256 * 1024


@dataclass(frozen=True)
class Daemon:
    """What is to run: its name, command, environment, log and when it can be said to work.

    `ready` is called with the daemon's process and tells whether the daemon can be used. `files` are
    configuration files: when one changes, `lab up` starts the daemon anew.
    `stop_signal` asks it to go. `root` is the root directory to run it in.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[Running], bool]
    files: Sequence[Path] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    ready_limit: float = 90.0
    root: Path | None = None

    def fingerprint(self) -> str:
        """Changes when the daemon has to be started anew to be what is described here."""
        digest = hashlib.sha256()
        digest.update(json.dumps([list(self.command), dict(self.environment), str(self.root)]).encode())
        for path in self.files:
            digest.update(path.read_bytes() if path.exists() else b"-")
        return digest.hexdigest()


@dataclass(frozen=True)
class Running:
    """A daemon's process as its file in the run directory records it."""

    pid: int
    fingerprint: str
    log: Path
    log_start: int

    def log_beginning(self) -> str:
        """The first 256 KB that the daemon has written since it was started."""
        return self._read(0)

    def log_end(self, lines: int = 15) -> str:
        """The last lines that the daemon has written since it was started."""
        size = self.log.stat().st_size - self.log_start if self.log.exists() else 0
        return "\n".join(self._read(max(0, size - _LOG_PART)).splitlines()[-lines:])

    def _read(self, offset: int) -> str:
        try:
            with self.log.open("rb") as file:
                file.seek(self.log_start + offset)
                return file.read(_LOG_PART).decode(errors="replace")
        except FileNotFoundError:
            return ""


class Processes:
    """The processes of one lab, by daemon name; one file per daemon in the run directory."""

    def __init__(self, lab_directory: Path, run_directory: Path, owner: Owner) -> None:
        self._prefix = f"{lab_directory}/"
        self._run_directory = run_directory
        self._owner = owner

    def names(self) -> list[str]:
        """All daemons that were started and not stopped, running or not."""
        return sorted(path.stem for path in self._run_directory.glob("*.json"))

    def running(self, name: str) -> Running | None:
        """The daemon's process if it lives and is ours."""
        try:
            known = json.loads(self._file(name).read_text())
        except FileNotFoundError:
            return None
        found = Running(known["pid"], known["fingerprint"], Path(known["log"]), known["log_start"])
        return found if self._is_ours(found.pid, name) else None

    def start(self, daemon: Daemon) -> Running:
        """Starts a daemon that does not run; returns at once, whether or not it is ready."""
        daemon.log.parent.mkdir(parents=True, exist_ok=True)
        with daemon.log.open("ab") as log:
            log_start = log.tell()
            command = self._owner.command(daemon.command, daemon.root)
            # a session of its own, so that nothing of ours, such as control-C, reaches it
            pid = os.posix_spawn(
                command[0],
                command,
                {**daemon.environment, MARKER: self._prefix + daemon.name},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                ],
                setsid=True,
            )
        running = Running(pid, daemon.fingerprint(), daemon.log, log_start)
        record = {
            "pid": running.pid,
            "fingerprint": running.fingerprint,
            "log": str(running.log),
            "log_start": log_start,
        }
        self._run_directory.mkdir(parents=True, exist_ok=True)
        self._file(daemon.name).write_text(json.dumps(record))
        return running

    def stop(self, name: str, stop_signal: signal.Signals = signal.SIGTERM) -> None:
        """Asks one daemon to go and sees to it; see `stop_all`."""
        self.stop_all([name], {name: stop_signal})

    def stop_all(self, names: Sequence[str], signals: Mapping[str, signal.Signals]) -> None:
        """Asks daemons to go, all at once, waits, then ends what is left of them, children included.

        `signals` says how to ask whom, SIGTERM where nothing is said. Raises LabError if something
        survives SIGKILL.
        """
        asked = {name: running.pid for name in names if (running := self.running(name))}
        for name, pid in asked.items():
            # a frozen process could not obey
            self.signal_all(name, signal.SIGCONT)
            _signal(pid, signals.get(name, signal.SIGTERM))
        _wait(lambda: not any(self._is_ours(pid, name) for name, pid in asked.items()), STOP_LIMIT)
        for name in names:
            self.signal_all(name, signal.SIGKILL)
        if not _wait(lambda: not any(self.members(name) for name in names), STOP_LIMIT):
            left = [pid for name in names for pid in self.members(name)]
            raise LabError(f"{', '.join(names)}: processes {left} survive SIGKILL")
        for name in names:
            self._file(name).unlink(missing_ok=True)

    def signal_all(self, name: str, number: signal.Signals) -> list[int]:
        """Sends a signal to every process of a daemon; returns their pids."""
        members = self.members(name)
        for pid in members:
            _signal(pid, number)
        return members

    def members(self, name: str) -> list[int]:
        """All processes that carry the daemon's marker: itself, its children and orphans."""
        pids = (int(entry) for entry in os.listdir("/proc") if entry.isdecimal())
        return [pid for pid in pids if self._is_ours(pid, name)]

    def _is_ours(self, pid: int, name: str) -> bool:
        wanted = f"{MARKER}={self._prefix}{name}".encode()
        return wanted in _environment(pid).split(b"\0")

    def _file(self, name: str) -> Path:
        return self._run_directory / f"{name}.json"


def _environment(pid: int) -> bytes:
    # While a process replaces itself by another program its environment reads as empty for a moment. That of
    # zombies and of the kernel's own threads always does, but neither has a program.
    end = time.monotonic() + 1.0
    try:
        while not (found := Path(f"/proc/{pid}/environ").read_bytes()):
            os.readlink(f"/proc/{pid}/exe")
            if time.monotonic() > end:
                break
            time.sleep(0.001)
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return b""
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself meanwhile


def _wait(condition: Callable[[], bool], limit: float) -> bool:
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
