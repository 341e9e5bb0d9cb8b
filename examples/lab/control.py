"""What `lab up`, `down`, `status` and the fault helpers do: which daemons there are, and in which order."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from examples.lab import openqa, postgres, releases
from examples.lab.errors import LabError
from examples.lab.guest import build_guest
from examples.lab.layout import Instance, Lab
from examples.lab.owner import lab_owner
from examples.lab.processes import Daemon, Processes, Running

SERVICES = ("postgres", "webui", "websockets", "livehandler", "scheduler", "gru")


@dataclass(frozen=True)
class Line:
    """One line of `lab status`: a daemon, its process if it runs, and a word on how it does."""

    name: str
    pid: int | None
    port: int | None
    state: str
    good: bool


class Control:
    """Starts and stops the daemons of a lab; one at a time, whoever calls."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._owner = lab_owner()
        self._processes = Processes(lab.directory, lab.run_directory, self._owner)

    def up(self) -> list[str]:
        """Starts what does not run or is configured otherwise than it runs; returns the daemons started.

        Returns when every daemon answers and every worker is registered. Raises LabError, with the end
        of the log, for a daemon that dies or does not become ready within its limit.
        """
        with self._locked():
            lab = self._lab
            lab.save()
            build_guest(lab.guest_directory)
            self._stop_surplus()
            for instance in lab:
                if instance.root:
                    releases.mount(instance.root, lab.directory)
                openqa.prepare(lab, instance, self._owner)
                postgres.create_cluster(instance, self._owner)
            started = self._start([postgres.daemon(instance) for instance in lab])
            for instance in lab:
                openqa.initialize_database(instance, self._owner)
            # Workers would only try again later if they came before their web UI.
            started += self._start([daemon for instance in lab for daemon in openqa.daemons(instance)])
            started += self._start([worker for instance in lab for worker in openqa.workers(instance)])
            return started

    def down(self) -> list[str]:
        """Stops everything that was started; returns the daemons stopped."""
        with self._locked():
            stopped = self._stop(self._processes.names())
            for instance in self._lab:
                if instance.root:
                    releases.leave(instance.root, self._lab.directory)
            return stopped

    def start(self, names: Sequence[str]) -> list[str]:
        """Starts the named daemons unless they run, and waits until they are ready."""
        with self._locked():
            return self._start([daemon for daemon in self._all() if daemon.name in set(names)])

    def stop(self, names: Sequence[str]) -> list[str]:
        """Stops the named daemons; they stay stopped until `start` or `up`."""
        with self._locked():
            return self._stop(names)

    def kill(self, names: Sequence[str]) -> list[str]:
        """Ends the named daemons and their children by SIGKILL, as a crash would."""
        with self._locked():
            return [name for name in names if self._processes.signal_all(name, signal.SIGKILL)]

    def freeze(self, names: Sequence[str]) -> list[str]:
        """Stops the named daemons by SIGSTOP: their ports still accept, but nobody answers."""
        with self._locked():
            return [name for name in names if self._processes.signal_all(name, signal.SIGSTOP)]

    def thaw(self, names: Sequence[str]) -> list[str]:
        """Lets frozen daemons go on."""
        with self._locked():
            return [name for name in names if self._processes.signal_all(name, signal.SIGCONT)]

    def status(self) -> list[Line]:
        """How every daemon and worker does, in the order in which they are started."""
        if not self._lab.run_directory.exists():
            return []
        said = {instance.name: openqa.worker_status(instance) for instance in self._lab}
        return [
            self._line(daemon, instance, said[instance.name])
            for instance in self._lab
            for daemon in self._daemons(instance)
        ]

    def names(self, instance: Instance, words: Sequence[str]) -> list[str]:
        """The daemons meant by words such as `webui`, `worker 3`, `worker-3`, `workers`, or none for all.

        Raises LabError for anything else.
        """
        known = [daemon.name for daemon in self._daemons(instance)]
        if not words:
            return known
        found: list[str] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "worker" and rest:
                word = f"worker-{rest.pop(0)}"
            wanted = (
                [name for name in known if "-worker-" in name]
                if word == "workers"
                else [name for name in known if name == f"{instance.name}-{word}"]
            )
            if not wanted:
                short = ", ".join(name.removeprefix(f"{instance.name}-") for name in known)
                raise LabError(f"{instance.name} has no daemon {word!r}, only {short}")
            found += wanted
        return found

    def _all(self) -> list[Daemon]:
        return [daemon for instance in self._lab for daemon in self._daemons(instance)]

    def _daemons(self, instance: Instance) -> list[Daemon]:
        return [postgres.daemon(instance), *openqa.daemons(instance), *openqa.workers(instance)]

    def _start(self, daemons: Sequence[Daemon]) -> list[str]:
        waiting: list[tuple[Daemon, Running]] = []
        started = []
        for daemon in daemons:
            running = self._processes.running(daemon.name)
            if running is None or running.fingerprint != daemon.fingerprint():
                self._processes.stop(daemon.name, daemon.stop_signal)
                running = self._processes.start(daemon)
                started.append(daemon.name)
            waiting.append((daemon, running))
        for daemon, running in waiting:
            self._wait_until_ready(daemon, running)
        return started

    def _wait_until_ready(self, daemon: Daemon, running: Running) -> None:
        end = time.monotonic() + daemon.ready_limit
        while not daemon.ready(running):
            if not self._processes.running(daemon.name):
                raise LabError(f"{daemon.name} has died, see {running.log}:\n{running.log_end()}")
            if time.monotonic() > end:
                raise LabError(
                    f"{daemon.name} is not ready after {daemon.ready_limit:.0f} s, see {running.log}:\n"
                    f"{running.log_end()}"
                )
            time.sleep(0.2)

    def _stop(self, names: Sequence[str]) -> list[str]:
        signals = {daemon.name: daemon.stop_signal for daemon in self._all()}
        # Workers first, so that they can still say good-bye; the database last.
        order = sorted(names, key=lambda name: ("-worker-" not in name, name.endswith("-postgres")))
        stopped = [name for name in order if self._processes.members(name)]
        for group in (
            [name for name in order if "-worker-" in name],
            [name for name in order if "-worker-" not in name and not name.endswith("-postgres")],
            [name for name in order if name.endswith("-postgres")],
        ):
            self._processes.stop_all(group, signals)
        return stopped

    def _stop_surplus(self) -> None:
        wanted = {daemon.name for daemon in self._all()}
        self._stop([name for name in self._processes.names() if name not in wanted])

    def _line(self, daemon: Daemon, instance: Instance, said: dict[int, str]) -> Line:
        running = self._processes.running(daemon.name)
        pid = running.pid if running else None
        kind = daemon.name.removeprefix(f"{instance.name}-")
        if kind.startswith("worker-"):
            state = said.get(int(kind.removeprefix("worker-")), "unknown") if running else "stopped"
            return Line(daemon.name, pid, None, state, state in ("idle", "running"))
        ports = {"webui": 0, "websockets": 1, "livehandler": 2, "scheduler": 3, "postgres": 32}
        port = instance.base_port + ports[kind] if kind in ports else None
        if running is None:
            return Line(daemon.name, None, port, "stopped", False)
        ready = daemon.ready(running)
        return Line(daemon.name, pid, port, "running" if ready else "not answering", ready)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        directory = self._lab.directory
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if directory.stat().st_uid not in (0, os.getuid()):
            raise LabError(f"{directory} belongs to somebody else: choose another LAB_DIR")
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
