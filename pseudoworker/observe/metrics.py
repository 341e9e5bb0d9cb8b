"""What pseudoworker measures about itself. Writing costs a dictionary and a lock; any thread may do it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pseudoworker.observe import render
from pseudoworker.observe.registry import Family
from pseudoworker.observe.snapshot import ProcessSnapshot

_REQUEST_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_RELAY_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0, 300.0)
_JOB_SECONDS = (10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0)


class Metrics:
    """All measures of one process. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._families: list[Family] = []
        self._beats: dict[int, float] = {}
        self._beats_lock = threading.Lock()
        self._requests = self._counter(
            "requests", "Requests made, by their outcome.", "side", "kind", "outcome"
        )
        self._seconds = self._histogram(
            "request_seconds", "Seconds a request took.", _REQUEST_SECONDS, "side", "kind"
        )
        self._sent = self._counter("sent_bytes", "Bytes of request bodies sent.", "side", "kind")
        self._received = self._counter("received_bytes", "Bytes of answer bodies received.", "side", "kind")
        self._retries = self._counter("retries", "Calls made again, by what failed.", "side", "call", "cause")
        self._latency = self._histogram(
            "relay_seconds",
            "Seconds from a change seen on the slave to its post on the master.",
            _RELAY_SECONDS,
        )
        self._jobs = self._counter("jobs", "Master jobs ended, by the result given to the master.", "result")
        self._job_seconds = self._histogram(
            "job_seconds", "Seconds from accepting a master job to its end.", _JOB_SECONDS
        )
        self._relayed = self._counter("relayed_bytes", "Bytes of results and assets passed on.", "what")
        self._slots = self._gauge("slots", "Slots by state.", "state")
        self._age = self._gauge("heartbeat_age_seconds", "Age of the oldest heartbeat among all slots.")
        self._queue = self._gauge(
            "slave_queue_length", "Own jobs that the slave has scheduled but not begun."
        )
        self._skew = self._gauge("clock_skew_seconds", "Clock of the other side minus our own.", "side")
        self._started = self._gauge("start_time_seconds", "When the process started, since the epoch.")

    def side(self, side: str) -> SideObserver:
        """The observer for the client of one side: `master` or `slave`."""
        return SideObserver(self, side)

    def request(
        self, side: str, kind: str, seconds: float, sent: int, received: int, error: str | None
    ) -> None:
        """Count one request: kind of call, time, bytes each way, and the name of what went wrong or None."""
        self._requests.add(1, side, kind, error or "ok")
        self._seconds.observe(seconds, side, kind)
        self._sent.add(sent, side, kind)
        self._received.add(received, side, kind)

    def retry(self, side: str, call: str, cause: str) -> None:
        """Count one repetition of a call, by the name of its policy and of the error that caused it."""
        self._retries.add(1, side, call, cause)

    def relay_latency(self, seconds: float) -> None:
        """Note how long a change on the slave took to reach the master."""
        self._latency.observe(seconds)

    def job_ended(self, result: str, seconds: float) -> None:
        """Count one master job by the result that was reported, and note its time from accepted to done."""
        self._jobs.add(1, result or "computed")
        self._job_seconds.observe(seconds)

    def relayed(self, what: str, size: int) -> None:
        """Count bytes passed on: `what` is `image`, `file`, `asset`, `live` or the like."""
        self._relayed.add(size, what)

    def beat(self, instance: int) -> None:
        """Note that a slot has just told the master its status."""
        with self._beats_lock:
            self._beats[instance] = self._clock()

    def forget_beat(self, instance: int) -> None:
        """A slot is gone or offline on purpose: its heartbeat no longer counts."""
        with self._beats_lock:
            self._beats.pop(instance, None)

    def heartbeat_age(self) -> float:
        """Seconds since the heartbeat of the slot that was silent longest; 0 when no slot has one."""
        with self._beats_lock:
            oldest = min(self._beats.values(), default=None)
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    def slave_queue(self, length: int) -> None:
        """Set how many of our jobs the slave has scheduled and not begun."""
        self._queue.set(length)

    def clock_skew(self, side: str, seconds: float) -> None:
        """Set the measured difference of the other side's clock."""
        self._skew.set(seconds, side)

    def totals(self) -> dict[str, float]:
        """Counts since the start for a ProcessSnapshot: jobs by result, bytes relayed, requests, retries."""
        jobs = {f"jobs_{its.labels[0][1]}": its.value for its in self._jobs.samples()}
        sums = {
            name: sum(its.value for its in family.samples())
            for name, family in (
                ("bytes_relayed", self._relayed),
                ("requests", self._requests),
                ("retries", self._retries),
            )
        }
        return jobs | sums

    def render_prometheus(self, snapshot: ProcessSnapshot | None = None) -> str:
        """Prometheus' text format; with a snapshot also what only that knows (slots by state, start time)."""
        self._take(snapshot)
        return render.prometheus(self._families)

    def render_influxdb(
        self, snapshot: ProcessSnapshot | None = None, tags: Mapping[str, str] | None = None
    ) -> str:
        """InfluxDB's line protocol for telegraf, `tags` on every line."""
        self._take(snapshot)
        return render.influxdb(self._families, tags or {})

    def _take(self, snapshot: ProcessSnapshot | None) -> None:
        self._age.set(self.heartbeat_age())
        if snapshot is not None:
            self._started.set(snapshot.started)
            self._slots.replace(((state,), count) for state, count in snapshot.slots_by_state().items())

    def _counter(self, name: str, meaning: str, *labels: str) -> Family:
        return self._family("counter", name, meaning, labels)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Family:
        return self._family("gauge", name, meaning, labels)

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Family:
        return self._family("histogram", name, meaning, labels, bounds)

    def _family(
        self, kind: str, name: str, meaning: str, labels: tuple[str, ...], bounds: tuple[float, ...] = ()
    ) -> Family:
        family = Family(kind, f"pseudoworker_{name}", meaning, labels, bounds)
        self._families.append(family)
        return family


@dataclass(frozen=True)
class SideObserver:
    """Counts the requests of one side's client; has the shape that openqa.client's Observer asks for."""

    metrics: Metrics
    side: str

    def request(
        self, method: str, kind: str, seconds: float, sent: int, received: int, error: str | None
    ) -> None:
        """One finished request; `error` is the name of the failure or None."""
        del method  # the kind of call says more, and fewer labels are fewer series
        self.metrics.request(self.side, kind, seconds, sent, received, error)
