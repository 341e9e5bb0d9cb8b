"""Work that is not cut off when whoever waits for it is cancelled: what is on its way to the other side can
not be taken back, and nobody could tell whether it will arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Uncut:
    """Runs such work, and knows what is under way."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, which goes on if we are cancelled. An error that it ends with then is not told: ask
        the other side what became of it."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task})
        return task.result()

    async def arrival(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def cut_off(self) -> None:
        """Cancel what is under way after all, and wait for its end."""
        for task in self._under_way:
            task.cancel()
        await self.arrival()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # asyncio would complain of one that nobody waits for any more
