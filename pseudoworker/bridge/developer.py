"""Developer mode across the federation: the master's live handler talks to the slave job's os-autoinst.

To the master we are the worker's command server. Whoever looks at the live tab has the live handler connect
to it, to show the state of the test; whoever opens a developer session there may pause and resume the test.
Each connection is forwarded to the command server of the slave job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pseudoworker.config.model import DeveloperMode
from pseudoworker.master.command_server import INTERNAL_ERROR, CommandServer, CommandServerFailed, Session
from pseudoworker.openqa.errors import OpenQAError, Unreachable
from pseudoworker.openqa.json import Json, NotJson, decode, encode
from pseudoworker.slave.live_commands import Commands

STATUS = "status"
"""The one command that changes nothing: the live handler sends it for each viewer."""

COMMANDS = frozenset(
    {
        STATUS,
        "set_pause_at_test",
        "set_pause_on_screen_mismatch",
        "set_pause_on_next_command",
        "set_pause_on_failure",
        "set_assert_screen_timeout",
        "resume_test_execution",
    }
)
"""What openQA's live handler passes on (LiveViewHandler.pm, ALLOWED_OS_AUTOINST_COMMANDS)."""

SESSION_DELAY = 5.0
"""Seconds that a command may come before the message of the session that it belongs to: they take different
ways."""

FAILED_FOR = 5.0
"""Seconds for which a slave job's developer mode that could not be reached is not tried again: pages try
every two."""

PATIENCE = 3
"""Failures in succession after which that is told: os-autoinst opens its command server some seconds after
the job has started."""

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


class Connector(Protocol):
    """Connects to the developer mode of a slave job: `slave.live_commands.SlaveCommands`."""

    async def connect(self, job_id: int) -> Commands:
        """Connect; raise OpenQAError."""


class DeveloperRelay:
    """The command server of one process, started when the first job needs it."""

    def __init__(self, mode: DeveloperMode, slave: Connector, *, slave_url: Callable[[int], str]) -> None:
        """`slave_url` gives the page of a slave job, for whoever has to go there."""
        self._mode = mode
        self._slave = slave
        self._slave_url = slave_url
        self._server = CommandServer(mode.listen)
        self._told = False

    async def offer(
        self, token: str, *, note: Callable[[str], None], log: Log, changed: Callable[[], None]
    ) -> DeveloperJob | None:
        """The developer mode of the master job with this JOBTOKEN; None when it is disabled or cannot be had.

        `note` gets what belongs into the job's worker log, each thing once; `changed` is called when the test
        was paused or goes on.
        """
        if not self._mode.enabled or not token:
            return None
        try:
            port = await self._server.start()
        except CommandServerFailed as error:
            log.log(logging.DEBUG if self._told else logging.ERROR, "No developer mode: %s", error)
            self._told = True
            return None
        return DeveloperJob(self._server, token, port, self._slave, self._slave_url, note, log, changed)

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()


