"""Puts the services of one process together, and takes them apart again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from pseudoworker.bridge.assets.factory import open_assets
from pseudoworker.bridge.availability import Availability, Obstacles
from pseudoworker.bridge.cluster import Clusters
from pseudoworker.bridge.creation import Creation
from pseudoworker.bridge.crew import Crew
from pseudoworker.bridge.developer import DeveloperRelay
from pseudoworker.bridge.journal import Journal
from pseudoworker.bridge.reaper import Reaper
from pseudoworker.bridge.services import Services
from pseudoworker.bridge.settings import UnmappedClass, slave_classes, worker_classes
from pseudoworker.bridge.watched import WatchedJobs
from pseudoworker.config.model import Configuration, Site
from pseudoworker.observe.metrics import Metrics
from pseudoworker.observe.secrets import Secrets
from pseudoworker.openqa.access import ask_for_operator
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.retry import READ
from pseudoworker.openqa.transport import tls_context
from pseudoworker.openqa.views import JobView, parse_job
from pseudoworker.slave.capacity import capacity
from pseudoworker.slave.jobs import SlaveJobs
from pseudoworker.slave.live import LiveSource
from pseudoworker.slave.live_commands import SlaveCommands
from pseudoworker.slave.results import SlaveResults
from pseudoworker.slave.script_search import ScriptSearch
from pseudoworker.slave.watch import Watcher

logger = logging.getLogger(__name__)

JOURNAL = "journal.sqlite"
LOOK_EVERY = 10.0
"""Seconds between two looks at the slave's workers."""


@contextlib.asynccontextmanager
async def assemble(configuration: Configuration, crew: Crew, secrets: Secrets) -> AsyncIterator[Services]:
    """The services of one process, opened; closed in the end. Raises JournalError when the journal can not
    be used."""
    limits = configuration.limits
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        threads = _threads(stack, limits.threads, "request")
        transfer_threads = _threads(stack, limits.threads, "transfer")
        master = _client(stack, "master", configuration.master, metrics, threads, limits.requests_in_flight)
        slave = _client(stack, "slave", configuration.slave, metrics, threads, limits.requests_in_flight)
        journal = Journal(configuration.state_dir / JOURNAL, master_url=master.url, slave_url=slave.url)
        await journal.open()
        if journal.set_aside is not None:
            logger.error(
                "%s was damaged: it is set aside as %s, and its jobs are looked for on both sides",
                journal.path,
                journal.set_aside,
            )
        stack.push_async_callback(journal.close)
        slave_jobs = SlaveJobs(slave)
        reaper = Reaper(journal, slave_jobs)
        creation = Creation(
            slave_jobs, group=configuration.group, limit=limits.slave_outage, cancel=reaper.cancel
        )
        stack.push_async_callback(creation.close)
        live_source = LiveSource(slave.url, tls=tls_context(configuration.slave.ca_file))

        async def master_view(job_id: int) -> JobView:
            path = f"/api/v1/jobs/{job_id}"
            return parse_job(await master.get_json(path, policy=READ), url=master.url_of(path))

        assets = open_assets(
            configuration, master=master, slave=slave, pairing=journal.slave_of, acknowledgements=journal
        )
        stack.push_async_callback(assets.close)

        async def problem() -> str | None:
            return await journal.obstacle() or await assets.provider.problem()

        clusters = Clusters(
            why_not=lambda view: _why_not(configuration, view),
            slots=len(configuration.slots),
            is_posted=journal.is_posted,
            gather_timeout=limits.cluster_timeout,
            ready_timeout=limits.queue_timeout,
            create_all=creation.create_all,
        )
        commands = SlaveCommands(slave, ca_file=configuration.slave.ca_file)
        developer = DeveloperRelay(
            configuration.developer, commands, slave_url=lambda job_id: f"{slave.url}/tests/{job_id}"
        )
        stack.push_async_callback(developer.close)
        yield Services(
            configuration=configuration,
            master=master,
            slave=slave,
            slave_jobs=slave_jobs,
            slave_results=SlaveResults(slave),
            watcher=Watcher(slave_jobs, limits.poll_interval),
            journal=journal,
            reaper=reaper,
            creation=creation,
            clusters=clusters,
            availability=Availability(
                fetch=lambda: capacity(slave),
                obstacle=Obstacles(lambda: ask_for_operator(slave), problem),
                slots=crew.states,
                loads=crew.loads,
                changed=crew.offer,
                allowance=limits.queue_allowance,
                overdue=clusters.overdue,
                interval=LOOK_EVERY,
            ),
            assets=assets,
            developer=developer,
            live_source=live_source,
            watched_jobs=WatchedJobs(),
            script_search=ScriptSearch(slave, live_source),
            metrics=metrics,
            secrets=secrets,
            transfer_threads=transfer_threads,
            master_view=master_view,
            on_retry=lambda retry: metrics.retry("slave", retry.policy, type(retry.error).__name__),
        )


def _threads(stack: contextlib.AsyncExitStack, count: int, name: str) -> ThreadPoolExecutor:
    threads = ThreadPoolExecutor(count, thread_name_prefix=name)
    stack.callback(threads.shutdown, wait=False, cancel_futures=True)
    return threads


def _client(
    stack: contextlib.AsyncExitStack,
    side: str,
    site: Site,
    metrics: Metrics,
    threads: ThreadPoolExecutor,
    in_flight: int,
) -> Client:
    credentials = site.credentials
    client = Client(
        site.url,
        credentials.key if credentials else "",
        credentials.secret if credentials else "",
        ca_file=site.ca_file,
        executor=threads,
        in_flight=in_flight,
        observer=metrics.side(side),
        on_retry=lambda retry: metrics.retry(side, retry.policy, type(retry.error).__name__),
    )
    stack.callback(client.close)
    return client


def _why_not(configuration: Configuration, view: JobView) -> str | None:
    """Why a job of the master can not come to a slot of this process."""
    try:
        slave_classes(view.settings, configuration.classes.to_slave)
    except UnmappedClass as error:
        return f"can not run here: {error}"
    wanted = worker_classes(view.settings)
    if not any(set(wanted) <= set(slot.worker_class) for slot in configuration.slots):
        return f"needs a worker of class {','.join(wanted)}, which no slot of this pseudoworker has"
    return None
