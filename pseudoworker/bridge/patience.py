"""Waiting out an outage: a call is repeated, past the short retries of its own policy, until it gets
through."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pseudoworker.openqa.errors import Busy, OpenQAError, ServerFailed, Unauthorized, Unreachable

T = TypeVar("T")

OUTAGE = (Unreachable, Busy, Unauthorized)
"""Errors that say nothing about the call itself. A refused key passes too: an administrator mends it, and
the job need not be lost for that."""


@dataclass(frozen=True)
class Patience:
    """How long an outage is waited out, in seconds, and who is told."""

    limit: float
    logger: logging.LoggerAdapter[logging.Logger]
    first: float = 1.0
    longest: float = 30.0
    passing: tuple[type[OpenQAError], ...] = (*OUTAGE, ServerFailed)
    """Errors that are waited out."""

    async def until_done(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()` until it succeeds; raises its last error when that took longer than the limit, and
        at once when the error will not pass."""
        began = time.monotonic()
        pause = self.first
        while True:
            try:
                return await call()
            except self.passing as error:
                if time.monotonic() - began > self.limit:
                    raise
                self._tell(error, pause)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, self.longest)

    def _tell(self, error: OpenQAError, pause: float) -> None:
        level = logging.WARNING if pause == self.first else logging.DEBUG
        self.logger.log(level, "Waiting for it to pass: %s", error)
