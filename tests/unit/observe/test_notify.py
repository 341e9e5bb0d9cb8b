import asyncio
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pseudoworker.observe.notify import Notifier, Watchdog


class Manager:
    """Receives what a service tells its service manager."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(5)

    def next(self) -> str:
        return self.socket.recv(4096).decode()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    its = Manager(str(tmp_path / "notify"))
    yield its
    its.socket.close()


def test_each_message_is_as_sd_notify_has_it(manager: Manager, tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notifier.ready("4 slots free")
    assert manager.next() == "READY=1\nSTATUS=4 slots free"
    notifier.status("one\nline")
    assert manager.next() == "STATUS=one line"
    notifier.watchdog()
    assert manager.next() == "WATCHDOG=1"
    notifier.reloading()
    assert manager.next().startswith("RELOADING=1\nMONOTONIC_USEC=")
    notifier.stopping()
    assert manager.next() == "STOPPING=1"


def test_an_abstract_address_is_understood() -> None:
    name = f"pseudoworker-test-{os.getpid()}"
    its = Manager(f"\0{name}")
    try:
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert its.next() == "READY=1"
    finally:
        its.socket.close()


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}).ready("hello")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdogs_period_is_taken_from_the_environment(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert Notifier(environment).watchdog_seconds == seconds


async def test_the_watchdog_is_fed_only_while_the_heartbeats_go_out(
    manager: Manager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = 0
    refused = asyncio.Event()
    ok = True
    seen = sys.maxsize

    def beat_ok() -> bool:
        nonlocal asked
        asked += 1
        if asked == seen + 5:
            refused.set()
        return ok

    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000"})
    watchdog = asyncio.create_task(Watchdog(notifier, beat_ok).run())
    assert await asyncio.to_thread(manager.next) == "WATCHDOG=1"
    ok = False
    seen = asked
    with caplog.at_level(logging.ERROR):
        await asyncio.wait_for(refused.wait(), 10)
    fed = 0
    manager.socket.setblocking(False)
    while True:
        try:
            fed += manager.socket.recv(100) == b"WATCHDOG=1"
        except BlockingIOError:
            break
    assert fed <= seen
    assert [record.message for record in caplog.records] == [
        "No heartbeat went out when it was due: systemd restarts us within 0 s"
    ]
    ok = True
    manager.socket.settimeout(5)
    assert await asyncio.to_thread(manager.next) == "WATCHDOG=1"
    watchdog.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watchdog


async def test_without_a_watchdog_there_is_nothing_to_feed() -> None:
    await Watchdog(Notifier({}), lambda: True).run()
