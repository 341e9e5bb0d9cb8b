"""Measures what a federated job costs on the lab: `python -m tests.real.fidelity.measure --help`."""

from __future__ import annotations

import argparse
import os
import re
import socket
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
    parser = argparse.ArgumentParser(
        description="Runs jobs on the lab, one after the other, and measures them."
    )
    parser.add_argument("plain", type=int, nargs="?", default=10, help="jobs of the plain variant (10)")
    parser.add_argument("steps", type=int, nargs="?", default=5, help="jobs with 200 steps (5)")
    wanted = parser.parse_args()
    lab = current_lab()
    print(f"load average at the beginning: {os.getloadavg()}")
    with tempfile.TemporaryDirectory(prefix="fidelity-") as directory:
        for slots in (1, 20):
            print(f"{slots} slots, idle: {_memory(lab, Path(directory), slots):.1f} MB (PSS)")
        port = _free_port()
        with _started(lab, Path(directory) / "jobs", 1, port) as process:
            _measure(process, port, "plain", wanted.plain)
            _measure(process, port, "steps200", wanted.steps)
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
    requests: list[Counter[tuple[str, str]]] = []
    for _ in range(times):
        before = _requests(port)
        job_id = process.post(variant)
        wait_for(f"job {job_id}", partial(is_settled, process.lab.master, job_id), 600, 1)
        after = _requests(port)
        requests.append(after - before)
        (slave_id,) = slave_jobs(process.lab.slave, f"{process.lab.master.url}/tests/{job_id}")
        delays.append(_ended(process.lab.master, job_id) - _ended(process.lab.slave, slave_id))
        print(f"  {variant} {job_id}: {delays[-1]:.2f} s, {sum(requests[-1].values())} requests", flush=True)
    print(
        f"{variant}, {times} jobs: from the slave job's end to the master job's end {median(delays):.2f} s"
        f" (median, {min(delays):.2f} to {max(delays):.2f}); requests (median, by kind):"
    )
    for side in ("master", "slave"):
        kinds = sorted({key for found in requests for key in found if key[0] == side})
        whole = median(sum(found[key] for key in kinds) for found in requests)
        parts = ", ".join(f"{kind} {median(found[side, kind] for found in requests):g}" for _, kind in kinds)
        print(f"  {side} {whole:g}: {parts}", flush=True)


def _ended(instance: Instance, job_id: int) -> float:
    with psycopg.connect(instance.dsn) as database:
        row = database.execute(_ENDED, (str(job_id),)).fetchone()
    assert row is not None
    return float(row[0])


def _requests(port: int) -> Counter[tuple[str, str]]:
    """Requests so far, by side and kind."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found: Counter[tuple[str, str]] = Counter()
    for labels, value in re.findall(r"^pseudoworker_requests_total\{([^}]*)\} (\S+)$", text, re.MULTILINE):
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        found[named["side"], named["kind"]] += int(float(value))
    return found


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    main()
