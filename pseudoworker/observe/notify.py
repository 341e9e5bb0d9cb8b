"""Telling the service manager how we are: systemd's notification protocol, sd_notify(3)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

_log = logging.getLogger(__name__)

_LONGEST_STATUS = 400
"""Characters of STATUS=; systemctl shows one line."""


class Notifier:
    """Sends to `$NOTIFY_SOCKET`; does nothing where there is none. It never raises and never waits.

    Both kinds of address that systemd uses are understood: a path, and `@name` for the abstract namespace.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_seconds = _watchdog_seconds(environment)
        """Time after which systemd ends a process that sent no watchdog message; None without a watchdog."""

    def ready(self, status: str = "") -> None:
        """The service is up: every slot has been started."""
        self._send("READY=1", *_status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(*_status(text))

    def reloading(self) -> None:
        """A reload began; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """The service begins to stop."""
        self._send("STOPPING=1", *_status(status))

    def watchdog(self) -> None:
        """The service is alive."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None or not lines:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            # Nobody can be told but the log. If it lasts, the watchdog ends the process, as it should.
            _log.debug("The service manager's socket does not take a message: %s", error)


class Watchdog:
    """Feeds systemd's watchdog from the event loop, as long as `beat_ok` says that the heartbeats go out.

    A loop that hangs sends nothing, and so does one that lives while its slots have stopped to beat: either
    way systemd ends the process and starts it anew, and the journal lets it go on with its jobs.

    `beat_ok` must be true as long as each slot has *tried* to beat when it was due. A master that is down
    is no reason to restart.
    """

    def __init__(self, notifier: Notifier, beat_ok: Callable[[], bool]) -> None:
        self._notifier = notifier
        self._beat_ok = beat_ok

    async def run(self) -> None:
        """Feed the watchdog three times per period until cancelled; return at once where there is none."""
        period = self._notifier.watchdog_seconds
        if period is None:
            return
        was_ok = True
        while True:
            is_ok = self._beat_ok()
            if is_ok:
                self._notifier.watchdog()
            elif was_ok:
                _log.error("No heartbeat went out when it was due: systemd restarts us within %.0f s", period)
            was_ok = is_ok
            await asyncio.sleep(period / 3)


def _status(text: str) -> tuple[str, ...]:
    line = " ".join(text.split())[:_LONGEST_STATUS]
    return (f"STATUS={line}",) if line else ()


def _address(configured: str) -> str | None:
    if configured.startswith("@"):
        return "\0" + configured[1:]
    return configured if configured.startswith("/") else None


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """$WATCHDOG_USEC, unless $WATCHDOG_PID names another process (sd_watchdog_enabled(3))."""
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", ""))
        meant_for = int(environment.get("WATCHDOG_PID", "") or os.getpid())
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 and meant_for == os.getpid() else None
