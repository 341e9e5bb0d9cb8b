"""Makes one asset of the master lie on the slave, under whatever name is free for it there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pseudoworker.bridge.assets.errors import AssetChanged, AssetFailure, TransportRefused
from pseudoworker.bridge.assets.flights import Flights
from pseudoworker.bridge.assets.identity import Known, Verdict, digest, judge, probe_offsets
from pseudoworker.bridge.assets.ledger import Copy, Ledger
from pseudoworker.bridge.assets.names import Asset, Needed, paired_name, split_private, versioned_name
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.sizes import shown_size
from pseudoworker.bridge.assets.space import Space
from pseudoworker.bridge.assets.transport import Carried, Note, Order, Release, Transport
from pseudoworker.openqa.served import Served

Pairing = Callable[[int], Awaitable[int | None]]
"""The slave job that ran a job of the master, None where there is none."""
MOST_CHANGES = 3
"""Times that an asset may change on the master while it is being moved."""
MOST_TRANSFERS = 4
"""Assets that are moved at the same time."""


@dataclass(frozen=True)
class Placed:
    """One asset, as it lies on the slave."""

    asset: Asset
    """What it is called there."""
    how: str
    moved: int = 0
    """Bytes that were moved for the one who asked."""
    release: Release | None = None
    """To be called when a job of the slave names it."""


class Placer:
    """Two jobs that need the same asset wait for one transfer.

    `transports` are tried in this order; `pairing` tells the slave job that ran a job of the master.
    """

    def __init__(
        self,
        master: Site,
        slave: Site,
        transports: Sequence[Transport],
        *,
        ledger: Ledger,
        space: Space,
        pairing: Pairing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transports = tuple(transports)
        self._master = master
        self._slave = slave
        self._ledger = ledger
        self._space = space
        self._pairing = pairing
        self._clock = clock
        self._flights: Flights[Asset, Placed] = Flights()
        self._permits = asyncio.Semaphore(MOST_TRANSFERS)

    async def place(self, needed: Needed, file: Served, note: Note) -> Placed:
        """Make it lie on the slave. `file` is what the master serves. Raises AssetFailure and OpenQAError."""
        placed = await self._there(needed, file, note)
        if isinstance(placed, Placed):
            note(f"{needed.asset}: {placed.how}, {shown_size(file.size)}")
            return placed
        if self._flights.running(needed.asset):
            note(f"{needed.asset}: another job waits for it already")
            return replace(
                await self._flights.join(needed.asset, partial(self._bring, needed, file, note)), moved=0
            )
        return await self._flights.join(needed.asset, partial(self._bring, needed, file, note))

    async def close(self) -> None:
        """End running transfers; what came so far is kept where it can be gone on with."""
        await self._flights.close()

    async def _there(self, needed: Needed, file: Served, note: Note) -> Placed | Asset:
        """Where it lies already, or what it can be called."""
        asset = needed.asset
        product = await self._product(asset)
        if product is not None:
            found = await self._slave.look(product)
            if found is not None and found.size == file.size:
                await self._remember(asset, file, product, found, moved=False)
                return Placed(product, f"there as {product}, which the paired job produced")
        for target in (asset, versioned_name(asset, digest(self._master.url, file))):
            found = await self._slave.look(target)
            verdict = judge(file, found, await self._ledger.known(asset, target))
            if verdict is Verdict.DOUBTFUL and found is not None:
                verdict = Verdict.SAME if await self._alike(file, found) else Verdict.OTHER
            if verdict is Verdict.ABSENT or found is None:
                return target
            if verdict is Verdict.SAME:
                await self._remember(asset, file, target, found, moved=False)
                return Placed(target, "there already" if target == asset else f"there already as {target}")
            note(f"{asset}: the slave has another file as {target} ({shown_size(found.size)})")
        raise AssetFailure(
            f"Cannot find {needed.setting} asset {asset}! All names for it are taken on {self._slave.url}"
        )

    async def _product(self, asset: Asset) -> Asset | None:
        """What the slave calls a private asset that a paired job of its own produced."""
        parts = split_private(asset.name)
        job_id = await self._pairing(parts[0]) if parts else None
        return None if job_id is None else paired_name(asset, job_id)

    async def _bring(self, needed: Needed, file: Served, note: Note) -> Placed:
        """Move it; by now it may be there, or changed on the master."""
        async with self._permits:
            for _ in range(MOST_CHANGES):
                target = await self._there(needed, file, note)
                if isinstance(target, Placed):
                    return target
                try:
                    return await self._move(needed, file, target, note)
                except AssetChanged as error:
                    note(f"{needed.asset}: {error}; once more")
                    now = await self._master.look(needed.asset)
                    if now is None:
                        raise missing(needed, self._master, "master") from error
                    file = now
        raise AssetFailure(
            f"Failed to download {needed.asset}: it changes on {self._master.url} all the time"
        )

    async def _move(self, needed: Needed, file: Served, target: Asset, note: Note) -> Placed:
        order = Order(needed.setting, file, target, note)
        async with self._space.room_for(target, file.size):
            began = self._clock()
            carried = await self._carry(needed, order)
            seconds = max(self._clock() - began, 0.001)
            try:
                found = await self._slave.look(target)
                if found is None or found.size != file.size:
                    raise AssetFailure(
                        f"Failed to download {needed.asset} to {self._slave.url}: by {carried.how}"
                        f" {found.size if found else 0} of {file.size} bytes arrived"
                    )
                await self._remember(needed.asset, file, target, found, moved=True)
            except BaseException:
                if carried.release is not None:
                    await asyncio.shield(carried.release())
                raise
        speed = shown_size(int(file.size / seconds))
        called = "" if target == needed.asset else f" as {target}"
        note(
            f"{needed.asset}: {shown_size(file.size)} brought to the slave{called}"
            f" by {carried.how} in {seconds:.1f} s ({speed}/s)"
        )
        return Placed(target, carried.how, file.size, carried.release)

    async def _carry(self, needed: Needed, order: Order) -> Carried:
        if not self.transports:
            raise missing(needed, self._slave, "slave")
        reasons = []
        for transport in self.transports:
            reason = transport.unfit(order.target) or await transport.problem()
            if reason is None:
                try:
                    return await transport.carry(order)
                except TransportRefused as error:
                    reason = str(error)
            reasons.append(f"{transport.name}: {reason}")
        raise AssetFailure(f"Failed to download {needed.asset} to {self._slave.url} ({'; '.join(reasons)})")

    async def _alike(self, file: Served, found: Served) -> bool:
        """Whether some blocks of both files are the same."""
        for start, end in probe_offsets(file.size):
            blocks = await asyncio.gather(
                self._master.block(file, start, end), self._slave.block(found, start, end)
            )
            if blocks[0] != blocks[1]:
                return False
        return True

    async def _remember(
        self, asset: Asset, file: Served, target: Asset, found: Served, *, moved: bool
    ) -> None:
        known = Known(file.size, file.version, found.size, found.version)
        await self._ledger.remember(Copy(asset, target, known, moved))


def missing(needed: Needed, site: Site, side: str) -> AssetFailure:
    """As openQA's worker words it (Worker/Engines/isotovideo.pm, locate_local_assets), with what it can not
    know."""
    return AssetFailure(
        f"Cannot find {needed.setting} asset {needed.asset}! The {side} {site.url} does not have it"
    )
