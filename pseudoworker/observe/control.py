"""The local socket by which `pseudoworker status` asks a running process. Only its own user and root may.

One connection is one question and one answer: the client sends the word `status` and a line feed, the server
answers the snapshot as one JSON document and closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

from pseudoworker.errors import PseudoworkerError
from pseudoworker.observe.snapshot import ProcessSnapshot, from_json, to_json

_log = logging.getLogger(__name__)

_QUESTION = b"status\n"
_PATIENCE = 5.0
"""Seconds for one question and its answer."""
_LARGEST_ANSWER = 16_000_000
"""Bytes; 500 slots with a job each are about 300 kB."""


class ControlError(PseudoworkerError):
    """The socket cannot be made, or whoever is behind it does not answer as a pseudoworker does."""


class NotRunning(ControlError):
    """Nobody listens on the socket."""


class NotAllowed(ControlError):
    """The socket may be opened by the service's user and root only."""


def socket_path(directory: Path, instances: Iterable[int]) -> Path:
    """Where the process of these slots listens: named for its lowest slot, as no slot has two processes."""
    return directory / f"control-{min(instances)}.sock"


def find_sockets(directories: Iterable[Path]) -> list[Path]:
    """The sockets of all processes in these directories, in the order of their slots.

    Raises NotAllowed when a directory must not be read.
    """
    found: dict[Path, int] = {}
    for directory in directories:
        try:
            entries = list(directory.iterdir())
        except PermissionError:
            raise NotAllowed(f"{directory} may not be read; ask as the service's user or root") from None
        except OSError:
            continue  # no such directory: no process keeps its state there
        for entry in entries:
            number = entry.name.removeprefix("control-").removesuffix(".sock")
            if entry.name == f"control-{number}.sock" and number.isdigit():
                found[entry.resolve()] = int(number)
    return sorted(found, key=lambda path: (found[path], path))


@contextlib.asynccontextmanager
async def serve_control(path: Path, snapshot: Callable[[], ProcessSnapshot]) -> AsyncIterator[None]:
    """Answer questions at `path` for as long as the context lasts; the socket has mode 0600.

    A socket that a killed process left behind is replaced: call this only when sure to be the one owner of
    the slots. Raises ControlError when the socket cannot be made.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await _answer(reader, writer, snapshot)
        except (TimeoutError, OSError) as error:
            _log.debug("A question on %s was given up: %s", path, error or "time is over")
        finally:
            writer.close()

    # The short name is the socket's address: asyncio looks at what lies there (3.13), so it must not become
    # another file's while the socket is in use.
    with contextlib.ExitStack() as stack:
        try:
            listener = _listen(path, stack.enter_context(_short(path.parent)))
        except OSError as error:
            raise ControlError(f"cannot make the control socket {path}: {error.strerror or error}") from None
        identity = _inode(path)
        server = await asyncio.start_unix_server(answer, sock=listener, limit=len(_QUESTION) * 4)
        try:
            yield
        finally:
            server.close()
            if _inode(path) == identity:  # else it is gone already, or a successor's
                _remove(path)


def ask(path: Path) -> ProcessSnapshot:
    """Ask the process at this socket how it is. Blocking, for 5 seconds at most.

    Raises NotRunning, NotAllowed, ControlError, or SnapshotError for an answer of another release.
    """
    try:
        answer = _exchange(path)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(
            f"no process answers on {path}; start the service or name other --instance"
        ) from None
    except PermissionError:
        raise NotAllowed(f"{path} may not be opened; ask as the service's user or root") from None
    except TimeoutError:
        raise ControlError(f"{path}: no answer within {_PATIENCE:.0f} s; the process hangs") from None
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}") from None
    try:
        document = json.loads(answer)
    except ValueError:
        raise ControlError(f"{path}: the answer is no JSON") from None
    return from_json(document)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, snapshot: Callable[[], ProcessSnapshot]
) -> None:
    uid = _peer_uid(writer.get_extra_info("socket"))
    if uid not in (0, os.geteuid()):
        _log.warning("User %s asked on the control socket and got no answer", uid)
        return
    question = await reader.read(len(_QUESTION))
    while len(question) < len(_QUESTION) and not reader.at_eof():
        question += await reader.read(len(_QUESTION) - len(question))
    if question != _QUESTION:
        return
    writer.write(json.dumps(to_json(snapshot())).encode())
    await writer.drain()


def _peer_uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return int(uid)


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[Path]:
    """A short name of a directory, for this process and this context only: a Unix socket's address has 107
    bytes (unix(7)), and a path may have more."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _listen(path: Path, directory: Path) -> socket.socket:
    """A listening socket at `path`, bound by way of its directory's short name."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # bind() makes the socket with the umask's mode: it is made where nobody else can enter, and moved
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".control-") as private:
            temporary = Path(private, "s")
            listener.bind(str(directory / temporary.parent.name / temporary.name))
            temporary.chmod(stat.S_IRUSR | stat.S_IWUSR)
            listener.listen(8)
            temporary.replace(path)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        _log.debug("%s could not be removed: %s", path, error)


def _exchange(path: Path) -> bytes:
    answer = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PATIENCE)
        with _short(path.parent) as directory:
            connection.connect(str(directory / path.name))
        connection.sendall(_QUESTION)
        while part := connection.recv(65536):
            answer += part
            if len(answer) > _LARGEST_ANSWER:
                raise OSError(f"the answer is larger than {_LARGEST_ANSWER} bytes")
    return bytes(answer)
