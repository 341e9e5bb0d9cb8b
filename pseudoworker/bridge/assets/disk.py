"""What the `local` transport does in the slave's factory directory."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from pathlib import Path

from pseudoworker.bridge.assets.names import Asset, refuse_twin

FORGOTTEN_AFTER = 7 * 86_400.0
"""Seconds after which parts of an asset that nobody goes on with are removed."""
_PREFIX, _SUFFIX = "pseudoworker-", ".part"

log = logging.getLogger(__name__)


def unusable(directory: Path) -> str | None:
    """Why assets can not be put into this factory directory, None when they can."""
    if not directory.is_dir():
        return f"factory_dir {directory} is no directory; is it mounted?"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"factory_dir {directory} can not be written by user {os.geteuid()}"
    return None


def type_folder(directory: Path, target: Asset) -> Path:
    """The directory that the asset is to lie in. Raises UnsafeAsset when a twin lies there already."""
    folder = directory / target.type
    if not folder.exists():
        folder.mkdir(mode=0o755)
        adopt(folder, directory)
    with os.scandir(folder) as entries:
        refuse_twin(target, [entry.name for entry in entries if _alike(entry.name, target.name)])
    return folder


def workplace(directory: Path, folder: Path) -> Path:
    """Where unfinished files are kept: in the file system of `folder`, so that they can be put in place at
    once."""
    common = directory / "tmp"  # openQA's own, which no scan for assets looks into
    if os.access(common, os.W_OK) and os.stat(common).st_dev == os.stat(folder).st_dev:
        folder = common
    _remove_forgotten(folder)
    return folder


def parts_name(*what: str) -> str:
    """The name of a temporary file or directory for this version of this asset."""
    return f"{_PREFIX}{'-'.join(what)}{_SUFFIX}"


def open_parts(parts: Path, size: int, piece: int) -> int | None:
    """A descriptor of the parts, locked, at their end; None while another process has them.

    The last `piece` bytes are taken back, since a crash of the machine may have left them half on the disk.
    """
    descriptor = os.open(parts, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not parts.exists() or os.stat(parts).st_ino != os.fstat(descriptor).st_ino:
            raise BlockingIOError  # just put in place by another process
        end = os.lseek(descriptor, 0, os.SEEK_END)
        os.ftruncate(descriptor, max(0, end - piece) if end <= size else 0)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def in_use(parts: Path) -> bool:
    """Whether a process is at work on these parts, a file or a directory."""
    try:
        descriptor = os.open(parts, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
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
            if time.time() - parts.lstat().st_mtime > FORGOTTEN_AFTER and not in_use(parts):
                shutil.rmtree(parts) if parts.is_dir() else parts.unlink()
        except OSError as error:
            log.warning("Can not remove %s: %s", parts, error)


def write_all(descriptor: int, piece: bytes) -> None:
    """Write all of it where the descriptor is."""
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def put_in_place(descriptor: int, parts: Path, final: Path) -> None:
    """Give a finished file its name, mode and owner, for good."""
    os.fchmod(descriptor, 0o644)  # as create_asset leaves them
    if os.geteuid() == 0:
        status = os.stat(final.parent)
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fsync(descriptor)
    os.replace(parts, final)
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def adopt(path: Path, folder: Path) -> None:
    """Give it the owner of the folder it lies in, so that the slave's cleanup may remove it; only root
    can."""
    if os.geteuid() == 0:
        status = os.stat(folder)
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)


def _alike(one: str, other: str) -> bool:
    return one != other and one.casefold() == other.casefold()
