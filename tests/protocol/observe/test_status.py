import asyncio
import json
import os
import pty
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from pseudoworker.bridge import status
from pseudoworker.bridge.status import CRITICAL, OK, UNKNOWN, WARNING, look, show
from pseudoworker.observe.control import serve_control, socket_path
from pseudoworker.observe.snapshot import ProcessSnapshot, SlotSnapshot

NOW = 1_700_000_000.0
WORKING = SlotSnapshot(
    2,
    12,
    "working",
    master_job=42,
    master_url="http://master/tests/42",
    slave_job=17,
    slave_url="http://slave/tests/17",
    phase="running",
    module="boot\x1b[2J",
    module_index=3,
    module_count=17,
    bytes_relayed=5_000_000,
    since=NOW - 65,
    last_error="429 seen",
)
FREE = SlotSnapshot(1, 11, "free", since=NOW - 7200)
BROKEN = SlotSnapshot(3, 13, "broken", reason="no answer")
ENTERED = SlotSnapshot(4, 14, "working", master_job=43, master_url="http://master/tests/43", phase="posting")


def _process(*slots: SlotSnapshot, pid: int = 7) -> ProcessSnapshot:
    return ProcessSnapshot(pid, NOW - 3600, "0.1", "http://master", "http://slave", slots)


def _itself(process: ProcessSnapshot) -> ProcessSnapshot:
    return process


async def _look(
    directory: Path, *processes: ProcessSnapshot, wanted: frozenset[int] | None = None
) -> status.Report:
    async with AsyncExitStack() as stack:
        for process in processes:
            path = socket_path(directory, [slot.instance for slot in process.slots])
            await stack.enter_async_context(serve_control(path, partial(_itself, process)))
        return await asyncio.to_thread(look, [directory], wanted)


@pytest.mark.parametrize(
    ("slots", "code", "summary"),
    [
        ([FREE, WORKING], OK, "OK - 1 free, 1 working"),
        ([FREE, BROKEN], WARNING, "WARNING - 1 free, 1 broken"),
        ([BROKEN, SlotSnapshot(4, None, "offline")], CRITICAL, "CRITICAL - 1 broken, 1 offline"),
    ],
)
async def test_the_exit_status_is_nagios(
    tmp_path: Path, slots: Sequence[SlotSnapshot], code: int, summary: str
) -> None:
    report = await _look(tmp_path, _process(*slots))
    assert (report.code, report.summary) == (code, summary)


async def test_all_processes_are_shown_and_only_those_instances_that_were_asked_for(tmp_path: Path) -> None:
    processes = (_process(BROKEN, pid=8), _process(FREE, WORKING))
    everything = await _look(tmp_path, *processes)
    assert [process.pid for process in everything.processes] == [7, 8]
    assert everything.summary == "WARNING - 1 free, 1 working, 1 broken"
    some = await _look(tmp_path, *processes, wanted=frozenset({2}))
    assert [process.slots for process in some.processes] == [(WORKING,)]
    assert some.code == OK
    none = await _look(tmp_path, *processes, wanted=frozenset({9}))
    assert (none.code, none.processes) == (CRITICAL, ())
    assert none.summary.startswith("CRITICAL - no process for these instances runs (looked in ")


def test_no_process_is_critical_and_says_where_was_looked(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control-1.sock"))
    left.close()
    report = look([tmp_path, tmp_path / "none"])
    assert report.code == CRITICAL
    assert report.summary == (
        f"CRITICAL - no pseudoworker runs (looked in {tmp_path}, {tmp_path / 'none'}); start pseudoworker@…"
    )


async def test_a_process_that_hangs_is_critical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pseudoworker.observe.control._PATIENCE", 0.2)
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "control-1.sock"))
        hanging.listen(1)
        report = await asyncio.to_thread(look, [tmp_path])
    assert report.code == CRITICAL
    assert report.summary.endswith("control-1.sock: no answer within 0 s; the process hangs")


def test_a_directory_of_somebody_else_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    report = look([tmp_path])
    assert report.code == UNKNOWN
    assert report.summary == f"UNKNOWN - {tmp_path} may not be read; ask as the service's user or root"


async def test_the_table_shows_everything_and_cannot_steer_the_terminal(tmp_path: Path) -> None:
    report = await _look(tmp_path, _process(FREE, WORKING, BROKEN, ENTERED))
    assert show(report, NOW).splitlines() == [
        "WARNING - 1 free, 2 working, 1 broken",
        "",
        "process 7, release 0.1, up 1h00m: http://master -> http://slave",
        "SLOT  STATE    MASTER JOB  SLAVE JOB  PHASE    MODULE         RELAYED  SINCE  REMARK",
        "1     free                                                             2h00m",
        "2     working  42          17         running  boot?[2J 3/17  5.0 MB   1m05s  429 seen",
        "      http://master/tests/42 -> http://slave/tests/17",
        "3     broken                                                                  no answer",
        "4     working  43                     posting",
        "      http://master/tests/43 -> not yet posted",
    ]
    assert max(map(len, show(report, NOW, 40).splitlines())) == 40


_COMMAND = "import sys; from pseudoworker.cli import main; sys.exit(main())"


async def test_the_command_prints_json_with_the_exit_status(tmp_path: Path) -> None:
    async with serve_control(tmp_path / "control-1.sock", lambda: _process(FREE, BROKEN)):
        asked = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _COMMAND, "status", "--json",
            env={**os.environ, **_configuration(tmp_path)}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await asked.communicate()
    assert asked.returncode == WARNING
    document = json.loads(output)
    assert document["status"] == "warning"
    assert document["summary"] == "WARNING - 1 free, 1 broken"
    assert [slot["instance"] for slot in document["processes"][0]["slots"]] == [1, 3]


async def test_on_a_terminal_the_table_refreshes_until_interrupted(tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    asked = 0

    def answer() -> ProcessSnapshot:
        nonlocal asked
        asked += 1
        return _process(FREE if asked == 1 else BROKEN)

    async with serve_control(tmp_path / "control-1.sock", answer):
        shown = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _COMMAND, "status",
            env={**os.environ, **_configuration(tmp_path)}, stdout=terminal,
        )  # fmt: skip
        os.close(terminal)
        text = await asyncio.to_thread(_read_until, master, b"CRITICAL - 1 broken")
        shown.send_signal(signal.SIGINT)
        assert await shown.wait() == CRITICAL
    os.close(master)
    assert text.startswith(b"\x1b[H\x1b[JOK - 1 free\r\n")


def _read_until(descriptor: int, wanted: bytes) -> bytes:
    text = b""
    while wanted not in text:
        ready, _, _ = select.select([descriptor], [], [], 30)
        assert ready, text
        text += os.read(descriptor, 4096)
    return text


def _configuration(directory: Path) -> dict[str, str]:
    """A working configuration whose state is in `directory`."""
    (directory / "workers.ini").write_text("[global]\nHOST = http://127.0.0.1:1\nWORKER_CLASS = :lab:x\n")
    (directory / "client.conf").write_text("[127.0.0.1]\nkey = 1234567890ABCDEF\nsecret = 1234567890ABCDEF\n")
    (directory / "pseudoworker.toml").write_text('[slave]\nurl = "http://127.0.0.1:2"\nlocation = "lab"\n')
    return {"OPENQA_CONFIG": str(directory), "STATE_DIRECTORY": str(directory)}


async def test_instances_that_are_none_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    from pseudoworker.cli import main

    assert main(["status", "--instance", "one"]) == UNKNOWN
    assert "--instance: 'one' names no instances; give a number" in capsys.readouterr().err
