"""Kills the real process at one point of a job's life after the other, and looks at what a second run makes
of it."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.crash.spawning import Spawned, spawned
from tests.fakes.exchange import Exchange
from tests.fakes.flavour import BW, Flavour
from tests.fakes.model import Job
from tests.fakes.pair import FakePair, until, write_config

LIMIT = 60.0
"""Seconds (more on a busy machine) for which nothing may move before a life counts as stuck."""
IDLE = frozenset({"jobs", "job", "workers", "status", "ws message", "ws", "register"})
"""Requests that a job which goes nowhere makes, too."""
MOST_TRIES = 3


@dataclass(frozen=True)
class Scenario:
    """Some jobs of the master and what becomes of them."""

    post: Callable[[FakePair], Sequence[Job]]
    results: Sequence[str]
    """How the jobs are to end."""
    steer: Callable[[FakePair, Sequence[Job]], Coroutine[None, None, None]] | None = None
    """What happens to them meanwhile, whatever the process does."""
    instances: int = 1
    script: str = "{}"
    flavour: Flavour = BW
    since: str = ""
    until: str = ""
    """The first and the last point of interest, by how they begin; life goes on to its end all the same."""
    compared: bool = True
    """Whether the slave's results are to be on the master in full."""
    runs: int = 1
    """How often the slave runs each job: its modules are reported as often at most."""
    left: Sequence[str] = ()
    """Files that each job leaves on the master in any case."""


@dataclass
class Life:
    """One execution of a scenario, over several processes."""

    pair: FakePair
    jobs: Sequence[Job] = ()
    reports: Counter[str] = field(default_factory=Counter)
    """How often each finished module was reported."""

    async def note(self, when: str, exchange: Exchange) -> None:
        """Of the master's hooks: remember which modules a status reports, if the master takes it."""
        if when != "after" or exchange.kind != "status":
            return
        master = self.pair.master
        job = master.db.jobs[int(exchange.path["job"])]
        if job.state == "cancelled" and not master.flavour.cancelled_status:
            return  # it says that it dropped the status
        results = (exchange.json().get("status") or {}).get("result") or {}
        for module, result in results.items():
            if result.get("result") not in ("running", "na"):
                self.reports[f"{exchange.path['job']} {module}"] += 1

    @property
    def over(self) -> bool:
        """Whether all jobs have ended and their slots are free again."""
        return all(job.state == "done" for job in self.jobs) and all(
            worker.channel is not None and worker.statuses and worker.statuses[-1][1].get("status") == "free"
            for worker in self.pair.master.db.workers.values()
        )


@dataclass(frozen=True)
class Outcome:
    """What came of one life."""

    point: str
    killed: bool
    """Whether the process came to the point at all."""
    passed: Sequence[str]
    """All points of its first process."""
    problems: Sequence[str]

    def __str__(self) -> str:
        how = "; ".join(self.problems) or ("well" if self.killed else "not reached")
        return f"{self.point}: {how}"


async def live(scenario: Scenario, directory: Path, point: str = "") -> Outcome:
    """Run a scenario with a process that dies at `point`, and a second one that goes on, and judge."""
    trace = directory / "trace"
    # Keys of its own, so that nobody who had one of the ports before can be taken for our process.
    keys = [(secrets.token_hex(8).upper(), secrets.token_hex(8).upper()) for _ in range(2)]
    async with FakePair(
        flavour=scenario.flavour,
        master={"worker_timeout": 600.0, "key": keys[0][0], "secret": keys[0][1]},
        slave={
            "script": scenario.script,
            "workers": {"qemu_x86_64": scenario.instances},
            "key": keys[1][0],
            "secret": keys[1][1],
        },
    ) as pair:
        config = write_config(
            directory,
            pair.master.url,
            keys[0],
            pair.slave.url,
            keys[1],
            instances=scenario.instances,
            toml="\n[limits]\npoll_interval = 0.2\n",
        )
        life = Life(pair)
        pair.master.hooks.append(life.note)
        life.jobs = scenario.post(pair)
        steering = asyncio.create_task(scenario.steer(pair, life.jobs)) if scenario.steer else None
        sites = {pair.master.authority: "master", pair.slave.authority: "slave"}
        sites |= {f"localhost:{pair.master.port}": "master"}
        instances = f"1-{scenario.instances}"
        problems: list[str] = []
        killed = False
        try:
            async with spawned(config, instances=instances, trace=trace, at=point, sites=sites) as process:
                await _over(life, process)
                killed = process.over
                if killed and process.exit_status != -9:
                    problems.append(f"exit status {process.exit_status}")
            if killed:
                async with spawned(
                    config, instances=instances, trace=directory / "trace2", sites=sites
                ) as process:
                    await _over(life, process)
                    if process.over:
                        problems.append(f"the second process ended: {process.exit_status}")
            if steering is not None:
                await steering
        except TimeoutError as error:
            problems.append(f"waits for ever: {error}")
        finally:
            if steering is not None:
                steering.cancel()
        problems += judge(scenario, life)
    passed = trace.read_text().splitlines() if trace.exists() else []
    return Outcome(point, killed, passed, problems)


