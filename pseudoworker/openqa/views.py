"""What the JSON of openQA's read API says, as frozen data; every field checked.

Shapes: OpenQA::Schema::Result::Jobs to_hash, OpenQA::WebAPI::Controller::API::V1::Job list and show,
OpenQA::Utils read_test_modules (OpenQA::Schema::Result::Jobs in newer releases) and
OpenQA::Schema::Result::Workers info.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pseudoworker.openqa.errors import Garbage
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.states import NONE
from pseudoworker.openqa.values import flag, flat_settings, integer, positive_int, text

T = TypeVar("T")

MODULE_FLAGS = ("important", "fatal", "milestone", "always_rollback", "always_run")


@dataclass(frozen=True)
class ModuleView:
    """A test module of a job."""

    name: str
    category: str
    result: str
    flags: frozenset[str] = frozenset()
    """Of MODULE_FLAGS, those that are set; `ignore_failure` is the absence of `important`."""


@dataclass(frozen=True)
class Dependencies:
    """Ids of the jobs on the other end of each kind of dependency (OpenQA::JobDependencies::Constants)."""

    chained: tuple[int, ...] = ()
    directly_chained: tuple[int, ...] = ()
    parallel: tuple[int, ...] = ()


@dataclass(frozen=True)
class JobView:
    """A job as the read API shows it."""

    id: int
    name: str
    state: str
    result: str
    reason: str | None = None
    clone_id: int | None = None
    """The job that this one was restarted as."""
    origin_id: int | None = None
    """The job that this one is a restart of."""
    test: str = ""
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    modules: tuple[ModuleView, ...] = ()
    """In the order they run; empty in answers that do not carry them."""
    parents: Dependencies = Dependencies()
    children: Dependencies = Dependencies()
    assets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names by type (`iso`, `hdd`, `repo`, `other`)."""
    t_started: str | None = None
    t_finished: str | None = None
    """Timestamps in UTC as openQA writes them (`2026-08-22T10:00:00`)."""
    assigned_worker_id: int | None = None
    blocked_by_id: int | None = None
    group_id: int | None = None
    priority: int | None = None


@dataclass(frozen=True)
class WorkerView:
    """A worker as GET workers shows it."""

    id: int
    host: str
    instance: int
    status: str
    """`idle`, `running`, `broken` or `dead`."""
    classes: frozenset[str] = frozenset()
    job_id: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    """CPU_ARCH, MEM_MAX, WORKER_CLASS, …; CMD_SRV_URL and JOBTOKEN among them, so not for logs."""
    error: str = ""


Broken = Callable[[int | None, Garbage], None]
Known = dict[int, tuple[Json, JobView]]
"""Jobs by id, each as it came and as it was read."""


def parse_job(document: Json, *, url: str = "") -> JobView:
    """The job of GET jobs/<id>, jobs/<id>/details, or one of the list's; raises Garbage naming what is
    wrong.
    """
    job = document
    if isinstance(document, dict) and isinstance(document.get("job"), dict):
        job = document["job"]
    if not isinstance(job, dict):
        raise Garbage("job is no object", url=url)
    return _Reader(url, job, "job").job()


def parse_jobs(
    document: Json, *, url: str = "", broken: Broken | None = None, known: Known | None = None
) -> tuple[JobView, ...]:
    """The jobs of GET jobs. Those that stand in `known` just as they come are not read again; the others are
    added to it.

    Raises Garbage when the whole makes no sense. A single job that makes none is told to `broken` with its
    id, where it has one, so that it does not blind us for the others; without `broken` it raises too.
    """

    def job(item: Json) -> JobView:
        before = None if known is None else known.get(_id_of(item) or 0)
        if before is not None and before[0] == item:
            return before[1]
        view = parse_job(item, url=url)
        if known is not None:
            known[view.id] = (item, view)
        return view

    return tuple(_each(document, "jobs", url, broken, job))


def parse_workers(document: Json, *, url: str = "", broken: Broken | None = None) -> tuple[WorkerView, ...]:
    """The workers of GET workers; see parse_jobs for `broken`."""

    def worker(item: Json) -> WorkerView:
        if not isinstance(item, dict):
            raise Garbage("worker is no object", url=url)
        return _Reader(url, item, "worker").worker()

    return tuple(_each(document, "workers", url, broken, worker))


