"""What an openQA instance knows, as plain mutable records: jobs, modules, workers, assets."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

Document = dict[str, Any]

FINAL: Final = frozenset({"done", "cancelled"})
EXECUTION: Final = frozenset({"assigned", "setup", "running", "uploading"})
PRISTINE: Final = frozenset({"scheduled", "assigned"})
PENDING: Final = EXECUTION | {"scheduled"}
OK: Final = frozenset({"passed", "softfailed"})
RESULTS: Final = OK | {
    "none",
    "failed",
    "incomplete",
    "skipped",
    "obsoleted",
    "parallel_failed",
    "parallel_restarted",
    "user_cancelled",
    "user_restarted",
    "timeout_exceeded",
}
MAIN_SETTINGS: Final = ("DISTRI", "VERSION", "FLAVOR", "ARCH", "BUILD", "TEST", "MACHINE")
FLAGS: Final = ("important", "fatal", "milestone", "always_rollback", "always_run")


class Edge(StrEnum):
    """The kinds of dependency, named as job JSON shows them."""

    CHAINED = "Chained"
    DIRECTLY_CHAINED = "Directly chained"
    PARALLEL = "Parallel"


@dataclass(eq=False)
class Module:
    """One row of job_modules and the details document beside it."""

    name: str
    category: str
    script: str
    flags: frozenset[str]
    """Of `FLAGS`: `important` is the absence of `ignore_failure`."""
    result: str = "none"
    details: Document | None = None
    """The document in details-<name>.json: screenshots as file names."""


@dataclass(eq=False)
class Report:
    """Everything that the worker of one job sent, in order of arrival."""

    statuses: list[Document] = field(default_factory=list)
    """Each status that was taken, without screenshots' base64."""
    status_times: list[float] = field(default_factory=list)
    ends: list[Mapping[str, str]] = field(default_factory=list)
    """Each `set_done` that was taken."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests about this job that were answered with 4xx, by kind."""
    images: Counter[str] = field(default_factory=Counter)
    """How often each screenshot came, by md5."""
    thumbs: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    """How often each file came; ulogs as `ulogs/<name>`, asset chunks as `<type>/<name>#<index>`."""
    states: list[str] = field(default_factory=lambda: ["scheduled"])
    """Every state the job was in, in order."""
    late: list[str] = field(default_factory=list)
    """Requests of the worker that came after the job's end, by kind."""
    progress: list[Document] = field(default_factory=list)
    """What `upload_progress` told the live handler."""


