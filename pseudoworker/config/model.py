"""The whole configuration of one process, as plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


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
    settings: Mapping[str, str] = field(default_factory=dict)
    """All settings of workers.ini that apply to this instance, keys in upper case."""


@dataclass(frozen=True)
class ClassMap:
    """Which class of the slave a class of the master stands for."""

    location: str
    pairs: Mapping[str, str] = field(default_factory=dict)
    """Explicit pairs, master class to slave class; they win over the location rule."""

    def to_slave(self, worker_class: str) -> str | None:
        """The slave's class for one class of the master, None when it is not a federated one."""
        if worker_class in self.pairs:
            return self.pairs[worker_class]
        prefix = f":{self.location}:"
        return worker_class.removeprefix(prefix) if worker_class.startswith(prefix) else None


@dataclass(frozen=True)
class Limits:
    """Every bound and pace, in seconds, bytes or counts; see docs/configuration.md for each."""

    poll_interval: float = 2.0
    queue_timeout: float = 14400.0
    run_margin: float = 600.0
    cluster_timeout: float = 300.0
    threads: int = 16
    transfers_per_job: int = 4
    requests_in_flight: int = 16
    start_rate: float = 25.0
    queue_allowance: int = 0
    upload_chunk_size: int = 1_000_000


@dataclass(frozen=True)
class AssetPolicy:
    """How assets reach the slave and what may be moved."""

    transport: str = "auto"
    """`auto`, `shared`, `local`, `url`, `upload` or `none` (expect them on the slave)."""
    factory_dir: Path | None = None
    """The slave's factory directory, where the bridge can see it (`shared`, `local`)."""
    serve_address: str = ""
    """`host:port` at which the bridge serves assets to a slave that cannot reach the master (`url`)."""
    repos: tuple[str, ...] = ()
    """Names (fnmatch patterns) of `repo` assets that may be moved."""
    max_size: int = 100_000_000_000
    quota: int = 0
    """Bytes that our assets may take in the slave's factory directory; 0 means no quota."""
    min_free: int = 1_000_000_000


@dataclass(frozen=True)
class Observe:
    """What a running process shows, and where."""

    listen: str = ""
    """`host:port` of the status page and metrics; empty means off."""


@dataclass(frozen=True)
class Configuration:
    """Everything one process needs, complete and checked."""

    master: Site
    slave: Site
    host: str
    """Name the slots register under (`host:instance`)."""
    slots: tuple[SlotConfig, ...]
    classes: ClassMap
    state_dir: Path
    limits: Limits = Limits()
    assets: AssetPolicy = AssetPolicy()
    observe: Observe = Observe()
    group: str | None = None
    """Job group on the slave for relayed jobs: its id or its name."""
    verbose: bool = False
    on_stop: str = "detach"
    """`detach` or `abort`: what SIGTERM does to running jobs."""
    files: tuple[Path, ...] = ()
    """The files that were read, in order."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where a value came from (`file: [section] key`), by dotted name, for `pseudoworker check`."""
