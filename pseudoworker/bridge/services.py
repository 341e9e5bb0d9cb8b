"""What all slots of one process share: the two clients, the watcher, the journal, the pools of threads."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pseudoworker.bridge.assets.factory import Assets
from pseudoworker.bridge.availability import Availability
from pseudoworker.bridge.cluster import Clusters
from pseudoworker.bridge.creation import Creation
from pseudoworker.bridge.developer import DeveloperRelay
from pseudoworker.bridge.journal import Journal
from pseudoworker.bridge.live import LiveRelay
from pseudoworker.bridge.patience import Patience
from pseudoworker.bridge.reaper import Reaper
from pseudoworker.bridge.watched import WatchedJobs
from pseudoworker.config.model import Configuration
from pseudoworker.observe.metrics import Metrics
from pseudoworker.observe.secrets import Secrets
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.retry import READ, OnRetry
from pseudoworker.openqa.views import JobView, ModuleView, parse_workers
from pseudoworker.slave.jobs import SlaveJobs
from pseudoworker.slave.live import LiveSource
from pseudoworker.slave.results import SlaveResults
from pseudoworker.slave.script_search import ScriptSearch
from pseudoworker.slave.watch import Watcher

MASTER_OUTAGE = 86_400.0
"""Seconds for which an outage of the master is waited out: when it is back, it says whether the job is still
ours."""

Log = logging.LoggerAdapter[logging.Logger]


@dataclass
class Services:
    """One of each; `bridge.daemon` puts them together."""

    configuration: Configuration
    master: Client
    slave: Client
    slave_jobs: SlaveJobs
    slave_results: SlaveResults
    watcher: Watcher
    journal: Journal
    reaper: Reaper
    creation: Creation
    clusters: Clusters
    availability: Availability
    assets: Assets
    developer: DeveloperRelay
    live_source: LiveSource
    watched_jobs: WatchedJobs
    script_search: ScriptSearch
    metrics: Metrics
    secrets: Secrets
    """What the log never shows; the token of each job for as long as it lives."""
    transfer_threads: ThreadPoolExecutor
    master_view: Callable[[int], Awaitable[JobView]]
    on_retry: OnRetry
    scripts: ScriptMemory = field(init=False)

    def __post_init__(self) -> None:
        self.scripts = ScriptMemory(self.script_search)

    def master_url(self, job_id: int) -> str:
        """The page of a master job."""
        return f"{self.master.url}/tests/{job_id}"

    def slave_url(self, job_id: int) -> str:
        """The page of a slave job."""
        return f"{self.slave.url}/tests/{job_id}"

    async def slave_token(self, view: JobView) -> str:
        """The JOBTOKEN of a slave job that has a worker, empty when the slave does not tell it."""
        document = await self.slave.get_json(f"/api/v1/workers/{view.assigned_worker_id}", policy=READ)
        worker = document.get("worker") if isinstance(document, dict) else None
        found = parse_workers({"workers": [worker]}) if worker is not None else ()
        return found[0].properties.get("JOBTOKEN", "") if found else ""

    def live_relay(self, wake: Callable[[], None], note: Callable[[str], None], log: Log) -> LiveRelay:
        """A live relay for one job."""
        return LiveRelay(self.live_source, self.watched_jobs, wake=wake, note=note, log=log)

    def patience(self, log: Log, *, slave: bool = False) -> Patience:
        """Patience with the master, or with the slave, that tells this job's log."""
        return Patience(self.configuration.limits.slave_outage if slave else MASTER_OUTAGE, log)


class ScriptMemory:
    """Finds the scripts of modules, and remembers them, so that the next job of the scenario need not ask
    again."""

    MOST = 20_000

    def __init__(self, search: ScriptSearch) -> None:
        self._search = search
        self._known: OrderedDict[tuple[str, ...], str] = OrderedDict()

    async def __call__(self, view: JobView, modules: Iterable[ModuleView]) -> Mapping[str, str]:
        """The script of each of these modules of a slave job."""
        wanted = tuple(modules)
        if not wanted:
            return {}
        keys = {module.name: _key(view, module) for module in view.modules}
        known = {name: self._known[key] for name, key in keys.items() if key in self._known}
        found = await self._search.find(view, known)
        for module in wanted:
            self._known[keys[module.name]] = found[module.name]
            self._known.move_to_end(keys[module.name])
        while len(self._known) > self.MOST:
            self._known.popitem(last=False)
        return found


def _key(view: JobView, module: ModuleView) -> tuple[str, ...]:
    where = (view.settings.get(key, "") for key in ("DISTRI", "VERSION", "CASEDIR"))
    return (*where, view.test, module.category, module.name)
