"""The whole configuration of one process, as plain frozen data.

Fields of `Limits`, `AssetPolicy`, `DeveloperMode` and `Observe` are keys of pseudoworker.toml, those of
`WorkerSettings` keys of workers.ini: their types and bounds are what the readers check and what
docs/configuration.md is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pseudoworker.config.schema import Absolute, Address, Choice, Range


@dataclass(frozen=True)
class Credentials:
    """An API key and its secret, from client.conf, the environment or the command line."""

    key: str
    secret: str = field(repr=False)
    source: str = ""
    """Where they were found: a file's path and section, for messages."""


@dataclass(frozen=True)
class Site:
    """One openQA instance: where it is and who we are there."""

    url: str
    """Base URL without trailing slash, path prefix of a reverse proxy included."""
    credentials: Credentials | None
    ca_file: Path | None = None
    """Certificate authority to trust for https; None means the system's."""


@dataclass(frozen=True)
class SlotConfig:
    """One emulated worker instance."""

    instance: int
    worker_class: tuple[str, ...]
    """Classes to advertise, in the order of workers.ini."""
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All settings of workers.ini that apply to this instance, keys in upper case, those of the host's
    section too."""


@dataclass(frozen=True)
class ClassMap:
    """Which class of the slave a class of the master stands for."""

    location: str
    """Empty when there are only explicit pairs."""
    pairs: Mapping[str, str] = field(default_factory=dict)
    """Explicit pairs, master class to slave class; they win over the location rule."""

    def to_slave(self, worker_class: str) -> str | None:
        """The slave's class for one class of the master, None when it is not a federated one."""
        if worker_class in self.pairs:
            return self.pairs[worker_class]
        prefix = f":{self.location}:"
        if not self.location or not worker_class.startswith(prefix):
            return None
        return worker_class.removeprefix(prefix) or None


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of workers.ini that mean for this process what they mean for the stock worker, under the same
    names.

    The environment variables of the stock worker win over them where it has one.
    """

    worker_hostname: str = ""
    """Address by which the master reaches this host, for developer mode (WORKER_HOSTNAME); filled in by
    `load` when not set: `localhost` beside a local master, else this host's full name."""
    log_level: Annotated[str, Choice(("trace", "debug", "info", "warn", "error", "fatal"))] = "info"
    """Least level of what is logged (LOG_LEVEL); `--verbose` makes it debug."""
    status_min_interval: Annotated[float, Range("s", 1, 86_400)] = 60.0
    """Least time between two status messages to the master (STATUS_MIN_INTERVAL,
    `$OPENQA_WORKER_STATUS_MIN_INTERVAL`)."""
    status_max_interval: Annotated[float, Range("s", 1, 86_400)] = 300.0
    """Most time between them (STATUS_MAX_INTERVAL, `$OPENQA_WORKER_STATUS_MAX_INTERVAL`); well below the
    master's `worker_timeout`."""
    local_upload: bool = True
    """Whether assets may be put into the master's directories when it is on this host (LOCAL_UPLOAD)."""
    parallel_one_host_only: bool = True
    """Whether the master must keep a parallel cluster within this process (PARALLEL_ONE_HOST_ONLY); 0 breaks
    clusters."""
    terminate_after_jobs_done: bool = False
    """Whether to exit when all assigned jobs are done (TERMINATE_AFTER_JOBS_DONE,
    `$OPENQA_WORKER_TERMINATE_AFTER_JOBS_DONE`)."""


