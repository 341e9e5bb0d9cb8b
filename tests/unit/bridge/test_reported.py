"""Which modules the master has, when a process died between a report and its confirmation."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pseudoworker.bridge.reported import Reported, ReportedModules
from pseudoworker.openqa.errors import Unreachable
from pseudoworker.openqa.views import ModuleView

PASSED = Reported("passed", "f1")
FAILED = Reported("failed", "f2")


class Journal:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], str] = {}

    async def acknowledged(self, master_id: int, kind: str) -> dict[str, str]:
        return {name: value for (each, name), value in self.rows.items() if each == kind}

    async def acknowledge(self, master_id: int, kind: str, values: Mapping[str, str]) -> None:
        self.rows |= {(kind, name): value for name, value in values.items()}


class Master:
    job_id = 7

    def __init__(self, **results: str) -> None:
        self.results = results
        self.asked = 0
        self.error: Exception | None = None

    async def modules(self) -> list[ModuleView]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return [ModuleView(name, "x", result) for name, result in self.results.items()]


async def after_a_crash(journal: Journal, master: Master) -> ReportedModules:
    reports = ReportedModules(master, journal)
    await reports.load()
    await reports.settle()
    return reports


async def test_what_was_confirmed_needs_no_question() -> None:
    journal, master = Journal(), Master(boot="passed")
    reports = ReportedModules(master, journal)
    await reports.announce({"boot": PASSED})
    await reports.confirm({"boot": PASSED})
    assert reports.taken == {"boot": PASSED}
    assert (await after_a_crash(journal, master)).taken == {"boot": PASSED}
    assert master.asked == 0


@pytest.mark.parametrize(
    ("before", "announced", "shown", "taken"),
    [
        (None, PASSED, "passed", PASSED),
        (None, PASSED, "none", None),
        (None, PASSED, "running", None),
        (None, PASSED, None, None),
        (FAILED, PASSED, "passed", PASSED),
        (FAILED, PASSED, "failed", FAILED),
        (Reported("passed", "f0"), PASSED, "passed", Reported("passed", "f0")),
        (None, Reported("running", "f0"), "running", None),
    ],
)
async def test_what_was_announced_is_looked_for(
    before: Reported | None, announced: Reported, shown: str | None, taken: Reported | None
) -> None:
    journal = Journal()
    master = Master(**({"boot": shown} if shown else {}))
    reports = ReportedModules(master, journal)
    if before is not None:
        await reports.announce({"boot": before})
        await reports.confirm({"boot": before})
    await reports.announce({"boot": announced})
    for _ in range(2):
        reports = await after_a_crash(journal, master)
        assert reports.taken.get("boot") == taken


async def test_a_report_without_an_answer_is_settled_in_the_same_process() -> None:
    journal, master = Journal(), Master(boot="passed")
    reports = ReportedModules(master, journal)
    await reports.announce({"boot": PASSED})
    master.error = Unreachable("down")
    with pytest.raises(Unreachable):
        await reports.settle()
    master.error = None
    await reports.settle()
    await reports.settle()
    assert (reports.taken, master.asked) == ({"boot": PASSED}, 2)


async def test_nothing_is_known_of_a_job_that_was_restarted() -> None:
    journal, master = Journal(), Master(boot="passed", login="passed")
    reports = ReportedModules(master, journal)
    await reports.announce({"boot": PASSED, "login": PASSED})
    await reports.confirm({"boot": PASSED})
    reports.forget()
    await reports.settle()
    await reports.announce({})
    await reports.confirm({})
    assert (reports.taken, master.asked) == ({}, 0)
