"""A worker's standing with its master: registered, connected, and saying its status again and again.

The status goes out on every change and by a timer of its own. It never waits for an upload, a disk or a
thread: newer stock workers wait for the master's `info`, which older masters never send."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pseudoworker.master.registration import IncompatibleMaster, Registration
from pseudoworker.master.turns import Turns
from pseudoworker.openqa.errors import Busy, ConnectionLost, OpenQAError, Unauthorized
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.messages import ServerMessage
from pseudoworker.openqa.websocket import Connection

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0
"""Seconds before another try to connect; the pause doubles with each failure."""
FIGHT_PAUSE = 300.0
"""Seconds to stay away when another worker connected under our name, or the key is refused."""
_TAKEN_OVER = 1008
_STABLE = 60.0
"""Seconds after which a connection counts as good, so that the next pause is the first again."""

Message = dict[str, Json]


class Worker(Protocol):
    """Who stands behind the link."""

    def job_ids(self) -> Sequence[int]:
        """The jobs that the worker has; whatever is not named at the registration is taken from it."""

    def status(self) -> Message:
        """The present `worker_status`."""

    async def registered(self, registration: Registration) -> None:
        """The master knows us, perhaps by another worker id than before."""

    async def connected(self) -> None:
        """The websocket is open and the status was told."""

    async def received(self, message: ServerMessage) -> None:
        """The master said something."""


@dataclass(frozen=True)
class Pace:
    """Least and most seconds between two statuses that nothing but time calls for."""

    least: float = 60.0
    most: float = 300.0


class Link:
    """Keeps one worker registered and connected, until cancelled.

    `register` and `connect` are those of `master.registration` and `openqa.websocket`, bound to the master;
    `turns` are those of all links to it; `beat` is called when a status was sent, `lost` when the connection
    has ended."""

    def __init__(
        self,
        worker: Worker,
        *,
        register: Callable[[Sequence[int]], Awaitable[Registration]],
        connect: Callable[[int], Awaitable[Connection]],
        pace: Pace,
        turns: Turns,
        beat: Callable[[], None],
        lost: Callable[[], None],
        logger: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._worker = worker
        self._register = register
        self._connect = connect
        self._pace = pace
        self._turns = turns
        self._beat = beat
        self._lost = lost
        self._logger = logger
        self._connection: Connection | None = None
        self._changed = asyncio.Event()
        self.problem = "not connected yet"
        """Why there is no connection, in words; empty while there is one."""

    @property
    def is_connected(self) -> bool:
        """Whether the master hears us."""
        return self._connection is not None

    def status_changed(self) -> None:
        """Tell the status soon."""
        self._changed.set()

    async def send(self, message: Message) -> bool:
        """Say something; False when there is no connection, or no more."""
        connection = self._connection
        if connection is None:
            return False
        try:
            await connection.send(message)
        except ConnectionLost:
            return False
        return True

    async def run(self) -> None:
        """Register, connect, serve, and begin again, with growing pauses. Raises IncompatibleMaster."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await self._once()
            except IncompatibleMaster:
                raise
            except OpenQAError as error:
                self.problem = str(error)
                if time.monotonic() - began > _STABLE:
                    pause = FIRST_PAUSE
                wait = _wait(error, pause)
                level = logging.ERROR if wait >= FIGHT_PAUSE else logging.WARNING
                self._logger.log(level, "No connection to the master: %s%s", error, _advice(error))
                alone = isinstance(error, Busy | Unauthorized) or _is_fight(error)
            wait *= random.uniform(0.7, 1.0)
            await (asyncio.sleep(wait) if alone else self._turns.pause(wait))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _once(self) -> None:
        await self._turns.turn()
        registration = await self._register(self._worker.job_ids())
        await self._worker.registered(registration)
        connection = await self._connect(registration.worker_id)
        self._connection = connection
        self.problem = ""
        self._turns.reached()
        self._logger.debug("Connected to the master as worker %d", registration.worker_id)
        heartbeat = asyncio.create_task(self._heartbeat(connection))
        try:
            await self._worker.connected()
            while True:
                await self._worker.received(await connection.receive())
        finally:
            self._connection = None
            self._lost()
            heartbeat.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionLost):
                await heartbeat
            await connection.close()

    async def _heartbeat(self, connection: Connection) -> None:
        while True:
            self._changed.clear()
            await connection.send(self._worker.status())
            self._beat()
            try:
                async with asyncio.timeout(random.uniform(self._pace.least, self._pace.most)):
                    await self._changed.wait()
            except TimeoutError:
                pass


def _wait(error: OpenQAError, pause: float) -> float:
    if isinstance(error, Busy) and error.retry_after is not None:
        return max(pause, error.retry_after)
    if isinstance(error, Unauthorized) or _is_fight(error):
        return FIGHT_PAUSE
    return pause


def _is_fight(error: OpenQAError) -> bool:
    return (
        isinstance(error, ConnectionLost)
        and error.code == _TAKEN_OVER
        and "only one connection" in error.reason
    )


def _advice(error: OpenQAError) -> str:
    if not _is_fight(error):
        return ""
    return (
        "; another worker uses the same host name and instance: stop it, or choose another instance here."
        f" Trying again in {FIGHT_PAUSE:.0f} s"
    )
