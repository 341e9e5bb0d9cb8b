"""The developer mode of a slave job: its worker's command server, or at least what the slave shows of it.

A slave's own websocket for developers wants a browser session of an operator and takes no API key
(LiveHandler.pm, Session#ensure_operator). But the worker's command server can be spoken to by whoever knows
its address and the job's token, which `GET /api/v1/workers` tells (Schema/Result/Workers.pm, info), and the
live handler's route for viewers wants no login: it passes on what the command server says, and takes no
commands.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from pseudoworker.openqa import failures
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import ConnectionLost, Garbage, NotFound, OpenQAError, Unreachable
from pseudoworker.openqa.json import Json, NotJson, decode, encode
from pseudoworker.openqa.retry import PROBE
from pseudoworker.openqa.transport import tls_context
from pseudoworker.openqa.urls import Base, authority
from pseudoworker.openqa.views import WorkerView, parse_job, parse_workers
from pseudoworker.openqa.wire import Wire

LARGEST_MESSAGE = 10 * 1024 * 1024
"""Bytes of one message of a command server."""

_OF_THE_SLAVE = frozenset(
    {
        "developer_id",
        "developer_name",
        "developer_session_started_at",
        "developer_session_tab_count",
        "developer_session_is_yours",
        "outstanding_images",
        "outstanding_files",
        "upload_up_to_current_module",
        "vnc_arg",
    }
)
"""What a live handler adds of its own (LiveViewHandler.pm, add_further_info_to_hash): the master's adds it
anew."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,200}")
"""Utils.pm, rndstr; anything else would not be safe in a path."""

_URL = re.compile(r"\w+://\S+")
"""The live handler's messages name the command server with the token in its path."""


@dataclass(frozen=True)
class Address:
    """Where a worker's command server is."""

    host: str
    port: int
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        """Its websocket, the token included: not for logs."""
        return f"ws://{authority(self.host, self.port)}/{self.token}/ws"

    def __str__(self) -> str:
        return authority(self.host, self.port)


class Commands:
    """A connection to the developer mode of a slave job."""

    def __init__(self, wire: Wire, *, token: str = "", why_status_only: OpenQAError | None = None) -> None:
        self._wire = wire
        self._token = token
        self.why_status_only = why_status_only
        """Why commands cannot be sent, None when they can."""
        self.status: dict[str, Json] = {}
        """The last answer to the command `status`, empty before the first."""

    async def send(self, command: Mapping[str, Json]) -> None:
        """Send a command. Raises ConnectionLost."""
        await self._wire.send(encode(command))

    async def receive(self) -> dict[str, Json]:
        """The next message of os-autoinst, without the slave's token. Raises ConnectionLost, and Garbage."""
        while True:
            text = (await self._wire.receive()).decode("utf-8", "replace")
            if self._token:
                text = text.replace(self._token, "[redacted]")
            try:
                message = decode(text)
            except NotJson as error:
                raise Garbage(f"a message of the command server is no JSON: {error}") from error
            if self.why_status_only is not None:
                message = _unwrapped(message)
            if isinstance(message, dict):
                if "running" in message:
                    self.status = message
                return message

    async def close(self) -> None:
        """End the connection."""
        await self._wire.close()


class SlaveCommands:
    """Connects to the developer mode of jobs on one slave."""

    def __init__(
        self, client: Client, *, ca_file: Path | None = None, port_delta: int = 2, timeout: float = 5.0
    ) -> None:
        self._client = client
        self._base = Base.parse(client.url)
        self._ca_file = ca_file
        self._port_delta = port_delta
        self._timeout = timeout

    async def connect(self, job_id: int) -> Commands:
        """Connect to the command server of the job's worker or, where that cannot be reached, to the slave's
        live handler, which only tells the status.

        Raises an OpenQAError when neither is to be had: that of the command server.
        """
        try:
            address = await self._address(job_id)
            return Commands(await self._open(address.url, f"ws://{address}", None), token=address.token)
        except OpenQAError as error:
            why = error
        for delta in (0, self._port_delta):
            url = self._base.join(f"/liveviewhandler/tests/{job_id}/developer/ws-proxy/status", (), delta)
            url = f"ws{url.removeprefix('http')}"
            try:
                return Commands(await self._open(url, url, self._ca_file), why_status_only=why)
            except OpenQAError:
                continue
        raise why

    async def _address(self, job_id: int) -> Address:
        path = f"/api/v1/jobs/{job_id}"
        job = parse_job(await self._client.get_json(path, policy=PROBE), url=self._client.url_of(path))
        if job.assigned_worker_id is None:
            raise NotFound("the slave job has no worker", method="GET", url=self._client.url_of(path))
        path = f"/api/v1/workers/{job.assigned_worker_id}"
        answer = await self._client.get_json(path, policy=PROBE)
        worker = answer.get("worker") if isinstance(answer, dict) else None
        return self._address_of(parse_workers({"workers": [worker]}, url=self._client.url_of(path))[0])

    def _address_of(self, worker: WorkerView) -> Address:
        """As SharedHelpers.pm, determine_os_autoinst_web_socket_url."""
        properties = worker.properties
        host = properties.get("WORKER_HOSTNAME") or worker.host
        token = properties.get("JOBTOKEN", "")
        try:
            port = urlsplit(properties.get("CMD_SRV_URL", "")).port
        except ValueError:
            port = None
        if port is None or not _TOKEN.fullmatch(token) or not _is_host(host):
            raise NotFound(f"the slave's worker {worker.host}:{worker.instance} has no command server")
        # A worker beside the slave's web UI calls itself localhost; seen from here that is the slave's host.
        return Address(self._base.host if _is_loopback(host) else host, port, token)

    async def _open(self, url: str, shown: str, ca_file: Path | None) -> Wire:
        try:
            uri = parse_uri(url)
        except InvalidURI as error:
            raise Garbage("no websocket URL", method="GET", url=shown) from error

        def wire() -> Wire:
            protocol = ClientProtocol(uri, max_size=LARGEST_MESSAGE)
            return Wire(protocol, url=shown, ping_interval=20, ping_timeout=20)

        limit = asyncio.timeout(self._timeout)
        made: Wire | None = None
        try:
            async with limit:
                context = tls_context(ca_file) if uri.secure else None
                loop = asyncio.get_running_loop()
                _, made = await loop.create_connection(wire, uri.host, uri.port, ssl=context)
                response = await made.handshake({})
                if not made.open:
                    raise failures.bad_status("GET", shown, response.status_code, response.headers, b"")
                return made
        except TimeoutError as error:
            raise Unreachable(f"no answer within {self._timeout:g} s", method="GET", url=shown) from error
        except ConnectionLost as error:
            raise Unreachable(error.reason, method="GET", url=shown) from error
        except OSError as error:
            raise failures.no_answer(error, "GET", shown) from error
        finally:
            if made is not None and not made.open:
                made.abort()


def _unwrapped(message: Json) -> dict[str, Json] | None:
    """What os-autoinst said, of what a live handler tells its viewers."""
    if not isinstance(message, dict):
        return None
    data = message.get("data")
    if message.get("type") == "info" and message.get("what") == "cmdsrvmsg" and isinstance(data, dict):
        said = {name: value for name, value in data.items() if name not in _OF_THE_SLAVE}
        return said or None
    if message.get("type") == "error":
        said_why = _URL.sub("its address", str(message.get("what")))
        raise Unreachable(failures.shortened(f"the slave's live handler says: {said_why}"))
    return None


def _is_host(host: str) -> bool:
    return bool(host) and all(character.isalnum() or character in "-._:" for character in host)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
