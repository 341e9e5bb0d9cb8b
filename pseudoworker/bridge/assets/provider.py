"""Brings to the slave what a job of the master needs, once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from pseudoworker.bridge.assets.names import Asset, Needed, needed_assets
from pseudoworker.bridge.assets.placing import Placed, Placer, missing
from pseudoworker.bridge.assets.repos import Repos
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.space import Space
from pseudoworker.bridge.assets.transport import Note, Release
from pseudoworker.openqa.messages import Grabbed
from pseudoworker.openqa.served import Served
from pseudoworker.slave.assets import HelperJobs

RECHECK_AFTER = 60.0
"""Seconds of transfers after which what lay on the slave already is looked at again: its cleanup may have
come by."""


@dataclass
class Held:
    """What keeps provided assets on the slave until the slave job does."""

    releases: list[Release] = field(default_factory=list)

    async def release(self) -> None:
        """To be called once the slave job exists, or will never; again is harmless. Never raises."""
        releases, self.releases = self.releases, []
        await asyncio.gather(*(release() for release in releases))


@dataclass(frozen=True)
class Provided:
    """All that a job needs lies on the slave."""

    settings: Mapping[str, str]
    """Changes to the job's settings: assets that are called otherwise on the slave."""
    transports: Mapping[str, str]
    """How each asset (`hdd/disk.qcow2`) came to be there."""
    moved: int
    """Bytes that were moved for this job."""
    held: Held


def _untold(_line: str) -> None:
    """For what was told before."""


class AssetProvider:
    """One for all slots of a process."""

    def __init__(
        self,
        master: Site,
        placer: Placer,
        *,
        space: Space,
        repos: Repos,
        helpers: HelperJobs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._master = master
        self._placer = placer
        self._space = space
        self._repos = repos
        self._helpers = helpers
        self._clock = clock

    async def provide(
        self, job: Grabbed, note: Note, *, coming: Collection[Asset] | None = None, hold: bool = False
    ) -> Provided:
        """Bring everything that the job's settings name to the slave.

        `note` gets a line for the job's story about each asset. `coming` is None for a job on its own; for
        one that follows others directly, it is what those announce to publish (`promised_assets`): that is
        not moved, and what the master lacks is left to the slave, where they may still upload it. With `hold`
        a helper job keeps all of it on the slave, for callers that will take a while to create the slave job.
        Nothing is moved before all is known to exist on the master.

        Raises AssetFailure, which is final, and OpenQAError for an outage: call again, it goes on where it
        stopped.
        """
        await self._helpers.tidy()
        needed = [each for each in needed_assets(job.settings) if each.asset not in (coming or ())]
        repos = [each for each in needed if each.asset.type == "repo"]
        files = {each: file for each in needed if (file := await self._find(each, coming, note)) is not None}
        held = Held()
        try:
            names = {each: await self._repos.ensure(each, note) for each in repos}
            placed = await self._place_all(files, note, held)
            names |= {each: place.asset for each, place in placed.items()}
            if hold and names:
                settings = {each.setting: asset.name for each, asset in names.items()}
                held.releases.append(partial(self._helpers.finish, await self._helpers.post(settings)))
        except BaseException:
            await asyncio.shield(held.release())
            raise
        changed = {each.setting: asset.name for each, asset in names.items() if asset != each.asset}
        transports = {str(each.asset): place.how for each, place in placed.items()}
        return Provided(changed, transports, sum(place.moved for place in placed.values()), held)

    async def problem(self) -> str | None:
        """Why slots should look broken now: no room, or no way to move anything. None when all is well."""
        reason = await self._space.problem()
        transports = self._placer.transports
        if reason or not transports:
            return reason
        reasons = [(transport.name, await transport.problem()) for transport in transports]
        if all(reason for _, reason in reasons):
            return "no asset can be moved: " + "; ".join(f"{name}: {reason}" for name, reason in reasons)
        return None

    async def close(self) -> None:
        """End running transfers; what came so far is kept where it can be gone on with."""
        await self._placer.close()
        await self._repos.close()
        for transport in self._placer.transports:
            await transport.close()

    async def _find(self, needed: Needed, coming: Collection[Asset] | None, note: Note) -> Served | None:
        """The asset on the master; None for one that the job can do without, or that is no file."""
        if needed.asset.type == "repo":
            return None
        file = await self._master.look(needed.asset)
        if file is None:
            failure = missing(needed, self._master, "master")
            if needed.required and coming is None:
                raise failure
            note(str(failure))
        return file

    async def _place_all(
        self, files: Mapping[Needed, Served], note: Note, held: Held
    ) -> dict[Needed, Placed]:
        began = self._clock()
        placed = await self._placed(files, note, held)
        while self._clock() - began > RECHECK_AFTER:
            began = self._clock()
            there = {each: file for each, file in files.items() if not placed[each].moved}
            placed |= await self._placed(there, _untold, held)
        return placed

    async def _placed(self, files: Mapping[Needed, Served], note: Note, held: Held) -> dict[Needed, Placed]:
        """Place all at the same time; the first failure ends the others."""
        tasks = {
            each: asyncio.ensure_future(self._placer.place(each, file, note)) for each, file in files.items()
        }
        try:
            placed = dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
        finally:
            for task in tasks.values():
                task.cancel()
            results = await asyncio.gather(*tasks.values(), return_exceptions=True)
            done = [result for result in results if isinstance(result, Placed)]
            held.releases += [place.release for place in done if place.release is not None]
        return placed
