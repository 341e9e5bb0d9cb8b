"""The real process between the lab's two instances, killed at a point of a job's life and started again."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from examples.lab.api import OpenqaApi
from examples.lab.federation import write_configuration
from examples.lab.jobs import post
from examples.lab.layout import Instance, Lab
from tests.real.fidelity.compare import compare
from tests.real.fidelity.execution import is_settled, read_execution, slave_jobs
from tests.real.live_bridge import ROOT, wait_for

LIMIT = 300.0
"""Seconds for one job on a machine that runs others beside it."""
ANSWER = 60.0
"""Seconds in which the process gets the answer to the end that it told."""
_POSTING = threading.Lock()
"""openQA fails when two posts at once name an asset that it has not seen before."""


@dataclass(frozen=True)
class Site:
    """A configuration of its own, with a worker class and a host name that nobody else has."""

    lab: Lab
    directory: Path
    location: str
    instances: Sequence[int] = (21,)

    @classmethod
    def make(cls, lab: Lab, directory: Path, instances: Sequence[int] = (21,)) -> Site:
        """Write it into `directory`, which exists."""
        location = f"crash-{secrets.token_hex(4)}"
        configuration = directory / "conf"
        write_configuration(lab, configuration, location)
        toml = configuration / "pseudoworker.toml"
        (directory / "state").mkdir()
        toml.write_text(
            f'host = "{location}"\nstate_dir = "{directory / "state"}"\n{toml.read_text()}'
            "\n[limits]\nqueue_allowance = 8\npoll_interval = 0.5\n"
        )
        return cls(lab, directory, location, instances)

    @contextmanager
    def running(self, at: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """The process, which kills itself at that point (see `tests.crash.process`)."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENQA_")}
        environment |= {
            "OPENQA_CONFIG": str(self.directory / "conf"),
            "PYTHONPATH": str(ROOT),
            "CRASH_AT": at,
            "CRASH_TRACE": str(self.directory / "trace"),
            "CRASH_SITES": f"{self.lab.master.host}=master {self.lab.slave.host}=slave",
        }
        slots = ",".join(map(str, self.instances))
        command = [sys.executable, "-m", "tests.crash.process", "run", "--instance", slots, "--verbose"]
        with (self.directory / "pseudoworker.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def post(self, variant: str, **settings: object) -> int:
        """A job of the master for this process; its id."""
        own = {"WORKER_CLASS": f":{self.location}:qemu_x86_64", **settings}
        return post(self.lab.master, variant, **own)[""]

    def job(self, job_id: int) -> dict[str, Any]:
        """A job of the master."""
        found: dict[str, Any] = OpenqaApi(self.lab.master.url).get(f"jobs/{job_id}")["job"]
        return found

    def slave_job(self, job_id: int) -> int:
        """The one slave job of a master job that is done, once both are settled."""
        (found,) = slave_jobs(self.lab.slave, f"{self.lab.master.url}/tests/{job_id}")
        wait_for("the slave's own work", lambda: is_settled(self.lab.slave, found), LIMIT)
        wait_for("the master's own work", lambda: is_settled(self.lab.master, job_id), LIMIT)
        return found

    def problems(self, job_id: int) -> list[str]:
        """Every promise about this job that was broken."""
        job, problems = self.job(job_id), []
        if (job["state"], job["result"], job["clone_id"]) != ("done", "passed", None):
            problems.append(f"{job['state']}/{job['result']} ({job.get('reason')}), clone {job['clone_id']}")
        if (ends := _ends(self.lab.master, job_id)) != 1:
            problems.append(f"ended {ends} times")
        if (workers := _workers(self.lab.master, self.location)) != len(self.instances):
            problems.append(f"{workers} workers were registered")
        left = read_execution(self.lab.slave, self.slave_job(job_id))
        points = compare(left, read_execution(self.lab.master, job_id))
        return problems + ([str(points)] if points.differences else [])


def crash(lab: Lab, directory: Path, point: str) -> list[str]:
    """One life with a kill at `point`; what went wrong."""
    directory.mkdir()
    site = Site.make(lab, directory)
    with _POSTING:
        job_id = site.post("short")

    def over() -> bool:
        return bool(site.job(job_id)["state"] == "done")

    with site.running(point) as process:
        wait_for(f"the kill at {point}", lambda: process.poll() is not None or over(), LIMIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ANSWER)  # the last points come when the master has ended the job already
        if process.poll() != -signal.SIGKILL:
            return [f"was not reached: exit status {process.poll()}, {site.job(job_id)['state']}"]
    with site.running():
        wait_for(f"the end of job {job_id} after {point}", over, LIMIT)
        return site.problems(job_id)


def _ends(master: Instance, job_id: int) -> int:
    """How often the job was set done, by the master's audit log."""
    with psycopg.connect(master.dsn) as database:
        found = database.execute(
            "SELECT count(*) FROM audit_events"
            " WHERE event = 'job_done' AND (event_data::json ->> 'id')::int = %s",
            (job_id,),
        ).fetchone()
    assert found is not None
    return int(found[0])


def _workers(master: Instance, host: str) -> int:
    return sum(worker["host"] == host for worker in OpenqaApi(master.url).get("workers")["workers"])
