"""One run of the same work for all who want it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    waiting: int = 0


class Flights(Generic[K, V]):
    """Work that is under way, by key. It is cancelled when nobody waits for it any more."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    def running(self, key: K) -> bool:
        """Whether somebody waits for this already."""
        return key in self._flights

    async def join(self, key: K, start: Callable[[], Awaitable[V]]) -> V:
        """The result, or the error, of the running work of this key; of `start()` when there is none."""
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.ensure_future(_awaited(start)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                flight.task.cancel()
                await asyncio.wait([flight.task])  # what it leaves must be left before anybody begins anew

    async def close(self) -> None:
        """Cancel all of it and wait until it has wound up."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: K, task: asyncio.Task[V]) -> None:
        del self._flights[key]
        if not task.cancelled():
            task.exception()  # looked at, though everybody may have left


async def _awaited(start: Callable[[], Awaitable[V]]) -> V:
    return await start()