@dataclass(frozen=True)
class Limits:
    """Every bound and pace, in seconds, bytes or counts; see docs/configuration.md for each."""

    poll_interval: Annotated[float, Range("s", 0.2, 60)] = 2.0
    """Time between two looks at the slave's running jobs, one request for all of them."""
    queue_timeout: Annotated[float, Range("s", 10, 2_592_000)] = 14_400.0
    """How long a job may wait on the slave to be started before it ends as incomplete."""
    run_margin: Annotated[float, Range("s", 10, 86_400)] = 600.0
    """How long a slave job may go on beyond its own limits (MAX_SETUP_TIME, MAX_JOB_TIME) before it is given
    up."""
    slave_outage: Annotated[float, Range("s", 10, 2_592_000)] = 1_800.0
    """How long the jobs of a slave that does not answer are kept; by default openQA's own patience with a
    worker."""
    cluster_timeout: Annotated[float, Range("s", 10, 86_400)] = 300.0
    """How long to wait until the master has assigned all jobs of a parallel cluster."""
    threads: Annotated[int, Range("", 2, 256)] = 16
    """Threads for blocking requests, for all slots together."""
    transfers_per_job: Annotated[int, Range("", 1, 64)] = 5
    """Files of one job that are relayed at the same time."""
    requests_in_flight: Annotated[int, Range("", 1, 256)] = 8
    """Requests at a time to each side, for all slots together. A web UI without a reverse proxy serves one
    connection a process, of which it has 30."""
    start_rate: Annotated[float, Range("1/s", 0.1, 1000)] = 25.0
    """Slots that register in a second, when the process starts and after an outage."""
    queue_allowance: Annotated[int, Range("", 0, 10_000)] = 0
    """Jobs that may wait on the slave for each class beyond its idle workers."""
    upload_chunk_size: Annotated[int, Range("bytes", 1_000, 100_000_000)] = 1_000_000
    """Bytes of an asset that are sent to the master in one request; UPLOAD_CHUNK_SIZE of workers.ini counts
    when not set."""
    auto_slots: Annotated[int, Range("", 1, 5_000)] = 500
    """The most slots that `instances = "auto"` makes."""


@dataclass(frozen=True)
class AssetPolicy:
    """How assets reach the slave and what may be moved."""

    transport: Annotated[str, Choice(("auto", "shared", "local", "url", "upload", "none"))] = "auto"
    """`auto`, `shared`, `local`, `url`, `upload` or `none` (expect them on the slave)."""
    factory_dir: Annotated[Path | None, Absolute()] = None
    """The slave's factory directory, where the bridge can see it (`shared`, `local`)."""
    serve_address: Annotated[str, Address()] = ""
    """`host:port` at which the bridge serves assets to a slave that cannot reach the master (`url`)."""
    serve_url: str = ""
    """URL at which the slave reaches `serve_address`, where that is another one (a proxy, every address)."""
    repos: tuple[str, ...] = ()
    """Names (fnmatch patterns) of `repo` assets that may be moved."""
    repos_required: bool = True
    """Whether a job whose REPO_n the slave lacks ends as an asset failure; a stock worker runs it."""
    products: tuple[str, ...] = ("*",)
    """Names (fnmatch patterns) of public assets that slave jobs may put on the master."""
    max_size: Annotated[int, Range("bytes", 0, 10**15)] = 100_000_000_000
    """Bytes of the largest asset that is moved."""
    quota: Annotated[int, Range("bytes", 0, 10**15)] = 0
    """Bytes that our assets may take in the slave's factory directory; 0 means no quota."""
    min_free: Annotated[int, Range("bytes", 0, 10**15)] = 1_000_000_000
    """Bytes that must stay free in the slave's factory directory."""


@dataclass(frozen=True)
class DeveloperMode:
    """The command server that the master's developer mode connects to."""

    enabled: bool = True
    """Whether jobs in developer mode get a command server at all."""
    listen: Annotated[str, Address()] = ""
    """`host:port` it listens on; empty means every address and a free port, as for the stock worker."""


@dataclass(frozen=True)
class Observe:
    """What a running process shows, and where."""

    listen: Annotated[str, Address(loopback=True)] = ""
    """`host:port` of the status page and metrics, on this machine only; empty means off."""


@dataclass(frozen=True)
class Configuration:
    """Everything one process needs, complete and checked."""

    master: Site
    slave: Site
    host: str
    """Name the slots register under (`host:instance`)."""
    slots: tuple[SlotConfig, ...]
    """The slots, by instance; with `auto_slots` all that there may be, of which those from the first on are
    used."""
    classes: ClassMap
    state_dir: Path
    worker: WorkerSettings = WorkerSettings()
    limits: Limits = Limits()
    assets: AssetPolicy = AssetPolicy()
    developer: DeveloperMode = DeveloperMode()
    observe: Observe = Observe()
    auto_slots: bool = False
    """Whether the number of slots follows the number of the slave's workers for the classes."""
    group: str | None = None
    """Job group on the slave for relayed jobs: its id or its name."""
    verbose: bool = False
    on_stop: str = "detach"
    """`detach` or `abort`: what SIGTERM does to running jobs."""
    files: tuple[Path, ...] = ()
    """The files that were read, in order."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where a value came from (`file:line: [section] key`), by dotted name, for `pseudoworker check`."""
