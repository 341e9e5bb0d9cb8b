"""A real pseudoworker process between the lab's two instances, and what a viewer on either of them sees."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from examples.lab.api import OpenqaApi
from examples.lab.federation import write_configuration
from examples.lab.jobs import post
from examples.lab.layout import Instance, Lab
from tests.real.recorder import LIVE_HANDLER
from tests.real.rest import PATIENCE, Unrest

ROOT = Path(__file__).resolve().parents[2]


def wait_for(
    what: str,
    condition: Callable[[], Any],
    limit: float = 120.0,
    every: float = 0.2,
    story: Callable[[], str] = lambda: "",
) -> Any:
    """Look again and again until `condition` gives something true, and return that. `story` is told when it
    does not."""
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {limit:g} s {story()}"
        time.sleep(every)
    return found


@dataclass
class Bridge:
    """One running process, with a worker class of its own, so that it takes only the jobs posted here."""

    lab: Lab
    process: subprocess.Popen[bytes]
    log: Path
    location: str
    posted: list[int] = field(default_factory=list)

    def post(self, variant: str, **settings: object) -> int:
        """Post a job on the master for this process; its id."""
        own = {"WORKER_CLASS": f":{self.location}:qemu_x86_64", **settings}
        self.posted.append(post(self.lab.master, variant, **own)[""])
        return self.posted[-1]

    def running(self, master_job: int, limit: float = 180.0) -> int:
        """Wait until the job runs on both sides, with a module; the slave job's id."""
        self.wait_for_state(master_job, "running", limit)
        created = re.compile(rf"job {master_job}\b.*slave job created: \S+/tests/(\d+)")
        match = wait_for("the slave job in the log", lambda: created.search(self.log.read_text()))
        return int(match[1])

    def wait_for_state(self, master_job: int, state: str, limit: float = 300.0) -> dict[str, Any]:
        """Wait until the master job is in this state; the job."""
        api = OpenqaApi(self.lab.master.url)

        def look() -> dict[str, Any] | None:
            job: dict[str, Any] = api.get(f"jobs/{master_job}")["job"]
            return job if job["state"] == state else None

        found: dict[str, Any] = wait_for(f"job {master_job} {state}", look, limit)
        return found

    def cancel_all(self) -> None:
        """Cancel what has not ended, so that neither side has anything left to do for us."""
        for job in self.posted:
            if OpenqaApi(self.lab.master.url).get(f"jobs/{job}")["job"]["state"] != "done":
                self.cancel(job)

    def cancel(self, master_job: int) -> None:
        """Cancel the job and wait for its end."""
        OpenqaApi(self.lab.master.url, self.lab.master.operator).post(f"jobs/{master_job}/cancel")
        self.wait_for_state(master_job, "done")


@contextmanager
def bridge(
    lab: Lab,
    directory: Path,
    *,
    slots: int = 1,
    location: str = "live",
    toml: str = "",
    slave_url: str = "",
    host: str = "",
    free: int | None = None,
) -> Iterator[Bridge]:
    """Start the process, and end its jobs and it in the end; `slave_url` leads to the slave by another
    way, `host` is the name of its workers if that is not the location. At first `free` slots take jobs, by
    default all."""
    configuration, log = directory / "conf", directory / "pseudoworker.log"
    write_configuration(lab, configuration, location)
    toml_file, client_conf = configuration / "pseudoworker.toml", configuration / "client.conf"
    text = toml_file.read_text().replace(lab.slave.url, slave_url or lab.slave.url)
    toml_file.write_text(f'host = "{host or location}"\n{text}{toml}')
    if slave_url:
        name = slave_url.removeprefix("http://")
        client_conf.write_text(client_conf.read_text().replace(f"[{lab.slave.host}]", f"[{name}]"))
    command = [
        sys.executable,
        "-m",
        "pseudoworker",
        "run",
        "--instance",
        f"1-{slots}",
        "--verbose",
    ]
    environment = {
        **os.environ,
        "OPENQA_CONFIG": str(configuration),
        "STATE_DIRECTORY": str(directory / "state"),
    }
    (directory / "state").mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    wanted = slots if free is None else free
    try:
        wait_for(
            "slots that take jobs",
            lambda: log.read_text().count("Takes jobs") >= wanted,
            PATIENCE,
            story=lambda: f"({Unrest.of(lab)})\n{log.read_text()[-4000:]}",
        )
        running = Bridge(lab, process, log, location)
        try:
            yield running
        finally:
            running.cancel_all()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Viewer:
    """Reads one event stream of a web UI in a thread, noting when each event came."""

    instance: Instance
    path: str
    events: list[tuple[float, str]] = field(default_factory=list)
    status: bytes = b""
    _socket: socket.socket | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> Viewer:
        port, path = self.instance.base_port, self.path
        if path.endswith("/streaming") and self.instance.root:
            # releases after the installed one serve the screen by their live handler
            port, path = port + LIVE_HANDLER, f"/liveviewhandler{path}"
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.sendall(f"GET {path} HTTP/1.0\r\nHost: {self.instance.host}\r\n\r\n".encode())
        lines = self._socket.makefile("rb")
        self._thread = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._socket is not None
        assert self._thread is not None
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the server has closed it before
        self._thread.join(10)
        self._socket.close()

    def _read(self, lines: BinaryIO) -> None:
        with lines:
            self.status = lines.readline()  # comes with the first event
            while line := lines.readline():
                if line.startswith(b"data: "):
                    self.events.append((time.monotonic(), line[6:].decode().strip()))

    @property
    def text(self) -> str:
        """All of a text stream so far."""
        return "".join(json.loads(data)[0] for _, data in list(self.events))

    def lines(self) -> dict[str, float]:
        """When each whole line of a text stream was there first."""
        seen: dict[str, float] = {}
        rest = ""
        for when, data in list(self.events):
            *whole, rest = (rest + json.loads(data)[0]).split("\n")
            for line in whole:
                seen.setdefault(line, when)
        return seen

    def pictures(self) -> dict[str, float]:
        """When each picture of a screen was there first."""
        seen: dict[str, float] = {}
        for when, data in list(self.events):
            seen.setdefault(data, when)
        return seen
