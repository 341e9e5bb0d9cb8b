"""Repositories (`REPO_n`): directories, which openQA serves file by file and lists nowhere."""

from __future__ import annotations

from fnmatch import fnmatchcase

from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.bridge.assets.names import Needed
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.transport import Note
from pseudoworker.config.model import AssetPolicy


class Repos:
    """Checks that the slave has the repositories that a job names."""

    def __init__(self, policy: AssetPolicy, slave: Site) -> None:
        self._policy = policy
        self._slave = slave

    async def ensure(self, needed: Needed, note: Note) -> None:
        """Raise AssetFailure when the slave lacks it, or only tell so when `repos_required` is off."""
        if await self._slave.has(needed.asset):
            note(f"{needed.asset}: there already")
            return
        text = (
            f"Cannot find {needed.setting} asset {needed.asset}! The slave {self._slave.url} does not have it"
        )
        if not any(fnmatchcase(needed.asset.name, pattern) for pattern in self._policy.repos):
            text += ", and repos of [assets] does not allow to move it"
        else:
            text += ", and a repository can not be moved by this transport"
        if self._policy.repos_required:
            raise AssetFailure(text)
        note(text)
