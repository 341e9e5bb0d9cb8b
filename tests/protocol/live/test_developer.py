"""Developer mode: from where the master's live handler connects, to the slave worker's command server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pseudoworker.bridge import developer
from pseudoworker.bridge.developer import DeveloperJob, DeveloperRelay
from pseudoworker.config.model import DeveloperMode
from pseudoworker.master.command_server import MOST_CONNECTIONS
from pseudoworker.slave.live_commands import Commands, SlaveCommands
from tests.protocol.live.developing import STATUS, TOKEN, Slave, slave_instance

MASTER_TOKEN = "MasterToken123456"
PAUSE = {"cmd": "set_pause_at_test", "name": "lab-second"}


@dataclass
class Bridge:
    """One job of the bridge in developer mode."""

    relay: DeveloperRelay
    job: DeveloperJob
    notes: list[str]
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """What a live handler makes of the job's statuses (SharedHelpers.pm)."""
        port = self.job.cmd_srv_url.split(":")[2].split("/")[0]
        return f"ws://127.0.0.1:{port}/{MASTER_TOKEN}/ws"

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def bridged(slave: Slave) -> AsyncIterator[Bridge]:
    relay = DeveloperRelay(
        DeveloperMode(),
        SlaveCommands(slave.client, port_delta=0, timeout=2),
        slave_url=lambda job: f"http://slave/tests/{job}",
    )
    notes: list[str] = []
    changed = asyncio.Event()
    job = await relay.offer(
        MASTER_TOKEN, note=notes.append, log=logging.getLogger("test"), changed=changed.set
    )
    assert job is not None
    await job.follow(7)
    try:
        yield Bridge(relay, job, notes, changed)
    finally:
        await job.close()
        await relay.close()


async def message(connection: ClientConnection) -> dict[str, object]:
    async with asyncio.timeout(10):
        text = await connection.recv()
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


async def ask(connection: ClientConnection, command: Mapping[str, object]) -> dict[str, object]:
    await connection.send(json.dumps(command))
    return await message(connection)


async def test_a_viewer_sees_the_state_of_the_test_without_a_session() -> None:
    async with slave_instance() as slave, bridged(slave) as bridge, connect(bridge.url, proxy=None) as viewer:
        assert await ask(viewer, {"cmd": "status"}) == STATUS
        await slave.say({"set_current_test": "second"})
        assert await message(viewer) == {"set_current_test": "second"}
        assert not bridge.job.in_session


async def test_a_session_pauses_and_resumes_the_test() -> None:
    async with (
        slave_instance() as slave,
        bridged(slave) as bridge,
        connect(bridge.url, proxy=None) as handler,
    ):
        bridge.job.session_started()
        assert await ask(handler, PAUSE) == {"set_pause_at_test": "lab-second"}
        await slave.say({"paused": 1, "reason": "reached module lab-second"})
        assert (await message(handler))["paused"] == 1
        assert bridge.job.paused == "reached module lab-second"
        resume = {"cmd": "resume_test_execution", "new_needles": [{"id": 1, "name": "../x"}], "options": {}}
        await ask(handler, resume)
        assert slave.commands == [PAUSE, {**resume, "new_needles": []}]
        assert bridge.job.paused == ""
        assert ["Needles" in note for note in bridge.notes] == [True]


async def test_a_command_waits_for_the_message_of_its_session() -> None:
    """Both are sent at the same moment by different daemons of the master."""
    async with (
        slave_instance() as slave,
        bridged(slave) as bridge,
        connect(bridge.url, proxy=None) as handler,
    ):
        await handler.send(json.dumps(PAUSE))
        bridge.job.session_started()
        assert await message(handler) == {"set_pause_at_test": "lab-second"}
        assert slave.commands == [PAUSE]


async def test_without_a_session_nothing_is_controlled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(developer, "SESSION_DELAY", 0.05)
    async with (
        slave_instance() as slave,
        bridged(slave) as bridge,
        connect(bridge.url, proxy=None) as handler,
    ):
        await handler.send(json.dumps(PAUSE))
        assert await ask(handler, {"cmd": "status"}) == STATUS
        assert slave.commands == [{"cmd": "status"}]


