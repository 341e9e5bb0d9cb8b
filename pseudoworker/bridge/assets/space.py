"""How much of our assets the slave may hold: the largest size, the quota, the free space."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pseudoworker.bridge.assets.errors import AssetFailure, NoSpace
from pseudoworker.bridge.assets.ledger import Ledger
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.sizes import shown_size
from pseudoworker.config.model import AssetPolicy

RECOUNT_AFTER = 60.0
"""Seconds that the count of our assets is taken for right before the slave is asked which of them still
exist."""
REFUSAL_HOLDS = 900.0
"""Seconds that a job's asset that did not fit keeps the slots broken at most; then another job may try."""


@dataclass(frozen=True)
class _Refusal:
    size: int
    until: float


@dataclass(frozen=True)
class _Full:
    reason: str
    until: float


class Space:
    """Admits transfers to the slave's factory directory.

    `directory` is that directory where the bridge can see it; without it the free space is unknown, and the
    slave itself says when its disk is full. `exists` asks the slave whether it still has an asset of ours.
    """

    def __init__(
        self,
        policy: AssetPolicy,
        ledger: Ledger,
        exists: Callable[[Asset], Awaitable[bool]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._exists = exists
        self._clock = clock
        self._coming = 0
        self._counted = -RECOUNT_AFTER
        self._refusal: _Refusal | None = None
        self._full: _Full | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def room_for(self, asset: Asset, size: int) -> AsyncIterator[None]:
        """Hold room for a transfer while it runs. Raises AssetFailure when it must not begin."""
        async with self._lock:
            if size > self._policy.max_size:
                raise AssetFailure(
                    f"{asset} has {shown_size(size)}, more than max_size of [assets] allows"
                    f" ({shown_size(self._policy.max_size)})"
                )
            reason = await self._too_much(size)
            if reason:
                self._refusal = _Refusal(size, self._clock() + REFUSAL_HOLDS)
                raise AssetFailure(f"{asset} ({shown_size(size)}) is not brought to the slave: {reason}")
            self._coming += size
        try:
            yield
            self._full = None
        except NoSpace as error:
            self._full = _Full(str(error), self._clock() + REFUSAL_HOLDS)
            raise
        finally:
            self._coming -= size

    async def problem(self) -> str | None:
        """Why no job with assets should be taken now, None when nothing is in the way."""
        if self._full and self._clock() < self._full.until:
            return self._full.reason
        async with self._lock:
            refusal = self._refusal
            if refusal and (self._clock() > refusal.until or self._never_fits(refusal.size)):
                refusal = self._refusal = None
            reason = await self._too_much(refusal.size if refusal else 0)
            if reason is None:
                self._refusal = None
            return reason

    async def _too_much(self, size: int) -> str | None:
        quota, directory = self._policy.quota, self._policy.factory_dir
        if quota:
            used = await self._used(size)
            if used + self._coming + size > quota:
                return (
                    f"the quota of {shown_size(quota)} for our assets is used up"
                    f" ({shown_size(used + self._coming)} lie there); raise quota of [assets] or remove some"
                )
        if directory is not None:
            free = await asyncio.to_thread(_free, directory)
            if free is not None and free - self._coming - size < self._policy.min_free:
                return (
                    f"only {shown_size(free)} are free in {directory}, of which min_free of [assets] keeps"
                    f" {shown_size(self._policy.min_free)}"
                )
        return None

    async def _used(self, size: int) -> int:
        copies = await self._ledger.moved()
        used = sum(copy.known.slave_size for copy in copies)
        if used + self._coming + size <= self._policy.quota or self._clock() - self._counted < RECOUNT_AFTER:
            return used
        self._counted = self._clock()
        for copy in copies:  # the slave's own cleanup may have made room
            if not await self._exists(copy.slave):
                await self._ledger.forget(copy.slave)
                used -= copy.known.slave_size
        return used

    def _never_fits(self, size: int) -> bool:
        return bool(self._policy.quota) and size > self._policy.quota


def _free(directory: Path) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None  # whoever writes there will say what is wrong
