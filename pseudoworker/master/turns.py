"""When the slots of one process may come to the master: one after the other at the start, and also when an
outage has cut all of them off at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

_JITTER = 0.5
"""Share by which the distance to the turn before may differ, so that two processes do not march in step."""


class Turns:
    """Turns for all links of one process, `rate` a second at most.

    A link takes a turn before it registers. After a failure it pauses for longer and longer; but what one of
    them finds out is true for all: as soon as one is connected again, the pauses of the others end, and they
    take their turns."""

    def __init__(self, rate: float, *, jitter: Callable[[], float] = random.random) -> None:
        self._distance = 1 / rate
        self._jitter = jitter
        self._next = 0.0
        """When the next turn comes, by the clock of the loop."""
        self._back = asyncio.Event()
        """Set, and replaced, when the master can be reached again."""
        self._away = False

    async def turn(self) -> None:
        """Wait for a turn."""
        now = asyncio.get_running_loop().time()
        mine = max(now, self._next)
        self._next = mine + self._distance * (1 + _JITTER * (2 * self._jitter() - 1))
        await asyncio.sleep(mine - now)

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until another link has reached the master again."""
        self._away = True
        try:
            async with asyncio.timeout(seconds):
                await self._back.wait()
        except TimeoutError:
            pass  # nobody has

    def reached(self) -> None:
        """A link is connected."""
        if self._away:
            self._away = False
            self._back.set()
            self._back = asyncio.Event()
