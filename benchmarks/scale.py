"""Many slots of one process, each with a running job, against fakes in a process of their own; then the end
of many jobs in the same second."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.process import Subject, Usage, subject
from benchmarks.table import Part
from benchmarks.world import World, world

POLL_INTERVAL = 2.0
"""The default of `poll_interval`."""
MEMORY_MB = 250.0
CORES = 0.5
BEAT_LATENESS = 2.0
RELAY_MARGIN = 1.0
"""Goals of 500 slots; fewer must not need more."""


@dataclass(frozen=True)
class Pace:
    """How busy the jobs are."""

    seconds: float = 300.0
    """The window."""
    module: float = 60.0
    """Seconds of a test module."""
    screens: int = 5
    image_size: int = 10_000
    beat: float = 60.0
    """Seconds between two statuses of a websocket: the shortest that openQA takes, and no jitter, so that
    lateness can be told."""
    ends: int = 100
    """Jobs that end at once."""


async def scale(slots: int, directory: Path, pace: Pace = Pace()) -> Part:
    """Measure one number of slots."""
    part = Part(
        f"{slots} slots",
        f"{slots} slots, each with a job, for {pace.seconds:.0f} s: a module each {pace.module:.0f} s with"
        f" {pace.screens} new screenshots of {pace.image_size / 1000:.0f} kB, a status each 10 s, one on the"
        f" websocket each {pace.beat:.0f} s.",
    )
    async with world(slots, pace.beat) as fakes:
        workers = f"[global]\nSTATUS_MIN_INTERVAL = {pace.beat:g}\nSTATUS_MAX_INTERVAL = {pace.beat:g}\n"
        await fakes.ask("configure", directory=str(directory), toml="", workers=workers)
        async with subject(directory, slots) as process:
            await until(fakes, lambda state: state["free"] == slots, 60 + slots / 5)
            await fakes.ask("post", scripts=[_script(number, slots, pace) for number in range(slots)])
            await until(fakes, lambda state: state.get("running", 0) == slots, 60 + slots / 2)
            await asyncio.sleep(pace.module)
            await fakes.ask("reset")
            async with process.measured() as usage:
                await asyncio.sleep(pace.seconds)
            report = await fakes.ask("report")
            _steady(part, slots, usage, report)
            await _ends(part, fakes, process, min(pace.ends, slots))
        part.problems += await fakes.ask("violations")
    part.load = os.getloadavg()[0]
    return part


def _steady(part: Part, slots: int, usage: Usage, report: dict[str, Any]) -> None:
    hours = slots * usage.seconds / 3600
    cores = usage.cpu / usage.seconds
    late = POLL_INTERVAL + RELAY_MARGIN
    part.add("memory (PSS)", usage.pss, "MB", MEMORY_MB)
    part.add("processor", cores, "cores", CORES)
    part.add("processor time of a job-hour", usage.cpu / hours, "s")
    part.add("threads", usage.threads)
    part.add("open files", usage.files)
    part.add("requests to the master", report["master"]["requests"] / usage.seconds, "1/s")
    part.add("requests to the slave", report["slave"]["requests"] / usage.seconds, "1/s")
    for name, key, goal in (
        ("heartbeat lateness, websocket", "beat", BEAT_LATENESS),
        ("heartbeat lateness, status of the job", "status", BEAT_LATENESS),
    ):
        _spread(part, name, report[key], p99=goal)
    _spread(part, "relay delay", report["relay"], p95=late)
    part.add("changes that were relayed", report["relay"]["count"])
    part.add("relay delay, mean of the median slot", report["slots"]["median"], "s")
    part.add("relay delay, mean of the slowest slot", report["slots"]["slowest"], "s")
    if not report["relay"]["count"]:
        part.problems.append("nothing was relayed")


async def _ends(part: Part, fakes: World, process: Subject, count: int) -> None:
    """Let jobs end at once, in the middle of their modules."""
    await fakes.ask("reset")
    async with process.measured() as usage:
        opened = await fakes.ask("end", count=count)
        await until(fakes, lambda state: state.get("done", 0) >= opened, 120)
    report = await fakes.ask("report")
    if opened < count or report["end"]["count"] < count:
        part.problems.append(f"{opened} jobs were let go and {report['end']['count']} ended, not {count}")
    name = f"{count} ends in the same second"
    _spread(part, f"{name}, slave's end to master's", report["end"])
    part.add(f"{name}, processor time of each", usage.cpu / max(count, 1), "s")
    part.add(f"{name}, heartbeat lateness of a status, largest", report["status"]["largest"], "s")


def _spread(
    part: Part, name: str, spread: dict[str, float], *, p95: float | None = None, p99: float | None = None
) -> None:
    part.add(f"{name}, median", spread["median"], "s")
    part.add(f"{name}, p95", spread["p95"], "s", p95)
    part.add(f"{name}, p99", spread["p99"], "s", p99)
    part.add(f"{name}, largest", spread["largest"], "s")


def _script(number: int, slots: int, pace: Pace) -> dict[str, Any]:
    """A job whose modules end at another moment than those of the others; it has more than there is time
    for."""
    return {
        "modules": math.ceil((pace.seconds + 3 * pace.module + slots) / pace.module) + 1,
        "screens": pace.screens,
        "image_size": pace.image_size,
        "seconds": pace.module,
        "setup": 0.1 + pace.module * (number * 0.618034 % 1.0),
    }


async def until(fakes: World, condition: Callable[[dict[str, int]], bool], limit: float) -> float:
    """Wait for a state of the fakes; the seconds that it took. Raises `TimeoutError` with the state."""
    began = time.monotonic()
    while True:
        state = await fakes.ask("state")
        waited = time.monotonic() - began
        if condition(state):
            return waited
        if waited > limit:
            raise TimeoutError(f"not within {limit:.0f} s: {state}")
        await asyncio.sleep(0.25)
