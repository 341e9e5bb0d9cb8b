"""What two fakes saw of a pseudoworker between them: delays, lateness, requests; and how figures are
summed up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.fakes.exchange import Exchange
from tests.fakes.model import Document, Job
from tests.fakes.pair import FakePair
from tests.fakes.server import FakeOpenQA

STATUS_PACE: Final = 10.0
"""Seconds between two statuses of a running job (`pseudoworker.bridge.relay`, `PACE`)."""
_OPEN_ENDED: Final = ("ws", "control")
"""Requests that are answered by something that lasts, or are ours."""


@dataclass(frozen=True)
class Spread:
    """Many values of one kind; all 0 when there was none."""

    count: int
    median: float
    p95: float
    p99: float
    largest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum them up."""
        ordered = sorted(values)
        return cls(
            len(ordered),
            quantile(ordered, 0.5),
            quantile(ordered, 0.95),
            quantile(ordered, 0.99),
            ordered[-1] if ordered else 0.0,
        )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of the others do not exceed; 0 when there is none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass
class Side:
    """The requests to one side."""

    requests: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    bytes_in: int = 0
    """Bytes of bodies that came."""
    bytes_out: int = 0
    bytes_of: dict[str, int] = field(default_factory=dict)
    """Of those that came, by kind."""
    sent_of: dict[str, int] = field(default_factory=dict)
    most_at_once: int = 0
    most_in_a_second: int = 0
    """Registrations in the busiest second."""


class Meters:
    """Watches a pair of fakes; `reset` begins a window."""

    def __init__(self, pair: FakePair, beat: float) -> None:
        """`beat`: seconds between two statuses of a slot's websocket, as configured."""
        self._pair = pair
        self._beat = beat
        self._began = time.monotonic()
        self._changed: dict[tuple[int, str, str], float] = {}
        """When the slave first showed a module of a master job with a result."""
        self._posted: dict[tuple[int, str, str], float] = {}
        self._ended: tuple[dict[int, float], dict[int, float]] = ({}, {})
        """When jobs ended on the slave and on the master, by master job."""
        self._under_way: tuple[set[int], set[int]] = (set(), set())
        self._most = [0, 0]
        self._registrations: list[float] = []
        pair.slave.reports.on_status.append(self._slave_status)
        pair.master.reports.on_status.append(self._master_status)
        pair.slave.db.on_end.append(self._slave_end)
        pair.master.db.on_end.append(self._master_end)
        for number, server in enumerate((pair.master, pair.slave)):
            self._count(number, server)

    def reset(self) -> None:
        """Begin a window: what was before does not count."""
        self._began = time.monotonic()
        self._changed.clear()
        self._posted.clear()
        for side in self._ended:
            side.clear()
        for under_way in self._under_way:
            under_way.clear()
        self._most = [0, 0]
        self._registrations.clear()
        for server in (self._pair.master, self._pair.slave):
            server.traffic.reset()

    def relay_delays(self) -> dict[int, list[float]]:
        """Seconds from each change on the slave to its post on the master, by master job; a change that was
        not posted yet counts with its age."""
        now = time.monotonic()
        delays: dict[int, list[float]] = {}
        for key, when in self._changed.items():
            delays.setdefault(key[0], []).append(self._posted.get(key, now) - when)
        return delays

    def end_delays(self) -> list[float]:
        """Seconds from the end of each slave job to the end of its master job."""
        now = time.monotonic()
        slave, master = self._ended
        return [master.get(job_id, now) - when for job_id, when in slave.items()]

    def beat_lateness(self) -> list[float]:
        """Seconds by which each status on a websocket came later than it should."""
        times = (
            [when for when, message in worker.statuses if message.get("type") == "worker_status"]
            for worker in self._pair.master.db.workers.values()
        )
        return [late for one in times for late in self._lateness(one, self._beat)]

    def status_lateness(self) -> list[float]:
        """Seconds by which each status of a running job came later than it should."""
        running = (job for job in self._pair.master.db.jobs.values() if job.state == "running")
        return [late for job in running for late in self._lateness(job.report.status_times, STATUS_PACE)]

    def registrations(self) -> int:
        """How many slots registered."""
        return len(self._registrations)

    def side(self, number: int) -> Side:
        """What came to the master (0) or the slave (1)."""
        server = (self._pair.master, self._pair.slave)[number]
        traffic = server.traffic
        kinds = {
            kind: count for kind, count in traffic.counts.items() if kind not in ("control", "ws message")
        }
        return Side(
            requests=sum(kinds.values()),
            kinds=kinds,
            bytes_in=sum(size for kind, size in traffic.received.items() if kind != "control"),
            bytes_out=sum(size for kind, size in traffic.sent.items() if kind != "control"),
            bytes_of=dict(traffic.received),
            sent_of=dict(traffic.sent),
            most_at_once=self._most[number],
            most_in_a_second=0 if number else self._busiest_second(),
        )

    def _busiest_second(self) -> int:
        times = self._registrations
        return max((sum(0 <= other - one < 1.0 for other in times) for one in times), default=0)

    def _lateness(self, times: Sequence[float], pace: float) -> list[float]:
        """The last one is not there yet; it counts when it should be."""
        recent = [when for when in times if when > self._began - pace]
        ends = [*recent[1:], time.monotonic()]
        late = [max(0.0, end - begin - pace) for begin, end in zip(recent, ends, strict=False)]
        return late if not late or late[-1] > 0 else late[:-1]

    def _count(self, number: int, server: FakeOpenQA) -> None:
        async def hook(when: str, exchange: Exchange) -> None:
            if exchange.kind in _OPEN_ENDED:
                return
            under_way = self._under_way[number]
            if when == "before":
                under_way.add(id(exchange))
                self._most[number] = max(self._most[number], len(under_way))
                if exchange.kind == "register" and number == 0:  # the slave is only asked for our rights
                    self._registrations.append(time.monotonic())
            else:
                under_way.discard(id(exchange))

        server.hooks.append(hook)

    def _slave_status(self, job: Job, status: Document) -> None:
        if (master_id := master_job(job)) is not None:
            _note(self._changed, master_id, status)

    def _master_status(self, job: Job, status: Document) -> None:
        _note(self._posted, job.id, status)

    def _slave_end(self, job: Job) -> None:
        if (master_id := master_job(job)) is not None:
            self._ended[0].setdefault(master_id, time.monotonic())

    def _master_end(self, job: Job) -> None:
        self._ended[1].setdefault(job.id, time.monotonic())


def master_job(slave_job: Job) -> int | None:
    """The master's job that a slave job runs."""
    tail = slave_job.settings.get("FEDERATED_REPORT", "").rpartition("/")[2]
    return int(tail) if tail.isdecimal() else None


def _note(seen: dict[tuple[int, str, str], float], job_id: int, status: Document) -> None:
    now = time.monotonic()
    for name, result in (status.get("result") or {}).items():
        seen.setdefault((job_id, name, str(result.get("result"))), now)
