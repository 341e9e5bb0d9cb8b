"""The very command line of the unit, with notification and watchdog answered by a socket of the test."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pseudoworker import cli
from pseudoworker.observe.control import ask
from tests.fakes.flavour import TX
from tests.fakes.pair import FakePair, environment, until
from tests.packaging.conftest import Installed

WATCHDOG_SECONDS = 0.9
"""In place of the unit's two minutes."""


@dataclass
class Service:
    """A started unit, as its service manager sees it."""

    process: asyncio.subprocess.Process
    log: Path
    messages: list[str] = field(default_factory=list)
    """What it told by sd_notify, one line each."""

    def has_told(self, line: str) -> bool:
        return any(message.startswith(line) for message in self.messages)

    async def wait_for(self, line: str, limit: float = 20.0) -> None:
        """Wait until it has told this."""
        await until(lambda: self.has_told(line), limit, self.story)

    async def end(self, number: signal.Signals) -> tuple[int, float]:
        """Send a signal and wait; exit status and seconds."""
        began = time.monotonic()
        self.process.send_signal(number)
        status = await asyncio.wait_for(self.process.wait(), 30)
        return status, time.monotonic() - began

    def story(self) -> str:
        return f"{self.messages}\n{self.log.read_text()}"


def _command(installed: Installed, unit: str, instance: str) -> list[str]:
    lines = (installed.units / unit).read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("ExecStart=")]
    command = shlex.split(line.partition("=")[2].replace("%i", instance))
    assert command[0] == "/usr/bin/pseudoworker"
    return [str(installed.program), *command[1:]]


@asynccontextmanager
async def _started(
    installed: Installed, conf: Path, state: Path, unit: str = "pseudoworker@.service"
) -> AsyncIterator[Service]:
    """Start the unit's command as systemd would; kill it in the end if it is still there."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    manager.bind(str(state.parent / "notify"))
    os.makedirs(state, mode=0o700, exist_ok=True)
    log = state.parent / "journal.txt"
    with log.open("ab") as output:
        status = os.fstat(output.fileno())
        process = await asyncio.create_subprocess_exec(
            *_command(installed, unit, "1-2"),
            env=environment(conf)
            | {
                "NOTIFY_SOCKET": str(state.parent / "notify"),
                "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6)),
                "STATE_DIRECTORY": str(state),
                "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}",
            },
            stdout=output,
            stderr=output,
            cwd="/",
            umask=0o077,
        )
    service = Service(process, log)

    def read() -> None:
        service.messages.extend(manager.recv(4096).decode().split("\n"))

    asyncio.get_running_loop().add_reader(manager, read)
    try:
        yield service
    finally:
        asyncio.get_running_loop().remove_reader(manager)
        manager.close()
        (state.parent / "notify").unlink()
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[FakePair]:
    async with FakePair(flavour=TX) as pair:
        pair.write_config(tmp_path / "conf", instances=2)
        yield pair


async def test_the_service_tells_its_manager_how_it_is_and_stops_in_time(
    installed: Installed, pair: FakePair, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    async with _started(installed, tmp_path / "conf", state) as service:
        await service.wait_for("READY=1")
        assert service.has_told("STATUS=2 slots")
        await until(lambda: service.messages.count("WATCHDOG=1") >= 4, 20, service.story)
        await until(lambda: len(pair.master.db.workers) == 2, 20, service.story)
        for path in state.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        snapshot = await asyncio.to_thread(ask, state / "control-1.sock")
        assert snapshot.pid == service.process.pid
        assert [slot.instance for slot in snapshot.slots] == [1, 2]
        status, seconds = await service.end(signal.SIGTERM)
        assert (status, service.has_told("STOPPING=1")) == (0, True)
        assert seconds < 10
    assert not (state / "control-1.sock").exists()
    lines = service.log.read_text().splitlines()
    assert lines[0].startswith(f"<6>[info] [pid:{service.process.pid}] pseudoworker ")
    assert lines[1].startswith("<6> - config files: ")
    assert all(re.match(r"<[2-7]>", line) for line in lines)


async def test_a_reload_of_the_auto_restart_unit_drains_and_exits(
    installed: Installed, pair: FakePair, tmp_path: Path
) -> None:
    unit = "pseudoworker-auto-restart@.service"
    assert "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'\n" in (installed.units / unit).read_text()
    async with _started(installed, tmp_path / "conf", tmp_path / "state", unit) as service:
        await service.wait_for("READY=1")
        await until(lambda: len(pair.master.db.workers) == 2, 20, service.story)
        status, _ = await service.end(signal.SIGHUP)
        assert status == 0, service.story()


async def test_a_second_service_for_the_same_slots_names_the_first(
    installed: Installed, pair: FakePair, tmp_path: Path
) -> None:
    async with _started(installed, tmp_path / "conf", tmp_path / "state") as first:
        await first.wait_for("READY=1")
        (tmp_path / "notify").rename(tmp_path / "first")
        async with _started(installed, tmp_path / "conf", tmp_path / "state") as second:
            assert await asyncio.wait_for(second.process.wait(), 20) == cli.EXIT_FAILED
            assert f"instance 1 is already served by pid {first.process.pid} since " in second.log.read_text()
            assert not second.has_told("READY=1")
        (tmp_path / "first").rename(tmp_path / "notify")
        assert (await asyncio.to_thread(ask, tmp_path / "state" / "control-1.sock")).pid == first.process.pid


async def test_a_configuration_with_mistakes_has_the_status_that_is_not_retried(
    installed: Installed, tmp_path: Path
) -> None:
    async with _started(installed, tmp_path / "conf", tmp_path / "state") as service:
        assert await asyncio.wait_for(service.process.wait(), 20) == cli.EXIT_CONFIGURATION
        assert "pseudoworker.toml: not found" in service.log.read_text()
