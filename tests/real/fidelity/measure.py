"""Measures what a federated job costs on the lab: `python -m tests.real.fidelity.measure [PLAIN [STEPS]]`.

PLAIN and STEPS say how many jobs of the plain variant and of the one with 200 steps are run, one after the
other."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections import Counter
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from statistics import median
from urllib.request import urlopen

import psutil
import psycopg

from examples.lab.layout import Instance, Lab, current_lab
from tests.real.fidelity.execution import is_settled, slave_jobs
from tests.real.live_bridge import Bridge, bridge, wait_for

_ENDED = """
SELECT extract(epoch FROM min(created)) FROM minion_jobs
WHERE task = 'finalize_job_results' AND args->>0 = %s
"""
"""When a job ended: its own column knows seconds only, the background work that its end starts knows more."""


def main() -> None:
    """Run everything and print the figures."""
    plain, steps = [int(argument) for argument in [*sys.argv[1:], "10", "5"][:2]]
    lab = current_lab()
    print(f"load average at the beginning: {os.getloadavg()}")
    with tempfile.TemporaryDirectory(prefix="fidelity-") as directory:
        for slots in (1, 20):
            print(f"{slots} slots, idle: {_memory(lab, Path(directory), slots):.1f} MB (PSS)")
        port = _free_port()
        with _started(lab, Path(directory) / "jobs", 1, port) as process:
            _measure(process, port, "plain", plain)
            _measure(process, port, "steps200", steps)
            print(f"1 slot, after these jobs: {_pss(process):.1f} MB (PSS)")
    print(f"load average at the end: {os.getloadavg()}")


def _started(lab: Lab, directory: Path, slots: int, port: int) -> AbstractContextManager[Bridge]:
    directory.mkdir()
    toml = f'\n[limits]\nqueue_allowance = 30\n[observe]\nlisten = "127.0.0.1:{port}"\n'
    return bridge(lab, directory, slots=slots, location=f"measure-{os.getpid()}-{slots}", toml=toml)


def _memory(lab: Lab, directory: Path, slots: int) -> float:
    with _started(lab, directory / f"slots{slots}", slots, _free_port()) as process:
        return _pss(process)


def _pss(process: Bridge) -> float:
    return float(psutil.Process(process.process.pid).memory_full_info().pss) / 1e6


def _measure(process: Bridge, port: int, variant: str, times: int) -> None:
    delays: list[float] = []
    requests: list[Counter[str]] = []
    for _ in range(times):
        before = _requests(port)
        job_id = process.post(variant)
        wait_for(f"job {job_id}", partial(is_settled, process.lab.master, job_id), 600, 1)
        after = _requests(port)
        requests.append(Counter({side: after[side] - before[side] for side in after}))
        (slave_id,) = slave_jobs(process.lab.slave, f"{process.lab.master.url}/tests/{job_id}")
        delays.append(_ended(process.lab.master, job_id) - _ended(process.lab.slave, slave_id))
        print(f"  {variant} {job_id}: {delays[-1]:.2f} s, {dict(requests[-1])} requests", flush=True)
    counts = {side: median(found[side] for found in requests) for side in ("master", "slave")}
    print(
        f"{variant}, {times} jobs: from the slave job's end to the master job's end {median(delays):.2f} s"
        f" (median, {min(delays):.2f} to {max(delays):.2f}); requests (median) {counts}"
    )


def _ended(instance: Instance, job_id: int) -> float:
    with psycopg.connect(instance.dsn) as database:
        row = database.execute(_ENDED, (str(job_id),)).fetchone()
    assert row is not None
    return float(row[0])


def _requests(port: int) -> Counter[str]:
    """Requests so far, by side."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    found: Counter[str] = Counter()
    for line in lines:
        if line.startswith("pseudoworker_requests_total{"):
            labels, _, value = line.partition("} ")
            found["master" if 'side="master"' in labels else "slave"] += int(float(value))
    return found


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    main()