@dataclass(eq=False)
class Live:
    """What viewers of a running job get."""

    log: str = ""
    terminal: str = ""
    screen: tuple[str, str] | None = None
    """Name and base64 of the last picture."""
    viewers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def notify(self) -> None:
        """Wake whoever waits for something new."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(eq=False)
class Job:
    """One job with its results."""

    id: int
    settings: dict[str, str]
    """As posted; the key words of a job (TEST, ARCH, …) among them."""
    priority: int = 50
    group_id: int | None = None
    state: str = "scheduled"
    result: str = "none"
    reason: str | None = None
    clone_id: int | None = None
    origin_id: int | None = None
    blocked_by_id: int | None = None
    t_created: float = field(default_factory=time.time)
    t_started: float | None = None
    t_finished: float | None = None
    assigned: Worker | None = None
    """The worker in `assigned_worker_id`; stays after the end."""
    worker: Worker | None = None
    """The worker that executes it now."""
    token: str = ""
    tokens: list[str] = field(default_factory=list)
    """Every JOBTOKEN that it ever had."""
    parents: dict[Edge, list[int]] = field(default_factory=lambda: {edge: [] for edge in Edge})
    children: dict[Edge, list[int]] = field(default_factory=lambda: {edge: [] for edge in Edge})
    modules: dict[str, Module] = field(default_factory=dict)
    assets: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """The result directory without details and screenshots."""
    ulogs: dict[str, bytes] = field(default_factory=dict)
    screenshots: dict[str, str] = field(default_factory=dict)
    """Links of the result directory: file name to md5."""
    finalized: bool = False
    live: Live = field(default_factory=Live)
    report: Report = field(default_factory=Report)
    cache: dict[str, bytes] = field(default_factory=dict)
    """Rendered JSON, dropped by whatever changes the job."""

    @property
    def worker_classes(self) -> frozenset[str]:
        """All classes a worker must have."""
        return frozenset(self.settings.get("WORKER_CLASS", "").split(","))

    @property
    def final(self) -> bool:
        """Whether it is over, as far as the web UI is concerned."""
        return self.state in FINAL

    @property
    def name(self) -> str:
        """The readable name, as Schema::Result::Jobs::name makes it."""
        parts = [self.settings.get(key, "") for key in MAIN_SETTINGS[:-1]]
        parts[4] = parts[4] and f"Build{parts[4]}"
        name = "-".join(part for part in parts if part)
        if machine := self.settings.get("MACHINE"):
            name += f"@{machine}"
        return "".join(
            sign if sign.isascii() and (sign.isalnum() or sign in "@._+:-") else "_" for sign in name
        )

    def calculate_result(self) -> str:
        """The result that the modules make (Schema::Result::Jobs::calculate_result)."""
        overall = ""
        for module in self.modules.values():
            if module.result in ("passed", "skipped") or "important" not in module.flags:
                overall = overall or "passed"
            elif module.result == "softfailed":
                overall = "softfailed" if overall in ("", "passed") else overall
            else:
                overall = "failed"
        return overall or "incomplete"

    def touch(self) -> None:
        """Forget rendered JSON after a change."""
        self.cache.clear()

    def enter(self, state: str) -> None:
        """Go into a state; a final one stamps the time and stops modules that still run."""
        if state != self.state:
            self.report.states.append(state)
        self.state = state
        if state in FINAL:
            self.t_finished = self.t_finished or time.time()
            if self.assigned is not None:
                self.assigned.jobs.pop(self.id, None)
            for module in self.modules.values():
                if module.result == "running":
                    module.result = "none"
            self.live.notify()
        self.touch()


@dataclass(eq=False)
class Worker:
    """One registered worker; how messages reach it is the business of its `channel`."""

    id: int
    host: str
    instance: int
    properties: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    t_seen: float | None = None
    """Of the monotonic clock; None after `quit`."""
    job: Job | None = None
    jobs: dict[int, Job] = field(default_factory=dict)
    """All jobs assigned to it that did not end, by id."""
    channel: Channel | None = None
    idle_despite_job: bool = False
    registrations: int = 0
    statuses: list[tuple[float, Document]] = field(default_factory=list)
    """What it said on the websocket, with the monotonic time of arrival."""
    closes: list[int | None] = field(default_factory=list)
    """Close codes of its websockets, as the server saw them."""

    @property
    def name(self) -> str:
        """`host:instance`."""
        return f"{self.host}:{self.instance}"

    @property
    def classes(self) -> frozenset[str]:
        """All its classes."""
        return frozenset(self.properties.get("WORKER_CLASS", "NONE").split(","))

    def tie(self, job: Job | None) -> None:
        """Make `job` the one it executes."""
        if self.job is not None and self.job.worker is self:
            self.job.worker = None
            self.job.touch()
        self.job = job
        if job is not None:
            if job.worker is not None and job.worker is not self:
                job.worker.job = None
            job.worker = self
            job.touch()


class Channel(ABC):
    """A way to a worker: a websocket, or a scripted worker inside the fake."""

    @abstractmethod
    def send(self, message: Document) -> None:
        """Queue one message."""


@dataclass(eq=False)
class Asset:
    """One registered asset with its content."""

    id: int
    type: str
    name: str
    content: bytes
    created_by: int | None = None
    size: int | None = None
    """As the table has it: unknown for a file that was only put in place, until a cleanup looks at it."""
    modified: float = field(default_factory=time.time)
