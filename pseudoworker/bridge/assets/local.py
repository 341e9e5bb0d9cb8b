"""The `local` transport: the bridge writes the slave's factory directory itself."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TypeVar

from pseudoworker.bridge.assets.disk import (
    in_use,
    open_parts,
    parts_name,
    put_in_place,
    type_folder,
    unusable,
    workplace,
    write_all,
)
from pseudoworker.bridge.assets.errors import AssetFailure, NoSpace, TransportRefused
from pseudoworker.bridge.assets.identity import digest
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.source import Source
from pseudoworker.bridge.assets.transport import Carried, Order
from pseudoworker.openqa.threads import in_thread_to_end

T = TypeVar("T")

PIECE = 4_194_304
"""Bytes that are read before they are written; twice that is held."""


class LocalTransport:
    """Streams an asset to a temporary file beside the slave's assets, gives it its name, and registers it.

    What a break left is gone on with, also after a restart: the temporary file's name tells which version of
    which asset it is a part of.
    """

    name = "local"

    def __init__(self, master: Site, slave: Site, directory: Path | None, executor: Executor) -> None:
        self._master = master
        self._slave = slave
        self._directory = directory
        self._executor = executor

    def unfit(self, _target: Asset) -> None:
        """Of Transport: any name will do."""

    async def problem(self) -> str | None:
        """Of Transport."""
        if self._directory is None:
            return "factory_dir of [assets] is not set"
        return await self._on_disk(partial(unusable, self._directory))

    async def close(self) -> None:
        """Of Transport: nothing is kept open."""

    async def carry(self, order: Order) -> Carried:
        """Of Transport."""
        if self._directory is None:
            raise TransportRefused("factory_dir of [assets] is not set")
        final = self._directory / order.target.type / order.target.name
        parts = await self._on_disk(partial(self._parts, self._directory, order))
        descriptor = await self._on_disk(partial(open_parts, parts, order.file.size, PIECE))
        if descriptor is None:
            return await self._of_another(order, parts)
        try:
            await self._pour(order, descriptor)
            await self._on_disk(partial(put_in_place, descriptor, parts, final))
        except AssetFailure:
            await self._on_disk(partial(parts.unlink, missing_ok=True))
            raise
        finally:
            await self._on_disk(partial(os.close, descriptor))
        if not await self._slave.has(order.target):
            await self._on_disk(partial(final.unlink, missing_ok=True))
            raise TransportRefused(f"{self._slave.url} does not see what is written to {self._directory}")
        return Carried(self.name)

    async def _of_another(self, order: Order, parts: Path) -> Carried:
        """Another process of this host is bringing the same: wait for it."""
        order.note(f"{order.target}: another process is bringing it already")
        while True:
            await asyncio.sleep(1)
            if not await self._on_disk(partial(in_use, parts)):
                break
        found = await self._slave.look(order.target)
        if found is None or found.size != order.file.size:
            return await self.carry(order)
        return Carried(f"{self.name}, by another process")

    async def _pour(self, order: Order, descriptor: int) -> None:
        start = os.lseek(descriptor, 0, os.SEEK_END)
        if start:
            order.note(f"{order.target}: going on after {start} of {order.file.size} bytes")
        source = Source(self._master, order.file, start=start)
        coming = asyncio.ensure_future(source.read(PIECE))
        try:
            while piece := await coming:
                coming = asyncio.ensure_future(source.read(PIECE))
                await self._on_disk(partial(write_all, descriptor, piece))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await source.close()

    def _parts(self, directory: Path, order: Order) -> Path:
        version = digest(self._master.url, order.file)
        name = parts_name(version, digest(str(order.target), order.file))
        return workplace(directory, type_folder(directory, order.target)) / name

    async def _on_disk(self, work: Callable[[], T]) -> T:
        try:
            return await in_thread_to_end(self._executor, work)
        except OSError as error:
            kind = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else AssetFailure
            raise kind(f"{self._directory}: {error.strerror or error}") from error