def parse_modules(document: Json, *, url: str = "") -> tuple[ModuleView, ...]:
    """`modules` of a job in a list, or `testresults` of its details.

    Details name the category of a module only where it changes: it is filled forward.
    """
    if document is None:
        return ()
    if not isinstance(document, list):
        raise Garbage("modules are no list", url=url)
    modules: list[ModuleView] = []
    category = ""
    for item in document:
        if not isinstance(item, dict):
            raise Garbage("module is no object", url=url)
        reader = _Reader(url, item, "module")
        category = reader.string("category") or category
        flags = item.get("flags")
        names = {name for name in flags if isinstance(name, str)} if isinstance(flags, list) else set()
        names |= {name for name in MODULE_FLAGS if flag(item.get(name))}
        modules.append(
            ModuleView(reader.required("name"), category, reader.string("result") or NONE, frozenset(names))
        )
    return tuple(modules)


def _each(document: Json, key: str, url: str, broken: Broken | None, read: Callable[[Json], T]) -> list[T]:
    items = document.get(key) if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise Garbage(f"answer has no list of {key}", url=url)
    views: list[T] = []
    for item in items:
        try:
            views.append(read(item))
        except Garbage as error:
            if broken is None:
                raise
            broken(_id_of(item), error)
    return views


def _id_of(item: Json) -> int | None:
    return positive_int(item.get("id")) if isinstance(item, dict) else None


@dataclass(frozen=True)
class _Reader:
    """Reads typed fields of one JSON object and says which field of which object is wrong."""

    url: str
    data: Mapping[str, Json]
    what: str

    def job(self) -> JobView:
        job_id = self.id("id")
        named = _Reader(self.url, self.data, f"job {job_id}")
        return JobView(
            id=job_id,
            name=named.string("name") or "",
            state=named.required("state"),
            result=named.string("result") or NONE,
            reason=named.string("reason"),
            clone_id=named.optional_id("clone_id"),
            origin_id=named.optional_id("origin_id"),
            test=named.string("test") or "",
            settings=named.settings("settings"),
            modules=parse_modules(self.data.get("modules", self.data.get("testresults")), url=self.url),
            parents=named.dependencies("parents"),
            children=named.dependencies("children"),
            assets=named.assets("assets"),
            t_started=named.string("t_started"),
            t_finished=named.string("t_finished"),
            assigned_worker_id=named.optional_id("assigned_worker_id"),
            blocked_by_id=named.optional_id("blocked_by_id"),
            group_id=named.optional_id("group_id"),
            priority=integer(self.data.get("priority")),
        )

    def worker(self) -> WorkerView:
        worker_id = self.id("id")
        named = _Reader(self.url, self.data, f"worker {worker_id}")
        properties = named.settings("properties")
        return WorkerView(
            id=worker_id,
            host=named.required("host"),
            instance=named.id("instance"),
            status=named.required("status"),
            classes=frozenset(filter(None, map(str.strip, properties.get("WORKER_CLASS", "").split(",")))),
            job_id=named.optional_id("jobid"),
            properties=properties,
            error=named.string("error") or "",
        )

    def wrong(self, key: str) -> Garbage:
        return Garbage(f"{self.what} has {key} {ascii(self.data.get(key))[:60]}", url=self.url)

    def id(self, key: str) -> int:
        number = positive_int(self.data.get(key))
        if number is None:
            raise self.wrong(key)
        return number

    def optional_id(self, key: str) -> int | None:
        return None if self.data.get(key) is None else self.id(key)

    def string(self, key: str) -> str | None:
        value = self.data.get(key)
        if value is None:
            return None
        plain = text(value)
        if plain is None:
            raise self.wrong(key)
        return plain

    def required(self, key: str) -> str:
        value = self.string(key)
        if not value:
            raise self.wrong(key)
        return value

    def settings(self, key: str) -> Mapping[str, str]:
        value = self.data.get(key)
        settings = {} if value is None else flat_settings(value)
        if settings is None:
            raise self.wrong(key)
        return settings

    def dependencies(self, key: str) -> Dependencies:
        value = self.data.get(key)
        if value is None:
            return Dependencies()
        if not isinstance(value, dict):
            raise self.wrong(key)
        ids: dict[str, tuple[int, ...]] = {}
        for kind, items in value.items():
            numbers = [positive_int(item) for item in items] if isinstance(items, list) else [None]
            ids[kind] = tuple(number for number in numbers if number is not None)
            if len(ids[kind]) != len(numbers):
                raise self.wrong(key)
        return Dependencies(ids.get("Chained", ()), ids.get("Directly chained", ()), ids.get("Parallel", ()))

    def assets(self, key: str) -> Mapping[str, tuple[str, ...]]:
        value = self.data.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(key)
        assets: dict[str, tuple[str, ...]] = {}
        for kind, items in value.items():
            names = [item for item in items if isinstance(item, str)] if isinstance(items, list) else None
            if names is None or len(names) != len(items if isinstance(items, list) else ()):
                raise self.wrong(key)
            assets[kind] = tuple(names)
        return assets
