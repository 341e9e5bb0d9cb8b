"""A slave as far as developer mode is concerned: its API, a worker's command server, and its live handler."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve

from pseudoworker.openqa.client import Client

TOKEN = "Slave_Token-1234"
STATUS = {
    "running": "boot",
    "current_test_full_name": "lab-boot",
    "test_execution_paused": 0,
    "devel_mode_major_version": 1,
}


@dataclass
class Slave:
    """What the test sees of it, and may break."""

    client: Client
    worker: dict[str, object]
    commands: list[dict[str, object]] = field(default_factory=list)
    """What reached os-autoinst."""
    connections: list[ServerConnection] = field(default_factory=list)
    asked: int = 0
    """Times the job was asked for."""
    live_handler: bool = False
    """Whether there is a live handler, whose route for viewers tells the status."""

    async def say(self, message: object) -> None:
        """os-autoinst tells something to all who listen."""
        for connection in self.connections:
            await connection.send(message if isinstance(message, str) else json.dumps(message))


async def _command_server(slave: Slave) -> Server:
    async def handle(connection: ServerConnection) -> None:
        request = connection.request
        if request is None or request.path != f"/{TOKEN}/ws":
            await connection.close(1008)
            return
        slave.connections.append(connection)
        async for text in connection:
            command = json.loads(text)
            slave.commands.append(command)
            await slave.say(
                STATUS if command["cmd"] == "status" else {command["cmd"]: command.get("name", 1)}
            )
        slave.connections.remove(connection)

    return await serve(handle, "127.0.0.1", 0)


async def _job(request: web.Request) -> web.Response:
    slave = request.app[SLAVE]
    slave.asked += 1
    job = {
        "id": 7,
        "name": "x",
        "test": "x",
        "state": "running",
        "result": "none",
        "settings": {},
        "assigned_worker_id": 3,
    }
    return web.json_response({"job": job})


async def _worker(request: web.Request) -> web.Response:
    return web.json_response({"worker": request.app[SLAVE].worker})


async def _viewer(request: web.Request) -> web.StreamResponse:
    slave = request.app[SLAVE]
    if not slave.live_handler:
        raise web.HTTPNotFound
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    told = f"connecting to os-autoinst command server at ws://somewhere:20013/{TOKEN}/ws"
    await socket.send_json({"type": "info", "what": told})
    data = {**STATUS, "developer_name": "somebody of the slave", "outstanding_images": 3}
    await socket.send_json({"type": "info", "what": "cmdsrvmsg", "data": data})
    async for message in socket:
        slave.commands.append({"from the viewer": message.data})
    return socket


SLAVE: web.AppKey[Slave] = web.AppKey("slave", Slave)


@asynccontextmanager
async def slave_instance() -> AsyncIterator[Slave]:
    app = web.Application()
    app.add_routes(
        [
            web.get("/api/v1/jobs/7", _job),
            web.get("/api/v1/workers/3", _worker),
            web.get("/liveviewhandler/tests/7/developer/ws-proxy/status", _viewer),
        ]
    )
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        threads = stack.enter_context(ThreadPoolExecutor(4))
        slave = Slave(Client("http://127.0.0.1:1", "", "", executor=threads, in_flight=4), {})
        slave.client.close()
        app[SLAVE] = slave
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        slave.client = Client(f"http://127.0.0.1:{port}", "", "", executor=threads, in_flight=4)
        stack.callback(slave.client.close)
        server = await stack.enter_async_context(await _command_server(slave))
        command_port = next(iter(server.sockets)).getsockname()[1]
        slave.worker = {
            "id": 3,
            "host": "worker",
            "instance": 1,
            "status": "running",
            "jobid": 7,
            "properties": {
                "CMD_SRV_URL": f"http://localhost:{command_port}/{TOKEN}",
                "WORKER_HOSTNAME": "127.0.0.1",
                "JOBTOKEN": TOKEN,
            },
        }
        yield slave
