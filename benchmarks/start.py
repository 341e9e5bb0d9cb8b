"""The start of many slots, and their return after an outage of the master: how long it takes, and how much
is asked of the master meanwhile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.process import subject
from benchmarks.scale import until
from benchmarks.table import Part
from benchmarks.world import world

REQUEST = 0.05
"""Seconds that the fakes take for each request: about what a web UI needs for a registration."""
LIMIT = 30.0
IN_FLIGHT = 8
START_RATE = 25
"""The defaults of `requests_in_flight` and `start_rate`."""
_SPARE = 1.5
"""Turns are jittered by half of their distance, so that a second may hold some more."""


async def start(slots: int, directory: Path, *, outage: float = 60.0) -> Part:
    """Measure the start of so many slots, then their return after an outage of so many seconds."""
    part = Part(
        f"start of {slots} slots",
        f"From the start of the process until all {slots} slots are registered, connected and free; each"
        f" request takes the other side {REQUEST * 1000:.0f} ms. Then the master is away for"
        f" {outage:.0f} s with all connections cut, and the time counts from when it is back.",
    )
    async with world(slots, 60.0) as fakes:
        await fakes.ask("slow", seconds=REQUEST)
        await fakes.ask("configure", directory=str(directory), toml="", workers="")
        async with subject(directory, slots) as process, process.measured() as usage:
            await fakes.ask("reset")
            taken = await until(fakes, lambda state: state["free"] == slots, 4 * LIMIT)
            _tell(part, "start", taken, await fakes.ask("report"))
            await fakes.ask("outage", seconds=outage)
            taken = await until(fakes, lambda state: state["free"] == slots, 4 * LIMIT)
            _tell(part, "return after an outage", taken, await fakes.ask("report"))
        part.add("threads", usage.threads)
        part.problems += await fakes.ask("violations")
    part.load = os.getloadavg()[0]
    return part


def _tell(part: Part, name: str, taken: float, report: dict[str, Any]) -> None:
    master = report["master"]
    part.add(f"{name}: all free after", taken, "s", LIMIT)
    part.add(f"{name}: requests to the master at a time, most", master["most_at_once"], "", IN_FLIGHT)
    part.add(
        f"{name}: registrations in a second, most", master["most_in_a_second"], "1/s", START_RATE * _SPARE
    )
    part.add(f"{name}: registrations", report["registrations"])
    part.add(f"{name}: requests to the master", master["requests"])
