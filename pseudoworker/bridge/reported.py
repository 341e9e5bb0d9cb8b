"""Which modules of a job the master has, by what was written down before and after each report.

A report is announced in the journal before it is posted and confirmed when the master took it. When the
process dies in between, or no answer comes, the master is asked what it shows of the module: so none is
reported twice and none is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pseudoworker.openqa import states
from pseudoworker.openqa.views import ModuleView

REPORTED = "module"
ANNOUNCED = "module report"
"""Kinds of acknowledgements in the journal."""


@dataclass(frozen=True)
class Reported:
    """A module as the master took it: its result on the slave, and the fingerprint of its details there."""

    result: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.result} {self.fingerprint}"

    @classmethod
    def parse(cls, text: str) -> Reported:
        """Read what `str` made of it."""
        result, _, fingerprint = text.partition(" ")
        return cls(result, fingerprint)


class Acknowledgements(Protocol):
    """What is needed of the journal."""

    async def acknowledged(self, master_id: int, kind: str) -> dict[str, str]:
        """Values by name."""
        ...

    async def acknowledge(self, master_id: int, kind: str, values: Mapping[str, str]) -> None:
        """Keep these values; on disk when it returns."""
        ...


class MasterModules(Protocol):
    """What is needed of the master's job."""

    job_id: int

    async def modules(self) -> Iterable[ModuleView]:
        """The modules as the master shows them now."""
        ...


class ReportedModules:
    """The reports of one job; `taken` holds those that the master has, by the names of their modules."""

    def __init__(self, master: MasterModules, journal: Acknowledgements) -> None:
        self.taken: dict[str, Reported] = {}
        self._master = master
        self._journal = journal
        self._open: dict[str, Reported] = {}
        """Announced, and not known to be taken."""

    async def load(self) -> None:
        """Take up what an earlier process wrote down."""
        self.taken = await self._read(REPORTED)
        announced = await self._read(ANNOUNCED)
        self._open = {name: value for name, value in announced.items() if self.taken.get(name) != value}

    def forget(self) -> None:
        """Everything comes anew."""
        self.taken.clear()
        self._open.clear()

    async def settle(self) -> None:
        """Find out which of the reports without an answer the master has; does nothing when there are none.

        Raises what `modules` of the master raises.
        """
        if not self._open:
            return
        shown = {module.name: module.result for module in await self._master.modules()}
        found = {
            name: value for name, value in self._open.items() if self._is_proof(name, value, shown.get(name))
        }
        self._open.clear()
        await self._confirm(found)

    async def announce(self, reports: Mapping[str, Reported]) -> None:
        """These are about to be posted."""
        if reports:
            await self._journal.acknowledge(self._master.job_id, ANNOUNCED, _texts(reports))
            self._open.update(reports)

    async def confirm(self, reports: Mapping[str, Reported]) -> None:
        """The master took these."""
        for name in reports:
            self._open.pop(name, None)
        await self._confirm(reports)

    async def _confirm(self, reports: Mapping[str, Reported]) -> None:
        if reports:
            self.taken.update(reports)
            await self._journal.acknowledge(self._master.job_id, REPORTED, _texts(reports))

    def _is_proof(self, name: str, announced: Reported, shown: str | None) -> bool:
        """Whether the result that the master shows can only come from the report: it shows a module as
        running without one, and a report of the same result may have come before."""
        before = self.taken.get(name)
        changed = before is None or before.result != announced.result
        return changed and shown == announced.result != states.RUNNING

    async def _read(self, kind: str) -> dict[str, Reported]:
        kept = await self._journal.acknowledged(self._master.job_id, kind)
        return {name: Reported.parse(value) for name, value in kept.items()}


def _texts(reports: Mapping[str, Reported]) -> dict[str, str]:
    return {name: str(value) for name, value in reports.items()}