@pytest.mark.parametrize(
    "text",
    [
        '{"cmd": "set_current_test"}',
        '{"cmd": "quit_development_session"}',
        '{"cmd": ["status"]}',
        '{"cmd": null}',
        '["status"]',
        "no json",
        "[" * 5000,
        "",
    ],
)
async def test_what_openqas_live_handler_would_not_pass_on_is_ignored(text: str) -> None:
    async with (
        slave_instance() as slave,
        bridged(slave) as bridge,
        connect(bridge.url, proxy=None) as handler,
    ):
        bridge.job.session_started()
        await handler.send(text)
        assert await ask(handler, {"cmd": "status"}) == STATUS
        assert slave.commands == [{"cmd": "status"}]


@pytest.mark.parametrize(
    "path", ["/", "/ws", "/Wrong/ws", f"/{TOKEN}/ws", f"/{MASTER_TOKEN}", f"/{MASTER_TOKEN}/broadcast"]
)
async def test_other_paths_are_not_there(path: str) -> None:
    async with slave_instance() as slave, bridged(slave) as bridge:
        base = bridge.url.removesuffix(f"/{MASTER_TOKEN}/ws")
        with pytest.raises(InvalidStatus) as refusal:
            await connect(base + path, proxy=None)
        assert refusal.value.response.status_code == 404


async def test_the_path_is_gone_with_the_job() -> None:
    async with slave_instance() as slave, bridged(slave) as bridge:
        async with connect(bridge.url, proxy=None) as handler:
            assert await ask(handler, {"cmd": "status"}) == STATUS
            await bridge.job.close()
            with pytest.raises(ConnectionClosed) as end:
                await message(handler)
            assert end.value.rcvd is not None
            assert end.value.rcvd.code == 1001
        with pytest.raises(InvalidStatus):
            await connect(bridge.url, proxy=None)
        async with asyncio.timeout(5):
            while slave.connections:
                await slave.connections[0].wait_closed()


async def test_connections_for_one_job_are_bounded() -> None:
    async with slave_instance() as slave, bridged(slave) as bridge:
        viewers = [await connect(bridge.url, proxy=None) for _ in range(MOST_CONNECTIONS)]
        for viewer in viewers:
            await ask(viewer, {"cmd": "status"})
        with pytest.raises(InvalidStatus) as refusal:
            await connect(bridge.url, proxy=None)
        assert refusal.value.response.status_code == 429
        for viewer in viewers:
            await viewer.close()


async def test_the_slaves_token_does_not_pass() -> None:
    async with slave_instance() as slave, bridged(slave) as bridge, connect(bridge.url, proxy=None) as viewer:
        await ask(viewer, {"cmd": "status"})
        await slave.say({"paused": {"url": f"http://10.0.2.2:20013/{TOKEN}/data"}})
        assert TOKEN not in json.dumps(await message(viewer))


async def test_garbage_of_the_slave_ends_the_connection() -> None:
    async with slave_instance() as slave, bridged(slave) as bridge, connect(bridge.url, proxy=None) as viewer:
        await ask(viewer, {"cmd": "status"})
        await slave.say("<html>")
        with pytest.raises(ConnectionClosed) as end:
            await message(viewer)
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1011


async def test_the_end_of_os_autoinst_ends_the_connection_and_the_pause() -> None:
    async with slave_instance() as slave, bridged(slave) as bridge, connect(bridge.url, proxy=None) as viewer:
        await ask(viewer, {"cmd": "status"})
        await slave.say({"paused": 1, "reason": "a screen"})
        await bridge.until(lambda: bridge.job.paused == "a screen")
        await slave.connections[0].close()
        await bridge.until(lambda: bridge.job.paused == "")
        assert (await message(viewer))["paused"] == 1
        with pytest.raises(ConnectionClosed):
            await message(viewer)


async def test_an_unreachable_command_server_leaves_the_status_of_the_slaves_live_handler() -> None:
    async with slave_instance() as slave, bridged(slave) as bridge:
        slave.worker["properties"] = {**_properties(slave), "CMD_SRV_URL": "http://localhost:1/x"}
        slave.live_handler = True
        async with connect(bridge.url, proxy=None) as handler:
            bridge.job.session_started()
            assert await message(handler) == STATUS
            assert await ask(handler, PAUSE) == STATUS, "the page is shown what is, not what it asked for"
        assert slave.commands == []
        assert len(bridge.notes) == 1
        assert "only shows the state" in bridge.notes[0]
        assert bridge.notes[0].endswith("http://slave/tests/7#live")
        assert TOKEN not in bridge.notes[0]


