"""A job that the master ended for a relative's sake is left to the slave for a while."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pseudoworker.bridge import yielding as module
from pseudoworker.bridge.yielding import yield_to_relatives
from pseudoworker.master.job import LeaseLost
from pseudoworker.openqa.errors import Unreachable
from pseudoworker.openqa.views import JobView


class Side:
    """Says one result after the other, the last one for ever."""

    def __init__(self, *results: str | Exception) -> None:
        self.results: Sequence[str | Exception] = results
        self.looks = 0

    async def look(self) -> JobView:
        result = self.results[min(self.looks, len(self.results) - 1)]
        self.looks += 1
        if isinstance(result, Exception):
            raise result
        return JobView(7, "x", "running", result)


@pytest.mark.parametrize(
    ("master", "slave", "looks"),
    [
        (Side("user_cancelled"), Side("none"), 0),
        (Side("parallel_failed"), Side("none", "none", "parallel_failed"), 3),
        (Side("skipped"), Side("skipped"), 1),
        (Side(Unreachable("down")), Side("none"), 0),
        (Side(LeaseLost(7, "gone")), Side("none"), 0),
        (Side("parallel_failed"), Side(Unreachable("down")), 1),
    ],
)
async def test_how_often_the_slave_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, master: Side, slave: Side, looks: int
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)
    await yield_to_relatives(master.look, slave.look)
    assert slave.looks == looks


async def test_a_slave_that_does_not_end_it_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)
    monkeypatch.setattr(module, "LIMIT", 0.05)
    slave = Side("none")
    await yield_to_relatives(Side("parallel_failed").look, slave.look)
    assert slave.looks > 1
