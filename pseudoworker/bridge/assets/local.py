"""The `local` transport: the bridge writes the slave's factory directory itself."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TypeVar

from pseudoworker.bridge.assets.errors import AssetFailure, NoSpace, TransportRefused
from pseudoworker.bridge.assets.identity import digest
from pseudoworker.bridge.assets.names import Asset, refuse_twin
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.source import Source
from pseudoworker.bridge.assets.transport import Carried, Order
from pseudoworker.openqa.served import Served
from pseudoworker.openqa.threads import in_thread_to_end

T = TypeVar("T")

PIECE = 4_194_304
"""Bytes that are read before they are written; twice that is held."""
FORGOTTEN_AFTER = 7 * 86_400.0
"""Seconds after which parts of an asset that nobody goes on with are removed."""
_PREFIX, _SUFFIX = "pseudoworker-", ".part"

log = logging.getLogger(__name__)


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
        return await self._on_disk(partial(_unusable, self._directory))

    async def close(self) -> None:
        """Of Transport: nothing is kept open."""

    async def carry(self, order: Order) -> Carried:
        """Of Transport."""
        if self._directory is None:
            raise TransportRefused("factory_dir of [assets] is not set")
        final = self._directory / order.target.type / order.target.name
        parts = await self._on_disk(
            partial(_parts, self._directory, order.target, self._master.url, order.file)
        )
        descriptor = await self._on_disk(partial(_opened, parts, order.file.size))
        if descriptor is None:
            return await self._of_another(order, parts)
        try:
            await self._pour(order, descriptor)
            await self._on_disk(partial(_put_in_place, descriptor, parts, final))
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
            if not await self._on_disk(partial(_in_use, parts)):
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
                await self._on_disk(partial(_write, descriptor, piece))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await source.close()

    async def _on_disk(self, work: Callable[[], T]) -> T:
        try:
            return await in_thread_to_end(self._executor, work)
        except OSError as error:
            kind = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else AssetFailure
            raise kind(f"{self._directory}: {error.strerror or error}") from error


def _unusable(directory: Path) -> str | None:
    if not directory.is_dir():
        return f"factory_dir {directory} is no directory; is it mounted?"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"factory_dir {directory} can not be written by user {os.geteuid()}"
    return None


def _parts(directory: Path, target: Asset, url: str, file: Served) -> Path:
    """Where the parts of this version of the asset are collected: in the file system of its type's
    directory."""
    folder = directory / target.type
    if not folder.exists():
        folder.mkdir(mode=0o755)
        _adopt(folder, directory)
    with os.scandir(folder) as entries:
        refuse_twin(target, [entry.name for entry in entries if _alike(entry.name, target.name)])
    common = directory / "tmp"  # openQA's own, which no scan for assets looks into
    if not (os.access(common, os.W_OK) and os.stat(common).st_dev == os.stat(folder).st_dev):
        common = folder
    _remove_forgotten(common)
    return common / f"{_PREFIX}{digest(url, file)}-{digest(str(target), file)}{_SUFFIX}"


def _opened(parts: Path, size: int) -> int | None:
    """A descriptor of the parts, locked, at their end; None while another process has them.

    The last piece is taken back, since a crash of the machine may have left it half on the disk.
    """
    descriptor = os.open(parts, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not parts.exists() or os.stat(parts).st_ino != os.fstat(descriptor).st_ino:
            raise BlockingIOError  # just put in place by another process
        end = os.lseek(descriptor, 0, os.SEEK_END)
        os.ftruncate(descriptor, max(0, end - PIECE) if end <= size else 0)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _in_use(parts: Path) -> bool:
    try:
        descriptor = os.open(parts, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove_forgotten(folder: Path) -> None:
    """Remove parts that nobody went on with."""
    for parts in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        try:
            if time.time() - parts.lstat().st_mtime > FORGOTTEN_AFTER and not _in_use(parts):
                parts.unlink()
        except OSError as error:
            log.warning("Can not remove %s: %s", parts, error)


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def _put_in_place(descriptor: int, parts: Path, final: Path) -> None:
    os.fchmod(descriptor, 0o644)  # as create_asset leaves them
    _adopt(parts, final.parent)
    os.fsync(descriptor)
    os.replace(parts, final)
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _adopt(path: Path, folder: Path) -> None:
    """Give it the owner of the folder it lies in, so that the slave's cleanup may remove it; only root
    can."""
    if os.geteuid() == 0:
        status = os.stat(folder)
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)


def _alike(one: str, other: str) -> bool:
    return one != other and one.casefold() == other.casefold()