@pytest.mark.parametrize(
    "properties",
    [
        {"CMD_SRV_URL": "http://localhost:1/x"},
        {"CMD_SRV_URL": ""},
        {"CMD_SRV_URL": "http://localhost:99999/x"},
        {"JOBTOKEN": ""},
        {"JOBTOKEN": "../../etc"},
        {"WORKER_HOSTNAME": "evil.example.org/path?x="},
        {"WORKER_HOSTNAME": "user@127.0.0.1"},
    ],
)
async def test_no_developer_mode_at_all_is_said_once(
    properties: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(developer, "FAILED_FOR", 0)
    async with slave_instance() as slave, bridged(slave) as bridge:
        slave.worker["properties"] = {**_properties(slave), **properties}
        for count in range(1, 6):
            await _is_closed(bridge)
            assert len(bridge.notes) == (1 if count >= developer.PATIENCE else 0)
        assert bridge.notes[0].endswith("http://slave/tests/7#live")


async def test_the_pages_do_not_make_us_ask_the_slave_all_the_time() -> None:
    async with slave_instance() as slave, bridged(slave) as bridge:
        slave.worker["properties"] = {}
        for _ in range(5):
            await _is_closed(bridge)
        assert slave.asked == 1


async def test_a_command_server_that_comes_late_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(developer, "FAILED_FOR", 0)
    async with slave_instance() as slave, bridged(slave) as bridge:
        properties, slave.worker["properties"] = _properties(slave), {}
        for _ in range(developer.PATIENCE - 1):
            await _is_closed(bridge)
        slave.worker["properties"] = properties
        async with connect(bridge.url, proxy=None) as handler:
            assert await ask(handler, {"cmd": "status"}) == STATUS
        slave.worker["properties"] = {}
        await _is_closed(bridge)
        assert not bridge.notes


async def _is_closed(bridge: Bridge) -> None:
    async with connect(bridge.url, proxy=None) as handler:
        with pytest.raises(ConnectionClosed) as end:
            await message(handler)
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1011


async def test_a_restart_on_the_slave_ends_the_connection_and_the_next_goes_to_the_new_job() -> None:
    async with slave_instance() as slave, bridged(slave) as bridge:
        async with connect(bridge.url, proxy=None) as handler:
            await ask(handler, {"cmd": "status"})
            await bridge.job.follow(None)
            with pytest.raises(ConnectionClosed):
                await message(handler)
        await bridge.job.follow(7)
        async with connect(bridge.url, proxy=None) as handler:
            assert await ask(handler, {"cmd": "status"}) == STATUS


async def test_disabled_means_nothing_listens() -> None:
    relay = DeveloperRelay(DeveloperMode(enabled=False), _Nobody(), slave_url=str)
    assert await relay.offer(MASTER_TOKEN, note=print, log=logging.getLogger("test"), changed=_ignore) is None
    await relay.close()


async def test_a_taken_port_costs_developer_mode_only(caplog: pytest.LogCaptureFixture) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    relay = DeveloperRelay(DeveloperMode(listen=f"127.0.0.1:{port}"), _Nobody(), slave_url=str)
    for _ in range(2):
        offered = relay.offer(MASTER_TOKEN, note=print, log=logging.getLogger("test"), changed=_ignore)
        assert await offered is None
    server.close()
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert f"127.0.0.1:{port}" in errors[0]
    assert "[developer]" in errors[0]
    job = await relay.offer(MASTER_TOKEN, note=print, log=logging.getLogger("test"), changed=_ignore)
    assert job is not None
    assert job.cmd_srv_url == f"http://localhost:{port}/{MASTER_TOKEN}"
    await job.close()
    await relay.close()


def _properties(slave: Slave) -> dict[str, str]:
    properties = slave.worker["properties"]
    assert isinstance(properties, dict)
    return properties


class _Nobody:
    async def connect(self, job_id: int) -> Commands:
        raise AssertionError("nothing is to be connected")


def _ignore() -> None:
    return None