async def _over(life: Life, process: Spawned) -> None:
    """Wait for the end, as long as there is progress."""

    def moves() -> int:
        counts = (server.traffic.counts for server in (life.pair.master, life.pair.slave))
        return sum(count for each in counts for kind, count in each.items() if kind not in IDLE)

    def moved(before: int) -> bool:
        return life.over or process.over or moves() > before

    while not (life.over or process.over):
        await until(partial(moved, moves()), LIMIT, lambda: life.pair.story(*life.jobs))


def judge(scenario: Scenario, life: Life) -> list[str]:
    """Every promise that was broken."""
    pair, problems = life.pair, life.pair.violations()
    for job, result in zip(life.jobs, scenario.results, strict=True):
        if (job.state, job.result) != ("done", result):
            problems.append(f"job {job.id} is {job.state}/{job.result} ({job.reason}), not {result}")
        if len(job.report.ends) != 1:
            problems.append(f"job {job.id} was ended {len(job.report.ends)} times")
        if job.clone_id is not None:
            problems.append(f"job {job.id} was cloned")
        report = f"{pair.master.url}/tests/{job.id}"
        made = [
            one
            for one in pair.slave.db.jobs.values()
            if one.settings.get("FEDERATED_REPORT") == report and one.origin_id is None
        ]
        if len(made) != 1:
            problems.append(f"job {job.id} has {len(made)} slave jobs")
        elif scenario.compared:
            problems += [f"job {job.id}: {one}" for one in pair.differences(job)]
        problems += [f"job {job.id} left no {name}" for name in scenario.left if name not in job.files]
    if len(pair.master.db.workers) != scenario.instances:
        problems.append(f"{len(pair.master.db.workers)} workers were registered")
    for module, count in life.reports.items():
        if count > scenario.runs:
            problems.append(f"module {module} was reported {count} times")
    return problems


def wanted(scenario: Scenario, passed: Sequence[str]) -> list[str]:
    """The points of interest among those that a whole life passed."""
    first = next((at for at, name in enumerate(passed) if name.startswith(scenario.since)), 0)
    last = max(at for at, name in enumerate(passed) if name.startswith(scenario.until))
    return list(passed[first : last + 1])


def sample(points: Sequence[str], each: int) -> list[str]:
    """At most `each` (2 or more) of the points of one kind, the first and the last among them."""
    by_kind: dict[str, list[str]] = {}
    for point in points:
        by_kind.setdefault(kind_of(point), []).append(point)
    chosen = {
        same[round(at * (len(same) - 1) / (each - 1))] for same in by_kind.values() for at in range(each)
    }
    return [point for point in points if point in chosen]


def nearest(point: str, passed: Sequence[str]) -> str:
    """The last time that a life which did not come to this point passed one of its kind; itself if none."""
    kind = kind_of(point)
    return next((name for name in reversed(passed) if kind_of(name) == kind), point)


def kind_of(point: str) -> str:
    """What happens at a point, without how often it did."""
    return point.rpartition(" #")[0]


async def enumerate_points(
    scenario: Scenario,
    directory: Path,
    *,
    parallel: int,
    each: int,
    say: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Run the scenario once unharmed, then once for each point that it passed (`each` of a kind at most),
    killed there.

    How often a process polls is a matter of time: a point that one life did not come to is replaced by the
    last one of its kind that this life did come to.
    """
    whole = await live(scenario, directory / "whole")
    assert whole.problems == [], whole.problems
    permits = asyncio.Semaphore(parallel)

    async def one(number: int, point: str) -> Outcome:
        async with permits:
            outcome = await live(scenario, directory / f"{number:04d}", point)
            for again in range(MOST_TRIES):
                if outcome.killed or outcome.problems:
                    break
                point = nearest(point, outcome.passed)
                outcome = await live(scenario, directory / f"{number:04d}-{again}", point)
        if outcome.problems:
            say(str(outcome))
        return outcome

    points = sample(wanted(scenario, whole.passed), each)
    return list(await asyncio.gather(*(one(number, point) for number, point in enumerate(points))))
