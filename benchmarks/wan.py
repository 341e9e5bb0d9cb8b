"""Between two sites: 50 ms each way, 20 Mbit/s each way. First a stock worker of the master at the far site,
as people do it today; then pseudoworker there, at the slave's site."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path

from benchmarks.lab import Line, Ran, line, run_job, stock_worker
from benchmarks.table import Part
from examples.lab.layout import current_lab
from tests.real.live_bridge import bridge

LATENCY = 0.05
BANDWIDTH = 2_500_000.0
TAIL = 4.0
CONNECTIONS = 19


async def wan(directory: Path) -> Part:
    """Measure one job with 300 screenshots and 100 texts in each way."""
    part = Part(
        "over a WAN",
        "A job with 300 screenshots and 100 texts over a line of 50 ms and 20 Mbit/s each way between the"
        " worker (or pseudoworker, at the slave's site) and the master. Bytes and connections are those of"
        " the whole life of the process, one job, as the proxy counts them; the websocket goes beside"
        " the proxy in both cases, since the web UI redirects it to its own port. No two runs show the same"
        " screens or make a video of the same size, so what was sent stands beside the sizes of the files"
        " that the job left and the master did not have before.",
    )
    stock, stock_line = await asyncio.to_thread(_stock, directory / "stock")
    ours, our_line = await asyncio.to_thread(_ours, directory / "ours")
    part.add("stock worker: end of the test to end of the job", stock.tail, "s")
    part.add("pseudoworker: end of the slave job to end of the master job", ours.tail, "s", TAIL)
    part.add("stock worker: whole job", stock.whole, "s")
    part.add("pseudoworker: whole job", ours.whole, "s")
    part.add("stock worker: connections", stock_line.connections)
    part.add("pseudoworker: connections", our_line.connections, "", CONNECTIONS)
    part.add("stock worker: bytes to the master", stock_line.up / 1e6, "MB")
    part.add("pseudoworker: bytes to the master", our_line.up / 1e6, "MB")
    per_byte = stock_line.up / stock.new_bytes
    part.add("stock worker: bytes to the master for each of the job's files", per_byte)
    part.add(
        "pseudoworker: bytes to the master for each of the job's files",
        our_line.up / ours.new_bytes,
        "",
        per_byte,
    )
    part.add("stock worker: bytes from the master", stock_line.down / 1e6, "MB")
    part.add("pseudoworker: bytes from the master", our_line.down / 1e6, "MB")
    part.load = os.getloadavg()[0]
    return part


def _stock(directory: Path) -> tuple[Ran, Line]:
    lab, worker_class = current_lab(), f"wan-{secrets.token_hex(4)}"
    directory.mkdir()
    with (
        line(lab.master.base_port, latency=LATENCY, bandwidth=BANDWIDTH) as shaped,
        stock_worker(lab, f"http://127.0.0.1:{shaped.port}", worker_class, directory),
    ):
        ran = run_job(lab, "steps", worker_class)
    return ran, shaped


def _ours(directory: Path) -> tuple[Ran, Line]:
    lab, location = current_lab(), f"wan-{secrets.token_hex(4)}"
    directory.mkdir()
    with line(lab.master.base_port, latency=LATENCY, bandwidth=BANDWIDTH) as shaped:
        far = lab.changed("master", base_port=shaped.port)
        with bridge(far, directory, location=location):
            ran = run_job(lab, "steps", f":{location}:qemu_x86_64", through=far.master.url)
    return ran, shaped
