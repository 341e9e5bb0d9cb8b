"""Jobs on the lab's two real instances: a stock worker against any address of the master, a shaped line
before it, and when a job was posted, had tested and had ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import psutil
import psycopg

from examples.lab.api import OpenqaApi
from examples.lab.jobs import post
from examples.lab.layout import Instance, Lab
from examples.lab.openqa import SCRIPTS, environment
from examples.lab.owner import lab_owner
from tests.fakes.ports import free_ports
from tests.real.fidelity.execution import is_settled, slave_jobs
from tests.real.live_bridge import wait_for

ROOT = Path(__file__).parents[1]
LIMIT = 900.0
STOCK_NUMBER = 90
"""How far behind the first native worker the number of our own stock worker lies."""
_ENDED = """
SELECT extract(epoch FROM min(created)) FROM minion_jobs
WHERE task = 'finalize_job_results' AND args->>0 = %s
"""
"""When a job ended: its own column knows seconds only, the background work that its end starts knows more."""
_QUEUED = "SELECT extract(epoch FROM t_started - t_created) FROM jobs WHERE id = %s"
_STAMP = re.compile(r"^\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    """One job of the master that has ended."""

    id: int
    whole: float
    """Seconds from its post to its end."""
    tail: float
    """Seconds from the end of what runs it (the test of a stock worker, the slave job) to its own end."""
    test: float
    """Seconds from the first to the last line of the test's own log."""
    new_bytes: int
    """Of the files that it left on the master and that were not there before."""
    queued: float = 0.0
    """Seconds for which the slave job waited for the slave's scheduler."""


def run_job(lab: Lab, variant: str, worker_class: str, *, through: str = "") -> Ran:
    """Post a job and wait for its end; raises AssertionError when it did not pass.

    `through` is the master's URL as the pseudoworker knows it that runs the job, empty for a stock worker."""
    began = time.time()
    (job_id,) = post(lab.master, variant, WORKER_CLASS=worker_class).values()
    wait_for(f"job {job_id}", partial(is_settled, lab.master, job_id), LIMIT, 1)
    job = OpenqaApi(lab.master.url).get(f"jobs/{job_id}")["job"]
    assert job["result"] == "passed", f"job {job_id} of {variant} is {job['result']}: {job.get('reason')}"
    end, new_bytes = _ask(lab.master, _ENDED, str(job_id)), _new_bytes(lab.master, job_id, began)
    if not through:
        first, last = _test(lab.master, job_id)
        return Ran(job_id, end - began, end - last, last - first, new_bytes)
    (slave_id,) = slave_jobs(lab.slave, f"{through}/tests/{job_id}")
    queued = _ask(lab.slave, _QUEUED, slave_id)
    first, last = _test(lab.slave, slave_id)
    return Ran(
        job_id, end - began, end - _ask(lab.slave, _ENDED, str(slave_id)), last - first, new_bytes, queued
    )


def _ask(instance: Instance, query: str, argument: object) -> float:
    with psycopg.connect(instance.dsn) as database:
        row = database.execute(query.encode(), (argument,)).fetchone()
    assert row is not None
    return float(row[0])


def _test(instance: Instance, job_id: int) -> tuple[float, float]:
    """When the test itself had begun and ended: the first and last line of its log, before the worker uploads
    it."""
    text = (instance.job_directory(job_id) / "autoinst-log.txt").read_text(errors="replace")
    times = [datetime.fromisoformat(f"{stamp}+00:00").timestamp() for stamp in _STAMP.findall(text)]
    return min(times), max(times)


def _new_bytes(instance: Instance, job_id: int, began: float) -> int:
    """Screenshots are links to where all jobs have theirs; those of earlier jobs are older than this one."""
    found = {path.resolve() for path in instance.job_directory(job_id).rglob("*") if path.is_file()}
    return sum(stat.st_size for stat in map(Path.stat, found) if stat.st_mtime >= began)


@dataclass
class Line:
    """A shaped line; `counts` is filled in when it ends."""

    port: int
    connections: int = 0
    up: int = 0
    down: int = 0


@contextmanager
def line(target: int, *, latency: float, bandwidth: float) -> Iterator[Line]:
    """A TCP proxy in a process of its own before a port of this machine: seconds each way, bytes a second
    each way."""
    made = Line(free_ports(1))
    command = [sys.executable, "-m", "tests.fakes.faultproxy", "--listen", str(made.port)]
    command += ["--to", f"127.0.0.1:{target}", "--latency", str(latency), "--bandwidth", str(bandwidth)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "the proxy did not start"
        try:
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            told = json.loads(process.stdout.readline())
            made.connections, made.up, made.down = told["connections"], told["up"], told["down"]


@contextmanager
def stock_worker(lab: Lab, url: str, worker_class: str, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A stock worker of the master that reaches it by `url`."""
    master, owner = lab.master, lab_owner()
    number = master.first_worker + STOCK_NUMBER
    conf, pool = master.directory / "stock", master.pool_directory / str(number)
    conf.mkdir(exist_ok=True)
    text = f"[global]\nHOST = {url}\nBACKEND = qemu\nWORKER_HOSTNAME = 127.0.0.1\nQEMU_NO_KVM = 1\n"
    (conf / "workers.ini").write_text(f"{text}WORKER_CLASS = {worker_class}\nLOG_LEVEL = debug\n")
    key = master.operator
    names = ("127.0.0.1", "localhost", url.partition("://")[2], url)
    (conf / "client.conf").write_text(
        "\n".join(f"[{name}]\nkey = {key.key}\nsecret = {key.secret}\n" for name in names)
    )
    pool.mkdir(exist_ok=True)
    for path in (conf, *conf.iterdir(), pool):
        os.chown(path, *owner.pair)
    command = owner.command([str(SCRIPTS / "worker"), "--instance", str(number)], master.root)
    with (directory / "stock.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**environment(master), "OPENQA_CONFIG": str(conf)},
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    api = OpenqaApi(master.url)

    def ready() -> bool:
        assert process.poll() is None, (directory / "stock.log").read_text()[-2000:]
        workers = api.get("workers")["workers"]
        return any(int(one["instance"]) == number and one["status"] == "idle" for one in workers)

    try:
        wait_for("the stock worker", ready, 60, 0.5)
        yield process
    finally:
        process.terminate()
        process.wait()


def memory(pid: int) -> float:
    """Memory of one process in MB (PSS)."""
    return float(psutil.Process(pid).memory_full_info().pss) / 1e6
