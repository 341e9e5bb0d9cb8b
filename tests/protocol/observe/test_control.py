import asyncio
import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pseudoworker.observe import control
from pseudoworker.observe.control import (
    ControlError,
    NotAllowed,
    NotRunning,
    ask,
    find_sockets,
    serve_control,
    socket_path,
)
from pseudoworker.observe.snapshot import ProcessSnapshot, SlotSnapshot, SnapshotError

SNAPSHOT = ProcessSnapshot(
    7,
    1.0,
    "0.1",
    "http://m",
    "http://s",
    tuple(SlotSnapshot(number, number, "free") for number in range(1, 501)),
)


_ASK_AS_NOBODY = """
import os, socket, sys
os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
try:
    connection.sendall(b"status\\n")
    print(connection.recv(99) or "nothing")
except (BrokenPipeError, ConnectionResetError):  # closed before it was sent or read
    print("nothing")
"""


async def test_a_question_is_answered_with_the_snapshot_of_now(tmp_path: Path) -> None:
    path = socket_path(tmp_path, (3, 1, 2))
    now = SNAPSHOT
    async with serve_control(path, lambda: now):
        assert await asyncio.to_thread(ask, path) == SNAPSHOT
        now = ProcessSnapshot(8, 1.0, "0.1", "http://m", "http://s")
        assert (await asyncio.to_thread(ask, path)).pid == 8
    assert path.name == "control-1.sock"
    assert os.listdir(tmp_path) == []


async def test_only_the_owner_can_open_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "control-1.sock"
    old = os.umask(0)
    try:
        async with serve_control(path, lambda: SNAPSHOT):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_ISSOCK(path.stat().st_mode)
    finally:
        os.umask(old)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_another_user_gets_no_answer_even_when_the_file_mode_lets_him(tmp_path: Path) -> None:
    path = tmp_path / "control-1.sock"
    for directory in (tmp_path, *tmp_path.parents):
        if not directory.stat().st_mode & stat.S_IXOTH:
            directory.chmod(0o755)
    async with serve_control(path, lambda: SNAPSHOT):
        path.chmod(0o666)
        asked = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _ASK_AS_NOBODY, str(path), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asked.communicate()
        assert asked.returncode == 0
        assert output == b"nothing\n"


async def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control-1.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with pytest.raises(NotRunning, match=r"no process answers on .*control-1.sock; start the service"):
        ask(path)
    async with serve_control(path, lambda: SNAPSHOT):
        assert (await asyncio.to_thread(ask, path)).pid == 7


async def test_a_successors_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control-1.sock"
    async with serve_control(path, lambda: SNAPSHOT):
        path.unlink()
        path.write_text("a successor's")
    assert path.read_text() == "a successor's"


async def test_a_path_may_be_longer_than_a_sockets_address(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    path = socket_path(directory, (1,))
    async with serve_control(path, lambda: SNAPSHOT):
        assert (await asyncio.to_thread(ask, path)).pid == 7
    assert os.listdir(directory) == []


async def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"cannot make the control socket .*No such file"):
        async with serve_control(tmp_path / "none" / "control-1.sock", lambda: SNAPSHOT):
            pass


@pytest.mark.parametrize("question", [b"", b"stat", b"status", b"reboot\n", b"x" * 1000])
async def test_any_other_question_gets_no_answer_and_harms_nobody(tmp_path: Path, question: bytes) -> None:
    path = tmp_path / "control-1.sock"
    async with serve_control(path, lambda: SNAPSHOT):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(question)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert (await asyncio.to_thread(ask, path)).pid == 7


async def test_a_client_that_says_nothing_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_PATIENCE", 0.05)
    path = tmp_path / "control-1.sock"
    async with serve_control(path, lambda: SNAPSHOT):
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


def _serve_once(path: Path, answer: bytes) -> Callable[[], None]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            connection.recv(100)
            connection.sendall(answer)

    return serve


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"", ControlError, "the answer is no JSON"),
        (b"<html>", ControlError, "the answer is no JSON"),
        (b"[]", SnapshotError, "the answer is no JSON object"),
        (json.dumps({"format": 9}).encode(), SnapshotError, "answers in format 9"),
    ],
)
async def test_an_answer_that_is_none_is_explained(
    tmp_path: Path, answer: bytes, error: type[Exception], text: str
) -> None:
    path = tmp_path / "control-1.sock"
    served = asyncio.create_task(asyncio.to_thread(_serve_once(path, answer)))
    with pytest.raises(error, match=text):
        await asyncio.to_thread(ask, path)
    await served


def test_the_peers_user_is_read_from_the_socket() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert control._peer_uid(ours) == os.geteuid()
        assert struct.calcsize("3i") == 12


def test_all_processes_are_found_in_the_order_of_their_slots(tmp_path: Path) -> None:
    for name in ("control-17.sock", "control-2.sock", "control-x.sock", "journal.sqlite", ".control-zz"):
        (tmp_path / name).touch()
    found = find_sockets([tmp_path / "none", tmp_path, tmp_path])
    assert [path.name for path in found] == ["control-2.sock", "control-17.sock"]


def test_a_directory_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(NotAllowed, match="may not be read; ask as the service's user or root"):
        find_sockets([tmp_path])
