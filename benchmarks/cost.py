"""What federation costs: the same job run by a stock worker of the master and through pseudoworker, one after
the other, pair by pair; and the memory of a stock worker beside ours."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.lab import Ran, memory, run_job, stock_worker
from benchmarks.table import Part
from examples.lab.layout import Lab, current_lab
from tests.real.live_bridge import bridge, wait_for

VARIANTS = {"plain": 2.0, "steps": 5.0}
"""Variants of the lab's test, and the seconds that federation may add to them."""


async def cost(directory: Path, *, pairs: int = 7) -> Part:
    """Measure so many pairs of each variant."""
    return await asyncio.to_thread(_cost, directory, pairs)


def _cost(directory: Path, pairs: int) -> Part:
    part = Part(
        "cost of federation",
        f"{pairs} pairs of each variant on two real instances of the same machine. The two jobs of a pair run"
        " one after the other, so that none takes processor time from the other: one by a stock worker on the"
        " master, one through pseudoworker, and the other way round in every second pair. `steps` has 300"
        " screenshots and 100 texts. What federation adds is the difference between the two whole times"
        " without the time for which the slave's own scheduler let the job wait; beside the test, also"
        " without the difference between the two times that the test itself took, which is the machine's.",
    )
    lab, location = current_lab(), f"cost-{secrets.token_hex(4)}"
    directory.joinpath("ours").mkdir()
    directory.joinpath("stock").mkdir()
    with (
        bridge(lab, directory / "ours", location=location) as ours,
        stock_worker(lab, lab.master.url, location, directory / "stock") as stock,
    ):
        idle = memory(stock.pid)
        part.add("memory of a stock worker, idle (PSS)", idle, "MB")
        part.add("memory of pseudoworker with one slot, idle (PSS)", memory(ours.process.pid), "MB")
        for variant, goal in VARIANTS.items():
            ran = [_pair(lab, variant, location, swapped=number % 2 == 1) for number in range(pairs)]
            _tell(part, variant, goal, ran)
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(run) for run in _jobs(lab, "short", location)]
            most = [0.0, 0.0]

            def look() -> bool:
                for number, pid in enumerate((stock.pid, ours.process.pid)):
                    most[number] = max(most[number], memory(pid))
                return all(job.done() for job in jobs)

            wait_for("the short jobs", look, 900, 0.5)
            for job in jobs:
                job.result()
        part.add("memory of a stock worker with a job, without the test (PSS)", most[0], "MB")
        part.add("memory of pseudoworker with one slot and a job (PSS)", most[1], "MB")
    part.load = os.getloadavg()[0]
    return part


def _jobs(lab: Lab, variant: str, location: str) -> tuple[Callable[[], Ran], Callable[[], Ran]]:
    """The same job, to be run by the stock worker and through pseudoworker."""
    run = partial(run_job, lab, variant)
    return partial(run, location), partial(run, f":{location}:qemu_x86_64", through=lab.master.url)


def _pair(lab: Lab, variant: str, location: str, *, swapped: bool) -> tuple[Ran, Ran]:
    """How the job of the stock worker went, and the federated one, which comes first when `swapped`."""
    run_native, run_federated = _jobs(lab, variant, location)
    if swapped:
        federated, native = run_federated(), run_native()
    else:
        native, federated = run_native(), run_federated()
    print(f"  {variant}: {(native, federated)}", flush=True)
    return native, federated


def _tell(part: Part, variant: str, goal: float, ran: Sequence[tuple[Ran, Ran]]) -> None:
    added = [federated.whole - native.whole - federated.queued for native, federated in ran]
    beside = [
        more - (federated.test - native.test) for more, (native, federated) in zip(added, ran, strict=True)
    ]
    part.add(f"{variant}: whole time of a stock worker, median", median(one.whole for one, _ in ran), "s")
    part.add(f"{variant}: whole time through pseudoworker, median", median(one.whole for _, one in ran), "s")
    part.add(
        f"{variant}: waiting for the slave's scheduler, median", median(one.queued for _, one in ran), "s"
    )
    part.add(f"{variant}: the test alone, stock worker, median", median(one.test for one, _ in ran), "s")
    part.add(f"{variant}: the test alone, on the slave, median", median(one.test for _, one in ran), "s")
    part.add(f"{variant}: added to the whole, median of the pairs", median(added), "s")
    part.add(f"{variant}: added beside the test, median of the pairs", median(beside), "s", goal)
    part.add(f"{variant}: added beside the test, least", min(beside), "s")
    part.add(f"{variant}: added beside the test, most", max(beside), "s")
    part.add(
        f"{variant}: end of the test to end of the job, stock worker", median(one.tail for one, _ in ran), "s"
    )
    part.add(
        f"{variant}: end of the slave job to end of the master job", median(one.tail for _, one in ran), "s"
    )
