"""Repositories (`REPO_n`): directories, which openQA serves file by file and lists nowhere."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from functools import partial

from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.bridge.assets.flights import Flights
from pseudoworker.bridge.assets.identity import Known
from pseudoworker.bridge.assets.ledger import Copy, Ledger
from pseudoworker.bridge.assets.names import Asset, Needed, versioned_name
from pseudoworker.bridge.assets.repo_copy import RepoCopier, read_index
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.sizes import shown_size
from pseudoworker.bridge.assets.transport import Note
from pseudoworker.config.model import AssetPolicy


class Repos:
    """Makes sure that the slave has the repositories that a job names.

    `copier` copies those whose names `repos` of [assets] allows; None where no transport can.
    """

    def __init__(
        self, policy: AssetPolicy, master: Site, slave: Site, ledger: Ledger, copier: RepoCopier | None
    ) -> None:
        self._policy = policy
        self._master = master
        self._slave = slave
        self._ledger = ledger
        self._copier = copier
        self._flights: Flights[Asset, None] = Flights()

    async def ensure(self, needed: Needed, note: Note) -> Asset:
        """The repository as it is called on the slave.

        Raises AssetFailure when the slave does not have it and it can not or must not be copied; with
        `repos_required` off it is only told.
        """
        try:
            return await self._ensure(needed, note)
        except AssetFailure as error:
            if self._policy.repos_required:
                raise
            note(f"{error}; going on without it, as repos_required of [assets] says")
            return needed.asset

    async def close(self) -> None:
        """End running copies."""
        await self._flights.close()

    async def _ensure(self, needed: Needed, note: Note) -> Asset:
        repo = needed.asset
        missing = f"Cannot find {needed.setting} asset {repo}! The slave {self._slave.url}"
        index = await read_index(self._master, repo)
        target = repo
        if await self._slave.has(repo):
            if index is None or await read_index(self._slave, repo) in (index, None):
                note(f"{repo}: there already")
                return repo
            missing += " has another one of that name"
            target = versioned_name(repo, hashlib.sha256(index).hexdigest()[:12])
            if await self._slave.has(target):
                note(f"{repo}: there already as {target}")
                return target
        else:
            missing += " does not have it"
        if not any(fnmatchcase(repo.name, pattern) for pattern in self._policy.repos):
            raise AssetFailure(f"{missing}, and repos of [assets] does not allow to move it")
        if self._copier is None:
            raise AssetFailure(f"{missing}, and only transport local can move repositories")
        if index is None:
            raise AssetFailure(f"{missing}, and it can not be copied: the master serves no repomd.xml of it")
        await self._flights.join(repo, partial(self._copy, self._copier, repo, target, index, note))
        if not await self._slave.has(target):
            raise AssetFailure(f"{missing}, nor see what is written to factory_dir of [assets]")
        return target

    async def _copy(self, copier: RepoCopier, repo: Asset, target: Asset, index: bytes, note: Note) -> None:
        size = await copier.copy(repo, target, index)
        version = hashlib.sha256(index).hexdigest()
        await self._ledger.remember(Copy(repo, target, Known(size, version, size, ""), moved=True))
        note(f"{repo}: {shown_size(size)} copied to the slave as {target}")