class DeveloperJob:
    """The developer mode of one job."""

    def __init__(
        self,
        server: CommandServer,
        token: str,
        port: int,
        slave: Connector,
        slave_url: Callable[[int], str],
        note: Callable[[str], None],
        log: Log,
        changed: Callable[[], None],
    ) -> None:
        self.cmd_srv_url = f"http://localhost:{port}/{token}"
        """For the job's statuses; the master takes the host from `worker_hostname`, as for a stock worker."""
        self.paused = ""
        """Why the test is paused, as far as a connected live handler has heard; empty when it runs."""
        self._server = server
        self._token = token
        self._slave = slave
        self._slave_url = slave_url
        self._note = note
        self._log = log
        self._changed = changed
        self._session = asyncio.Event()
        self._slave_job: int | None = None
        self._failure: _Failure | None = None
        self._told: set[str] = set()
        server.offer(token, self._serve)

    @property
    def in_session(self) -> bool:
        """Whether somebody on the master opened a developer session: only then the test may be touched."""
        return self._session.is_set()

    def session_started(self) -> None:
        """The master said `developer_session_start`."""
        self._session.set()

    async def follow(self, slave_job: int | None) -> None:
        """Forward to this slave job from now on; connections to another one end and are made anew by the
        pages."""
        if slave_job == self._slave_job:
            return
        self._slave_job, self._failure = slave_job, None
        self._pause("")
        await self._server.withdraw(self._token, "the slave runs the job anew")
        self._server.offer(self._token, self._serve)

    async def close(self) -> None:
        """The job is over."""
        await self._server.withdraw(self._token, "the job is over")

    async def _serve(self, session: Session) -> None:
        try:
            commands = await self._connect()
        except OpenQAError as error:
            self._log.debug("Developer mode: %s", error)
            await session.close(INTERNAL_ERROR, "the slave job's command server cannot be reached")
            return
        up = asyncio.create_task(self._forward_commands(session, commands))
        down = asyncio.create_task(self._forward_messages(session, commands))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            results = await asyncio.gather(up, down, return_exceptions=True)
            self._pause("")
            await commands.close()
        for result in results:
            if isinstance(result, OpenQAError):
                self._log.info("Developer mode: connection to the slave job ended: %s", result)
                await session.close(INTERNAL_ERROR, "connection to the slave job's command server lost")
            elif isinstance(result, Exception):
                raise result

    async def _connect(self) -> Commands:
        now = asyncio.get_running_loop().time()
        if self._failure is not None and now < self._failure.until:
            raise self._failure.error
        if self._slave_job is None:
            raise Unreachable("the slave has not started the job yet")
        try:
            commands = await self._slave.connect(self._slave_job)
        except OpenQAError as error:
            count = 1 if self._failure is None else self._failure.count + 1
            self._failure = _Failure(error, now + FAILED_FOR, count)
            if count == PATIENCE:
                self._tell(
                    f"Developer mode cannot reach the slave job ({error}); use that of the slave itself"
                )
            raise
        self._failure = None
        return commands

    async def _forward_commands(self, session: Session, commands: Commands) -> None:
        while (text := await session.receive()) is not None:
            command = self._checked(text)
            if command is None:
                continue
            if commands.why_status_only is not None:
                await self._show_status(session, command, commands)
            elif command["cmd"] == STATUS or await self._may_control(command):
                await commands.send(command)

    async def _forward_messages(self, session: Session, commands: Commands) -> None:
        while True:
            message = await commands.receive()
            self._observe(message)
            if commands.why_status_only is not None and commands.status:
                self._tell(
                    "Developer mode only shows the state of the test, since the command server of the slave's"
                    f" worker cannot be reached ({commands.why_status_only}); use that of the slave itself"
                )
            if not await session.send(encode(message).decode()):
                return

    def _checked(self, text: str) -> dict[str, Json] | None:
        """The command in a message of the live handler, None when it is not to be passed on."""
        try:
            command = decode(text)
        except NotJson as error:
            self._log.warning("Developer mode: ignoring a command that is no JSON: %s", error)
            return None
        name = command.get("cmd") if isinstance(command, dict) else None
        if not isinstance(command, dict) or not isinstance(name, str) or name not in COMMANDS:
            self._log.warning("Developer mode: ignoring a command that openQA's live handler does not know")
            return None
        if command.get("new_needles"):
            # os-autoinst would fetch them by their number from the slave's web UI, where another needle has
            # that number (OpenQA/Isotovideo/NeedleDownloader.pm).
            command = {**command, "new_needles": []}
            self._tell(
                "Needles that were created on the master meanwhile are not known to the slave's worker"
            )
        return command

    async def _show_status(self, session: Session, command: dict[str, Json], commands: Commands) -> None:
        """The slave's live handler takes no commands: show again what is, instead of what was asked for."""
        if command["cmd"] != STATUS:
            self._log.warning("Developer mode: %s cannot be passed on", command["cmd"])
        if commands.status:
            await session.send(encode(commands.status).decode())

    async def _may_control(self, command: dict[str, Json]) -> bool:
        try:
            async with asyncio.timeout(SESSION_DELAY):
                await self._session.wait()
        except TimeoutError:
            self._log.warning("Developer mode: ignoring %s, there is no developer session", command["cmd"])
            return False
        self._log.info("Developer mode: %s", command["cmd"])
        return True

    def _observe(self, message: dict[str, Json]) -> None:
        """Learn from a message whether the test is paused (OpenQA/Isotovideo/CommandHandler.pm)."""
        if "resume_test_execution" in message:
            self._pause("")
        elif message.get("paused"):
            self._pause(str(message.get("reason") or "unknown"))
        elif "test_execution_paused" in message:
            self._pause(str(message["test_execution_paused"] or ""))

    def _pause(self, reason: str) -> None:
        reason = "" if reason == "0" else reason
        if reason != self.paused:
            self.paused = reason
            self._changed()

    def _tell(self, text: str) -> None:
        if text in self._told or len(self._told) > 20:
            return
        self._told.add(text)
        link = f": {self._slave_url(self._slave_job)}#live" if self._slave_job is not None else ""
        self._log.warning("%s%s", text, link)
        self._note(f"{text}{link}")


@dataclass(frozen=True)
class _Failure:
    error: OpenQAError
    until: float
    count: int
