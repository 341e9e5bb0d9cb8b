"""What the slave can run for us, and whether the master knows our names already."""

from __future__ import annotations

from collections.abc import Iterable

from pseudoworker.bridge.checks.lines import Line, error, ok, warning
from pseudoworker.bridge.checks.place import served_here
from pseudoworker.config.model import Configuration
from pseudoworker.observe.folding import ranges
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.views import WorkerView
from pseudoworker.slave.capacity import Capacity, workers

_SAID_GOODBYE = "graceful disconnect"
"""What a master notes of a worker that quits. The one of 2023 does not show the worker as dead when it quits
a second time: its row in memory has no `t_seen` since the first time, so none is taken out of the table
(OpenQA::WebSockets::Controller::Worker, on_message)."""


async def check_classes(configuration: Configuration, slave: Client) -> list[Line]:
    """For each class: the slave's workers that have it."""
    try:
        found = await workers(slave)
    except OpenQAError as failure:
        return [error("classes", str(failure), "check that the slave is an openQA and answers in time")]
    capacity = Capacity.of(found)
    slots: dict[str, set[int]] = {}
    for slot in configuration.slots:
        for worker_class in slot.worker_class:
            slots.setdefault(worker_class, set()).add(slot.instance)
    return [
        _class(worker_class, configuration.classes.to_slave(worker_class), instances, capacity)
        for worker_class, instances in slots.items()
    ]


def _class(master_class: str, slave_class: str | None, instances: set[int], capacity: Capacity) -> Line:
    topic = "classes"
    where = f"{master_class} (slots {ranges(instances)})"
    if slave_class is None:
        return warning(
            topic,
            f"{where} stands for no class of the slave",
            "name it after the location or in [classes]; the master gives no job for it to a broken slot",
        )
    total, idle = capacity.total({slave_class}), capacity.idle({slave_class})
    if not total:
        known = sorted({its for worker in capacity.workers for its in worker.classes})
        return error(
            topic,
            f"{where} is {slave_class} on the slave, which no worker there has",
            f"start a worker of that class there, or use one of {_some(known)}",
        )
    return ok(topic, f"{where} is {slave_class} on the slave: {total} workers, {idle} of them idle")


async def check_names(configuration: Configuration, master: Client) -> Line:
    """Whether somebody else is connected to the master under one of our names."""
    topic = "names"
    try:
        found = await workers(master)
    except OpenQAError as failure:
        return error(topic, str(failure), "check that the master is an openQA and answers in time")
    ours = {slot.instance for slot in configuration.slots}
    served = served_here(configuration.state_dir, ours)
    taken = {its.instance for its in _named(found, configuration.host) if its.instance in ours - set(served)}
    names = f"{configuration.host}:{ranges(ours)}"
    if taken:
        return warning(
            topic,
            f"somebody else is connected to the master as {configuration.host}:{ranges(taken)}",
            "stop whoever uses the name, or choose another host in pseudoworker.toml or another --instance",
        )
    return ok(topic, f"nobody else is connected to the master as {names}")


def _named(found: Iterable[WorkerView], host: str) -> Iterable[WorkerView]:
    return (
        worker
        for worker in found
        if worker.host == host and worker.status != "dead" and not worker.error.startswith(_SAID_GOODBYE)
    )


def _some(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most]) or "no class at all"
    return f"{shown}, …" if len(names) > most else shown
