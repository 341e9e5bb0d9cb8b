"""What a master's live handler meets where it expects os-autoinst's command server: developer mode's other
end.

The live handler connects to `ws://<WORKER_HOSTNAME>:<port>/<JOBTOKEN>/ws`: host and port are those of the
job's statuses (`worker_hostname`, and of `cmd_srv_url` only the port), the token is the one that came with
the job (Shared/Plugin/SharedHelpers.pm, determine_os_autoinst_web_socket_url). So a path is known only to the
master and to us.
"""

from __future__ import annotations

import asyncio
import http
import logging
import socket
from collections.abc import Awaitable, Callable

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from pseudoworker.config.schema import split_address
from pseudoworker.errors import PseudoworkerError

logger = logging.getLogger(__name__)

LARGEST_COMMAND = 1024 * 1024
"""Bytes of one message from the live handler."""

MOST_CONNECTIONS = 8
"""Connections for one job; the live handler opens one, whoever uses openQA's websocket console another."""

GOING_AWAY, INTERNAL_ERROR = 1001, 1011


class CommandServerFailed(PseudoworkerError):
    """The command server cannot listen, so there is no developer mode."""


class Session:
    """One connection of a live handler."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | None:
        """The next message as text, None when the connection has ended."""
        try:
            message = await self._connection.recv()
        except ConnectionClosed:
            return None
        return message if isinstance(message, str) else message.decode("utf-8", "replace")

    async def send(self, text: str) -> bool:
        """Send a message; False when the connection has ended."""
        try:
            await self._connection.send(text)
        except ConnectionClosed:
            return False
        return True

    async def close(self, code: int, reason: str = "") -> None:
        """End the connection; the live handler shows its users that it is lost, and their pages come
        again."""
        await self._connection.close(code, _at_most(reason, 120))


Handler = Callable[[Session], Awaitable[None]]


class CommandServer:
    """One listening socket for all jobs; each has a path of its own while it is offered.

    `listen` is `host:port`; empty means every address and a free port, as os-autoinst does it.
    """

    def __init__(self, listen: str = "") -> None:
        self._listen = listen
        self._server: Server | None = None
        self._starting = asyncio.Lock()
        self._handlers: dict[str, Handler] = {}
        self._open: dict[str, set[ServerConnection]] = {}

    async def start(self) -> int:
        """Listen, unless it does already; the port. Raises CommandServerFailed."""
        async with self._starting:
            if self._server is None:
                try:
                    self._server = await serve(
                        self._handle,
                        sock=_listening_socket(self._listen),
                        process_request=self._admit,
                        max_size=LARGEST_COMMAND,
                        ping_interval=20,
                        logger=_quiet,
                    )
                except OSError as error:
                    where = self._listen or "a free port"
                    raise CommandServerFailed(
                        f"cannot listen for developer mode on {where}: {error.strerror or error}; in"
                        " [developer] of pseudoworker.toml set listen to a free address, or enabled to false"
                    ) from error
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    def offer(self, token: str, handler: Handler) -> None:
        """Have `handler` called for each connection to this job's path."""
        self._handlers[token] = handler

    async def withdraw(self, token: str, reason: str) -> None:
        """The path is gone; connections to it are closed."""
        self._handlers.pop(token, None)
        connections = self._open.pop(token, set())
        await asyncio.gather(*(connection.close(GOING_AWAY, reason) for connection in connections))

    async def close(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        token = _token(request.path)
        if token not in self._handlers:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "Not found\n")
        if len(self._open.get(token, ())) >= MOST_CONNECTIONS:
            return connection.respond(http.HTTPStatus.TOO_MANY_REQUESTS, "Too many connections\n")
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        token = _token(connection.request.path if connection.request is not None else "")
        handler = self._handlers.get(token)
        if handler is None:
            return  # withdrawn meanwhile
        connections = self._open.setdefault(token, set())
        connections.add(connection)
        try:
            await handler(Session(connection))
        finally:
            connections.discard(connection)
            if not connections and self._open.get(token) is connections:
                del self._open[token]


# The library logs refused and broken handshakes with their paths, in which tokens stand.
_quiet = logging.getLogger(f"{__name__}.quiet")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


def _token(path: str) -> str:
    token, _, rest = path.removeprefix("/").partition("/")
    return token if rest.partition("?")[0] == "ws" else ""


def _listening_socket(listen: str) -> socket.socket:
    if listen:
        host, port = split_address(listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _at_most(text: str, size: int) -> str:
    return text.encode()[:size].decode("utf-8", "ignore")
