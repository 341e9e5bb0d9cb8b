"""One transfer for all who want it."""

from __future__ import annotations

import asyncio

import pytest

from pseudoworker.bridge.assets.flights import Flights


class Work:
    """Something that takes until it is told to end."""

    def __init__(self) -> None:
        self.started = 0
        self.wound_up = 0
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.started += 1
        self.begun.set()
        try:
            await self.gate.wait()
        finally:
            self.wound_up += 1
        if self.error:
            raise self.error
        return self.started


async def joined(flights: Flights[str, int], work: Work, count: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(flights.join("a", work)) for _ in range(count)]
    await work.begun.wait()
    await asyncio.sleep(0)  # the others join in the same turn
    return tasks


async def test_all_get_the_one_result() -> None:
    flights, work = Flights[str, int](), Work()
    tasks = await joined(flights, work, 3)
    assert flights.running("a")
    work.gate.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert not flights.running("a")
    assert await flights.join("a", work) == 2


async def test_all_get_the_one_error() -> None:
    flights, work = Flights[str, int](), Work()
    tasks = await joined(flights, work, 2)
    work.error = ValueError("no")
    work.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError]


async def test_it_goes_on_while_somebody_waits_and_ends_with_the_last() -> None:
    flights, work = Flights[str, int](), Work()
    first, second = await joined(flights, work, 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert flights.running("a")
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not flights.running("a")
    assert (work.started, work.wound_up) == (1, 1)


async def test_closing_ends_what_runs() -> None:
    flights, work = Flights[str, int](), Work()
    (task,) = await joined(flights, work, 1)
    await flights.close()
    assert work.wound_up == 1
    with pytest.raises(asyncio.CancelledError):
        await task
