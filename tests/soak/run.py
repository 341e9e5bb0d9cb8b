"""Many jobs through many slots, while requests fail at random and the process is killed now and then.

Every job of the master must end once and right, with one slave job and all of its results, and the process
must not grow. It is killed during the first half; the second half shows its memory and open files."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from tests.crash.spawning import Spawned, spawned
from tests.fakes.faults import Action
from tests.fakes.model import Job
from tests.fakes.pair import FakePair, until, write_config

FAULTS: Sequence[tuple[str, Action, int]] = (
    ("*", "status", 500),
    ("*", "status", 502),
    ("*", "status", 503),
    ("*", "status", 429),
    ("*", "drop", 0),
    ("*", "lost", 0),
    ("*", "half", 0),
)
"""What goes wrong at random: of which requests, how, with which status."""
OUTCOMES: Sequence[tuple[str, int, dict[str, Any]]] = (
    ("passed", 80, {}),
    ("failed", 10, {"fail": "login"}),
    ("incomplete", 5, {"result": "incomplete", "reason": "backend died: qemu crashed"}),
    ("softfailed", 5, {"modules": [{"dents": 1}, {}]}),
)
"""How jobs end, how many of a hundred do, and by which script."""
SCRIPT = {"modules": 2, "screens": 1, "texts": 1, "seconds": 0.1}
SAMPLE_EVERY = 25


@dataclass(frozen=True)
class Plan:
    """What a soak does. `rate` is the chance of each fault for each request, `pause` the seconds between two
    kills."""

    jobs: int
    slots: int
    rate: float = 0.003
    pause: float = 20.0
    seed: int = 0
    stall: float = 180.0
    """Seconds without the end of any job after which the soak has failed."""


@dataclass(frozen=True)
class Sample:
    """The process at one moment."""

    done: int
    rss: int
    """Bytes of memory."""
    files: int
    threads: int


@dataclass
class Report:
    """What came of a soak."""

    seconds: float = 0.0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    journal: int = 0
    """Bytes of the journal in the end."""
    log: int = 0
    """Bytes that were logged, without those of the level debug."""
    debug_log: int = 0
    """Bytes that were logged at the level debug."""

    def lines(self) -> list[str]:
        """For a person."""
        struck = sum(self.faults.values())
        jobs = sum(self.results.values())
        lines = [
            f"{jobs} jobs in {self.seconds:.0f} s: {dict(self.results)}",
            f"{self.kills} kills, {struck} faults, {len(self.problems)} problems",
            f"journal: {self.journal / 1024:.0f} KiB; log of each job: {self.log / jobs:.0f} bytes,"
            f" {(self.log + self.debug_log) / jobs:.0f} with --verbose",
        ]
        lines += [
            f"after {sample.done:5d} jobs: {sample.rss / 2**20:6.1f} MiB, {sample.files:4d} files,"
            f" {sample.threads:3d} threads"
            for sample in self.samples
        ]
        return lines + self.problems[:20]


class Soak:
    """One soak between two fakes."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan = plan
        self.report = Report()
        self._directory = directory
        self._chance = random.Random(plan.seed)
        self._wanted: dict[int, str] = {}
        """Results by master job."""
        keys = [(f"{self._chance.getrandbits(64):016X}",) * 2 for _ in range(2)]
        self._keys = keys
        self._pair = FakePair(
            master={"key": keys[0][0], "secret": keys[0][1]},
            slave={
                "key": keys[1][0],
                "secret": keys[1][1],
                "workers": {"qemu_x86_64": plan.slots},
            },
        )

    async def run(self) -> Report:
        """From the first job to the last."""
        began = time.monotonic()
        async with self._pair as pair:
            toml = f"\n[limits]\npoll_interval = 0.5\nqueue_allowance = {self.plan.slots}\n"
            config = write_config(
                self._directory,
                pair.master.url,
                self._keys[0],
                pair.slave.url,
                self._keys[1],
                instances=self.plan.slots,
                toml=toml,
            )
            self._post()
            for server in (pair.master, pair.slave):
                server.traffic.chance.seed(self.plan.seed)
                for kind, action, status in FAULTS:
                    server.traffic.add(
                        kind, action, times=0, rate=self.plan.rate, status=status or 503, retry_after="1"
                    )
            half = self.plan.jobs // 2
            try:
                while self._done < half:
                    async with self._process(config) as process:
                        await self._live(process, half)
                async with self._process(config) as process:
                    await self._watch(process)
            except TimeoutError as error:
                self.report.problems.append(f"nothing ends any more: {error}")
            self._judge()
        self.report.seconds = time.monotonic() - began
        for path in (self._directory / "state").glob("journal.sqlite*"):
            self.report.journal += path.stat().st_size
        with (self._directory / "pseudoworker.log").open("rb") as log:
            for line in log:
                if line.startswith(b"[debug]"):
                    self.report.debug_log += len(line)
                else:
                    self.report.log += len(line)
        return self.report

    @property
    def _done(self) -> int:
        return sum(job.state == "done" for job in self._pair.master.db.jobs.values())

    def _process(self, config: Path) -> AbstractAsyncContextManager[Spawned]:
        return spawned(config, instances=f"1-{self.plan.slots}")

    def _post(self) -> None:
        weights = [weight for _, weight, _ in OUTCOMES]
        for result, _, script in self._chance.choices(OUTCOMES, weights, k=self.plan.jobs):
            job = self._pair.master.post(TEST="soak", FAKE_SCRIPT=json.dumps(SCRIPT | script))
            self._wanted[job.id] = result

    async def _live(self, process: Spawned, enough: int) -> None:
        """Let the process work for a while, then kill it."""
        end = time.monotonic() + self._chance.uniform(0.2, 2.0) * self.plan.pause
        await until(
            lambda: time.monotonic() > end or self._done >= enough or process.over, 10 * self.plan.pause
        )
        if process.over:
            self.report.problems.append(f"the process ended by itself: {process.exit_status}")
        self.report.kills += 1

    async def _watch(self, process: Spawned) -> None:
        seen = psutil.Process(process.pid)
        while self._done < self.plan.jobs and not process.over:
            enough = min(self._done + SAMPLE_EVERY, self.plan.jobs)
            await self._progress(process, enough)
            if not process.over:
                with seen.oneshot():
                    sample = Sample(self._done, seen.memory_info().rss, seen.num_fds(), seen.num_threads())
                self.report.samples.append(sample)
        if process.over:
            self.report.problems.append(f"the process ended by itself: {process.exit_status}")

    async def _progress(self, process: Spawned, enough: int) -> None:
        """Wait until so many jobs have ended, as long as any does."""
        for wanted in range(self._done + 1, enough + 1):
            await until(partial(self._has, wanted, process), self.plan.stall, self._story)

    def _has(self, wanted: int, process: Spawned) -> bool:
        return self._done >= wanted or process.over

    def _story(self) -> str:
        left = [job for job in self._pair.master.db.jobs.values() if job.state != "done"]
        return self._pair.story(*left[:5])

    def _judge(self) -> None:
        pair, report = self._pair, self.report
        report.problems += pair.violations()
        made: Counter[str] = Counter(
            job.settings.get("FEDERATED_REPORT", "") for job in pair.slave.db.jobs.values()
        )
        for job in pair.master.db.jobs.values():
            report.results[job.result] += 1
            count = made[f"{pair.master.url}/tests/{job.id}"]
            if count != 1:
                report.problems.append(f"job {job.id} has {count} slave jobs")
            report.problems += self._problems(job)
        for server in (pair.master, pair.slave):
            report.faults += server.traffic.struck

    def _problems(self, job: Job) -> list[str]:
        wanted = self._wanted.get(job.id, "nothing: it is a clone")
        if (job.state, job.result) != ("done", wanted):
            return [f"job {job.id} is {job.state}/{job.result} ({job.reason}), not {wanted}"]
        if len(job.report.ends) != 1:
            return [f"job {job.id} was ended {len(job.report.ends)} times"]
        return [f"job {job.id}: {one}" for one in self._pair.differences(job)[:3]]


async def soak(plan: Plan, directory: Path) -> Report:
    """Run a plan, with everything it writes in `directory`."""
    return await Soak(plan, directory).run()


def run(plan: Plan, directory: Path) -> Report:
    """The same from outside of asyncio."""
    return asyncio.run(soak(plan, directory))
