"""Copies a package repository of the master into the slave's factory directory, file by file."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from pseudoworker.bridge.assets.disk import adopt, parts_name, type_folder, workplace, write_all
from pseudoworker.bridge.assets.errors import AssetFailure, NoSpace
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.rpm_metadata import (
    BESIDE,
    REPOMD,
    RepoFile,
    parse_index,
    parse_packages,
)
from pseudoworker.bridge.assets.site import Site, asset_paths
from pseudoworker.bridge.assets.source import Source
from pseudoworker.bridge.assets.space import Space
from pseudoworker.master.assets import Digest
from pseudoworker.openqa.errors import NotFound
from pseudoworker.openqa.retry import READ
from pseudoworker.openqa.threads import in_thread_to_end

T = TypeVar("T")

AT_A_TIME = 4
"""Files that are copied at the same time."""
LARGEST_INDEX = 10_000_000
PIECE = 1_048_576


async def read_index(site: Site, repo: Asset) -> bytes | None:
    """The repository's repomd.xml, None when the instance serves none."""
    for path in asset_paths(repo):
        try:
            return await site.client.read(f"{path}/{REPOMD}", policy=READ, limit=LARGEST_INDEX)
        except NotFound:
            continue
    return None


class RepoCopier:
    """Writes to `directory`, the slave's factory directory."""

    def __init__(self, master: Site, directory: Path, executor: Executor, space: Space) -> None:
        self._master = master
        self._directory = directory
        self._executor = executor
        self._space = space

    async def copy(self, repo: Asset, target: Asset, repomd: bytes) -> int:
        """Copy the repository whose index this is; the number of bytes that it has.

        Every file is checked against the size and checksum that the repository's metadata give. The directory
        gets its name when all is there; what a break left is gone on with. Raises AssetFailure, OpenQAError.
        """
        base = await self._base(repo)
        version = hashlib.sha256(repomd).hexdigest()[:12]
        folder = await self._on_disk(partial(type_folder, self._directory, target))
        place = await self._on_disk(partial(workplace, self._directory, folder))
        parts = place / parts_name(version, hashlib.sha256(str(target).encode()).hexdigest()[:12])
        async with self._locked(parts):
            index = parse_index(repomd)
            for file in index.metadata:
                await self._fetch(base, parts, file)
            packages = await self._on_disk(partial(_packages, parts, index.primary))
            size = sum(file.size or 0 for file in (*index.metadata, *packages))
            async with self._space.room_for(target, size):
                await self._fetch_all(base, parts, packages)
                await self._fetch_beside(base, parts)
                if await read_index(self._master, repo) != repomd:
                    raise AssetFailure(f"{repo} changed on {self._master.url} while it was copied")
                await self._on_disk(partial(_put, parts / REPOMD, repomd))
                await self._on_disk(partial(_finish, parts, folder / target.name))
        return size

    async def _base(self, repo: Asset) -> str:
        for path in asset_paths(repo):
            if await self._master.look_at(f"{path}/{REPOMD}") is not None:
                return path
        raise AssetFailure(
            f"{repo} is no repository of packages: {self._master.url} serves no {REPOMD} of it"
        )

    async def _fetch_all(self, base: str, parts: Path, files: list[RepoFile]) -> None:
        waiting = iter(files)

        async def work() -> None:
            for file in waiting:
                await self._fetch(base, parts, file)

        workers = [asyncio.ensure_future(work()) for _ in range(AT_A_TIME)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _fetch_beside(self, base: str, parts: Path) -> None:
        for path in BESIDE:
            if await self._master.look_at(f"{base}/{path}") is not None:
                await self._fetch(base, parts, RepoFile(path))

    async def _fetch(self, base: str, parts: Path, file: RepoFile) -> None:
        path = parts / file.path
        if await self._on_disk(partial(_is_whole, path, file)):
            return
        served = await self._master.look_at(f"{base}/{file.path}")
        if served is None or (file.size is not None and served.size != file.size):
            size = "nothing" if served is None else f"{served.size} bytes"
            raise AssetFailure(
                f"{self._master.url} serves {size} as {file.path} instead of {file.size} bytes"
            )
        source = Source(self._master, served)
        checksum = hashlib.new(file.checksum[0], usedforsecurity=False) if file.checksum else None
        part = path.with_name(f".{path.name[-200:]}.part")
        descriptor = await self._on_disk(partial(_create, part))
        try:
            while piece := await source.read(PIECE):
                await self._on_disk(partial(_write, descriptor, piece, checksum))
        finally:
            await source.close()
            await self._on_disk(partial(os.close, descriptor))
        if file.checksum and checksum and checksum.hexdigest() != file.checksum[1]:
            raise AssetFailure(
                f"{file.path} of {self._master.url} has another checksum than its metadata say"
            )
        await self._on_disk(partial(os.replace, part, path))

    @asynccontextmanager
    async def _locked(self, parts: Path) -> AsyncIterator[None]:
        """Have these parts for us alone; another process of this host may be copying the same."""
        while True:
            descriptor = await self._on_disk(partial(_lock, parts))
            if descriptor is not None:
                break
            await asyncio.sleep(1)
        try:
            yield
        finally:
            await self._on_disk(partial(os.close, descriptor))

    async def _on_disk(self, work: Callable[[], T]) -> T:
        try:
            return await in_thread_to_end(self._executor, work)
        except OSError as error:
            kind = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else AssetFailure
            raise kind(f"{self._directory}: {error.strerror or error}") from error


def _packages(parts: Path, primary: RepoFile) -> list[RepoFile]:
    def blocks() -> Iterator[bytes]:
        with (parts / primary.path).open("rb") as file:
            while block := file.read(PIECE):
                yield block

    return list(parse_packages(blocks(), primary.path))


def _is_whole(path: Path, file: RepoFile) -> bool:
    """Whether an earlier try brought it."""
    if file.checksum is None or not path.is_file() or path.stat().st_size != file.size:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, file.checksum[0]).hexdigest() == file.checksum[1]


def _create(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def _write(descriptor: int, piece: bytes, checksum: Digest | None) -> None:
    write_all(descriptor, piece)
    if checksum is not None:
        checksum.update(piece)


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _lock(parts: Path) -> int | None:
    parts.mkdir(mode=0o755, exist_ok=True)
    descriptor = os.open(parts, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if parts.exists() and os.stat(parts).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except BlockingIOError:
        pass  # another process has it
    os.close(descriptor)
    return None


def _finish(parts: Path, final: Path) -> None:
    for directory, _, files in os.walk(parts):
        for path in (Path(directory), *(Path(directory, name) for name in files)):
            adopt(path, final.parent)
    os.rename(parts, final)
