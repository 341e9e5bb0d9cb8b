"""Which settings of a job travel to the slave: the one place that knows.

Everything that the test was given goes along, `_SECRET_*` and passwords included, since the slave's test
needs them; what the master's own bookkeeping added stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

PROXIED = "PROXIED"
FEDERATED_REPORT = "FEDERATED_REPORT"

_OF_THE_MASTER = frozenset(
    {
        "JOBTOKEN",  # a secret of the master; the slave makes its own
        "NAME",  # contains the job id; computed by each side
        "OPENQA_HOSTNAME",
        "OPENQA_URL",
        "WORKER_HOSTNAME",
        "WORKER_INSTANCE",
        "WORKER_ID",
        "NICVLAN",  # each instance allots its own networks
        "_PRIORITY_EXPLANATION",
        "_START_AFTER_JOBS",  # ids of the master
        "_START_DIRECTLY_AFTER_JOBS",
        "_PARALLEL_JOBS",
    }
)

_ASSET_URL = re.compile(
    r"^(ISO|ISO_\d+|HDD_\d+|ASSET_\d+|REPO_\d+|KERNEL|INITRD|UEFI_PFLASH_\w+)(_DECOMPRESS)?_URL$"
)


class UnmappedClass(ValueError):
    """A worker class of the job stands for no class of the slave."""


def for_slave(
    settings: Mapping[str, str], *, report_url: str, to_slave: Callable[[str], str | None]
) -> dict[str, str]:
    """The settings of the slave job. `report_url` is the page of the master's job; `to_slave` maps one worker
    class. Raises UnmappedClass."""
    kept = {key: value for key, value in settings.items() if _travels(key)}
    kept["WORKER_CLASS"] = ",".join(slave_classes(settings, to_slave))
    kept[PROXIED] = "1"
    kept[FEDERATED_REPORT] = report_url
    return kept


def slave_classes(settings: Mapping[str, str], to_slave: Callable[[str], str | None]) -> tuple[str, ...]:
    """The slave's classes that stand for the job's WORKER_CLASS, in its order. Raises UnmappedClass."""
    mapped = []
    for worker_class in worker_classes(settings):
        slave_class = to_slave(worker_class)
        if slave_class is None:
            raise UnmappedClass(
                f"worker class {worker_class!r} stands for no class of the slave;"
                " add it to [classes] in pseudoworker.toml"
            )
        mapped.append(slave_class)
    return tuple(mapped)


def needed_classes(settings: Mapping[str, str], to_slave: Callable[[str], str | None]) -> frozenset[str]:
    """The slave's classes that the job takes a worker of; none when one of its own stands for none there."""
    try:
        return frozenset(slave_classes(settings, to_slave))
    except UnmappedClass:
        return frozenset()


def worker_classes(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The single classes of the setting WORKER_CLASS."""
    return tuple(name.strip() for name in settings.get("WORKER_CLASS", "").split(",") if name.strip())


def _travels(key: str) -> bool:
    return not (key in _OF_THE_MASTER or key.startswith("_GROUP") or _ASSET_URL.match(key))


def run_time(settings: Mapping[str, str]) -> float:
    """Seconds that a job may take by its own settings, set-up included (`OpenQA::Worker::Job`,
    `_compute_timeouts`)."""

    def number(key: str, default: float) -> float:
        try:
            return float(settings.get(key, default))
        except ValueError:
            return default

    return number("MAX_SETUP_TIME", 3600.0) + number("MAX_JOB_TIME", 7200.0) * number("TIMEOUT_SCALE", 1.0)
