"""Both fakes in a process of their own, with meters, driven by lines of JSON.

`python -m benchmarks.world` reads one command a line (`{"do": "post", …}`) and answers each with one line.
The parent talks to it through `World`; the methods of `Stage` are the commands."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.meters import Meters, Spread
from tests.fakes.pair import FakePair

_ROOT = Path(__file__).parents[1]
_LINE = 1 << 24


class World:
    """The process, from outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Of the process with the fakes."""
        return self._process.pid

    async def ask(self, command: str, **values: Any) -> Any:
        """One command; raises `RuntimeError` when the process is gone."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"do": command, **values}).encode() + b"\n")
        await stdin.drain()
        line = await stdout.readline()
        if not line:
            raise RuntimeError(f"the process with the fakes ended at {command}")
        return json.loads(line)


@asynccontextmanager
async def world(slots: int, beat: float, *, keep: bool = False) -> AsyncIterator[World]:
    """Start it with so many workers on the slave; it ends with the block.

    `keep`: the master keeps contents."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.world",
        str(slots),
        str(beat),
        str(int(keep)),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE,
    )
    try:
        yield World(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


class Stage:
    """The commands."""

    def __init__(self, pair: FakePair, slots: int, beat: float) -> None:
        self._pair = pair
        self._slots = slots
        self._meters = Meters(pair, beat)

    def configure(self, directory: str, toml: str, workers: str) -> None:
        """Write a configuration for as many slots as there are workers."""
        self._pair.write_config(Path(directory), instances=self._slots, toml=toml, workers=workers)

    def post(self, scripts: list[dict[str, Any]]) -> list[int]:
        """Create one job on the master for each script."""
        return [
            self._pair.master.post(TEST=f"scale{number % 10}", FAKE_SCRIPT=json.dumps(script)).id
            for number, script in enumerate(scripts)
        ]

    def state(self) -> dict[str, int]:
        """How many slots are free, how many jobs are in which state."""
        master = self._pair.master.db
        workers = list(master.workers.values())
        states = {"free": 0, "connected": 0}
        states["connected"] = sum(worker.channel is not None for worker in workers)
        states["free"] = sum(
            worker.channel is not None
            and worker.error is None
            and bool(worker.statuses)
            and worker.statuses[-1][1].get("status") == "free"
            for worker in workers
        )
        for job in master.jobs.values():
            states[job.state] = states.get(job.state, 0) + 1
        return states

    def reset(self) -> None:
        """Begin a window."""
        self._meters.reset()

    def end(self, count: int) -> int:
        """Let `count` of the slave's jobs end now, all at once; how many there were."""
        runs = [crew.run for crew in self._pair.slave.crew if crew.run is not None][:count]
        for run in runs:
            run.hurry()
        return len(runs)

    def slow(self, seconds: float) -> None:
        """Every request takes so long, as at a real web UI, so that those at a time can be counted."""
        for server in (self._pair.master, self._pair.slave):
            server.traffic.add("*", "delay", times=0, seconds=seconds)

    async def outage(self, seconds: float) -> None:
        """The master is down for so long, with all its connections cut; then a window begins."""
        await self._pair.master.deafen()
        await asyncio.sleep(seconds)
        self._meters.reset()
        await self._pair.master.listen()

    def report(self) -> dict[str, Any]:
        """What was seen since the window began."""
        meters = self._meters
        delays = meters.relay_delays()
        slots = sorted(fmean(values) for values in delays.values())
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "relay": asdict(Spread.of(value for values in delays.values() for value in values)),
            "slots": {"median": median(slots) if slots else 0.0, "slowest": slots[-1] if slots else 0.0},
            "beat": asdict(Spread.of(meters.beat_lateness())),
            "status": asdict(Spread.of(meters.status_lateness())),
            "end": asdict(Spread.of(meters.end_delays())),
            "master": asdict(meters.side(0)),
            "slave": asdict(meters.side(1)),
            "registrations": meters.registrations(),
            "cpu": usage.ru_utime + usage.ru_stime,
        }

    def unique(self) -> dict[str, Any]:
        """Bytes of everything different that the slave's jobs left, and what each job's differences are."""
        master, slave = self._pair.master, self._pair.slave
        jobs = list(master.db.jobs.values())
        kept = [slave.job_for(job.id) for job in jobs]
        images = {md5 for job in kept for md5 in job.screenshots.values()}
        texts = sum(len(content) for job in kept for content in [*job.files.values(), *job.ulogs.values()])
        return {
            "images": sum(len(slave.db.images[md5]) for md5 in images),
            "thumbs": sum(len(slave.db.thumbs[md5]) for md5 in images),
            "texts": texts,
            "problems": [
                *self._pair.violations(),
                *(one for job in jobs for one in self._pair.differences(job)),
            ],
        }

    def violations(self) -> list[str]:
        """What must never happen, and did."""
        return self._pair.violations()


async def _serve(slots: int, beat: float, keep: bool) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with FakePair(slave={"workers": {"qemu_x86_64": slots}}, master={"keep_content": keep}) as pair:
        stage = Stage(pair, slots, beat)
        while line := await reader.readline():
            command = json.loads(line)
            answer = getattr(stage, command.pop("do"))(**command)
            if asyncio.iscoroutine(answer):
                answer = await answer
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "1"))
