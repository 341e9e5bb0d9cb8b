"""What a running process is doing now: for `pseudoworker status`, the status page and the metrics.

The bridge makes one for each request; nothing here keeps itself up to date. No secret has a field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pseudoworker.errors import PseudoworkerError

SLOT_STATES = ("free", "working", "broken", "offline")
"""What a slot can be: the first three as a worker tells its master; `offline`: the master hears nothing."""

FORMAT = 1
"""Version of the JSON document; raised when a reader of the old one would misunderstand the new one."""

_Shape = TypeVar("_Shape")


class SnapshotError(PseudoworkerError):
    """The document that a process answered is no snapshot that this release understands."""


@dataclass(frozen=True)
class SlotSnapshot:
    """One slot, and the job in it if there is one."""

    instance: int
    worker_id: int | None
    """The master's id of this worker; None before the first registration."""
    state: str
    """One of SLOT_STATES."""
    reason: str = ""
    """Why the slot is broken, offline or draining, in words; empty when there is nothing to explain."""
    master_job: int | None = None
    master_url: str = ""
    """Page of the master job."""
    slave_job: int | None = None
    """None while the job is not yet posted to the slave."""
    slave_url: str = ""
    """Page of the slave job."""
    phase: str = ""
    """Where the job is on its way, in the lifecycle's word such as `queued`; empty without a job."""
    module: str = ""
    """Name of the running test module."""
    module_index: int = 0
    """Which module that is, from 1; 0 before the first."""
    module_count: int = 0
    bytes_relayed: int = 0
    """Bytes of this job that went to the master so far."""
    since: float = 0.0
    """When the slot got into this state or took this job, in seconds since the epoch."""
    last_error: str = ""
    """The last failure, in words, even if a retry mended it."""

    def __post_init__(self) -> None:
        if self.state not in SLOT_STATES:
            raise SnapshotError(f"slot {self.instance}: {self.state!r} is no state of a slot")


@dataclass(frozen=True)
class ProcessSnapshot:
    """One process and all its slots."""

    pid: int
    started: float
    """Seconds since the epoch."""
    version: str
    master_url: str
    slave_url: str
    slots: tuple[SlotSnapshot, ...] = ()
    """In the order of their instance numbers."""
    totals: Mapping[str, float] = field(default_factory=dict)
    """Counts since the start, by name, such as `jobs_passed` or `bytes_relayed`."""

    def slots_by_state(self) -> dict[str, int]:
        """How many slots are in each state; every state has an entry."""
        counts = dict.fromkeys(SLOT_STATES, 0)
        for slot in self.slots:
            counts[slot.state] += 1
        return counts


def to_json(snapshot: ProcessSnapshot) -> dict[str, object]:
    """The snapshot as a JSON object: fields by name, `slots` as a list of objects, and `format`."""
    document = dataclasses.asdict(snapshot)
    document["slots"] = list(document["slots"])
    document["totals"] = dict(snapshot.totals)
    return {"format": FORMAT, **document}


def from_json(document: object) -> ProcessSnapshot:
    """Read what `to_json` wrote, by this or a neighbouring release: unknown fields are ignored.

    Raises SnapshotError when a field that must be there is missing, or any is of the wrong type.
    """
    fields = _Fields(document, "the answer")
    if (its_format := fields.whole("format", 0)) != FORMAT:
        raise SnapshotError(
            f"the process answers in format {its_format}, this command reads {FORMAT}: "
            "use the release of pseudoworker that runs as the service"
        )
    slots = fields.get("slots", list, None)
    totals = _Fields(fields.get("totals", dict, {}), "totals")
    return ProcessSnapshot(
        pid=fields.whole("pid"),
        started=fields.number("started"),
        version=fields.text("version"),
        master_url=fields.text("master_url"),
        slave_url=fields.text("slave_url"),
        slots=tuple(_slot(_Fields(slot, f"slots[{index}]")) for index, slot in enumerate(slots)),
        totals={name: totals.number(name) for name in totals},
    )


def _slot(fields: _Fields) -> SlotSnapshot:
    return SlotSnapshot(
        instance=fields.whole("instance"),
        worker_id=fields.whole_or_none("worker_id"),
        state=fields.text("state"),
        reason=fields.text("reason", ""),
        master_job=fields.whole_or_none("master_job"),
        master_url=fields.text("master_url", ""),
        slave_job=fields.whole_or_none("slave_job"),
        slave_url=fields.text("slave_url", ""),
        phase=fields.text("phase", ""),
        module=fields.text("module", ""),
        module_index=fields.whole("module_index", 0),
        module_count=fields.whole("module_count", 0),
        bytes_relayed=fields.whole("bytes_relayed", 0),
        since=fields.number("since", 0.0),
        last_error=fields.text("last_error", ""),
    )


class _Fields:
    """A JSON object whose fields are asked for by type. `default=None` means that the field must be there."""

    def __init__(self, document: object, name: str) -> None:
        if not isinstance(document, dict):
            raise SnapshotError(f"{name} is no JSON object")
        self._fields: dict[object, object] = document
        self._name = name

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._fields if isinstance(name, str))

    def get(self, name: str, shape: type[_Shape], default: _Shape | None) -> _Shape:
        value = self._fields.get(name, default)
        if not isinstance(value, shape) or isinstance(value, bool):
            raise SnapshotError(f"{self._name}: {name} is {value!r}, expected {shape.__name__}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        return self.get(name, str, default)

    def whole(self, name: str, default: int | None = None) -> int:
        return self.get(name, int, default)

    def whole_or_none(self, name: str) -> int | None:
        return None if self._fields.get(name) is None else self.whole(name)

    def number(self, name: str, default: float | None = None) -> float:
        is_whole = isinstance(self._fields.get(name), int)
        return float(self.whole(name)) if is_whole else self.get(name, float, default)
