"""`pseudoworker check` against set-ups that work and set-ups that are broken in one way each."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import socket
import sqlite3
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from pseudoworker.bridge import check as check_module
from pseudoworker.bridge.assembly import JOURNAL
from pseudoworker.bridge.check import check
from pseudoworker.bridge.checks import assets as assets_module
from pseudoworker.bridge.checks.lines import EXIT_STATUS, Line
from pseudoworker.bridge.journal import Journal
from pseudoworker.bridge.journal_file import VERSION
from pseudoworker.bridge.owner import Ownership
from pseudoworker.config.load import Overrides
from pseudoworker.slave.assets_background import Background
from tests.fakes.exchange import Exchange, Route
from tests.fakes.faults import Fault
from tests.fakes.flavour import TX
from tests.fakes.pair import FakePair
from tests.protocol.assets.world import Gru, minion_route

_PAGE = (
    "<html><title>openQA: Changelog</title><footer>openQA is licensed <a href='x'>GPL-2.0</a> - Version "
    '<a href="/changelog">4.6.1732034221.d00d</a></footer></html>'
)


async def _changelog(_exchange: Exchange) -> web.StreamResponse:
    return web.Response(text=_PAGE, content_type="text/html")


async def _live_root(_exchange: Exchange) -> web.StreamResponse:
    return web.json_response({"name": "openQA Live Handler"})


class Setup:
    """A fake master and slave, a configuration that joins them, and a way to break either."""

    def __init__(self, pair: FakePair, directory: Path, gru: Gru | None = None) -> None:
        self.pair = pair
        self.directory = directory
        self.conf = directory / "conf"
        self.state = directory / "state"
        self.gru = gru or Gru(pair.slave)
        pair.write_config(self.conf, instances=2)

    def append(self, name: str, text: str) -> None:
        with (self.conf / name).open("a") as file:
            file.write(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.conf / name).read_text()
        assert old in text
        (self.conf / name).write_text(text.replace(old, new))

    async def check(self, overrides: Overrides | None = None) -> list[Line]:
        environment = {"OPENQA_CONFIG": str(self.conf), "STATE_DIRECTORY": str(self.state)}
        return await check(overrides or Overrides(instances="1-2"), environment, system_directories=())

    async def line(self, topic: str, overrides: Overrides | None = None) -> str:
        """What is said about one topic, worst first, as text."""
        lines = [line for line in await self.check(overrides) if line.topic == topic]
        assert lines
        return str(max(lines, key=lambda line: EXIT_STATUS[line.level]))


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    pair = FakePair(flavour=TX)
    for side in (pair.master, pair.slave):
        side.extra_routes += [
            Route("GET", "/changelog", "page", _changelog),
            Route("GET", "/", "page", _live_root, port="live"),
        ]
    gru = Gru(pair.slave)
    pair.slave.extra_routes.append(minion_route(gru))
    async with pair:
        yield Setup(pair, tmp_path, gru)


async def test_a_set_up_that_works_has_no_warning_and_changes_nothing(setup: Setup) -> None:
    lines = await setup.check()
    assert [str(line) for line in lines if line.level != "ok"] == []
    told = "\n".join(map(str, lines))
    for part in (
        f"configuration: {setup.conf}/workers.ini, {setup.conf}/pseudoworker.toml, {setup.conf}/client.conf",
        f"value: master.url is set in {setup.conf}/workers.ini:2: [global] HOST",
        "value: the class of slots 1-2 is set in ",
        "master version: openQA 4.6.1732034221.d00d",
        "is accepted and has operator rights",
        "master websocket: the websocket server answers",
        "names: nobody else is connected to the master as ",
        "classes: :lab:qemu_x86_64 (slots 1-2) is qemu_x86_64 on the slave: 4 workers, 4 of them idle",
        f"live handler: answers at http://127.0.0.1:{setup.pair.slave.port + 2}/",
        "assets: auto takes url: the slave downloads from the master, if its download_domains name 127.0.0.1",
        f"state directory: {setup.state} will be made",
        f"journal: {setup.state}/journal.sqlite will be made",
    ):
        assert part in told
    assert not setup.state.exists()
    assert not setup.pair.master.db.workers
    assert not setup.pair.slave.db.jobs
    for secret in ("AAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBB"):
        assert secret not in told


Break = Callable[[Setup, pytest.MonkeyPatch], Awaitable[None] | None]


def _wrong_key(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.replace("client.conf", "1111111111111111", "9999999999999999")


def _wrong_secret(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.replace("client.conf", "BBBBBBBBBBBBBBBB", "9999999999999999")


def _no_rights(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.pair.slave.keys.operator = False


def _expired(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.pair.master.keys.refused = "api key expired"


def _skewed(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.pair.master.keys.skew = 400


def _slightly_skewed(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.pair.slave.keys.skew = -60


async def _down(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    await setup.pair.slave.deafen()


def _unknown_host(setup: Setup, patch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    setup.replace("pseudoworker.toml", setup.pair.slave.url, "http://slave.invalid")
    setup.replace("client.conf", setup.pair.slave.authority, "slave.invalid")
    patch.setattr("socket.getaddrinfo", unknown)


def _no_tls(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.replace("pseudoworker.toml", "http://", "https://")


def _no_authority(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    ca_file = setup.directory / "ca.pem"
    ca_file.write_text("not a certificate\n")
    setup.append("pseudoworker.toml", f'\n[master]\nca_file = "{ca_file}"\n')


def _overloaded(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.pair.master.traffic.faults.append(Fault("register", "status", status=503, times=0))


def _other_page(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.pair.master.traffic.faults.append(Fault("page", "html", status=200, times=0))


def _no_websocket(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.pair.master.traffic.faults.append(Fault("ws", "status", status=404, times=0))


def _too_many_workers(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.pair.master.traffic.faults.append(Fault("ws", "status", status=429, times=0, retry_after="900"))


def _unknown_class(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.replace("workers.ini", ":lab:qemu_x86_64", ":lab:s390x")


def _dead_workers(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    for scripted in setup.pair.slave.crew:
        scripted.worker.t_seen = 0


def _no_live_handler(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.pair.slave.traffic.faults.append(Fault("page", "status", status=404, nth=2, times=0))


def _name_taken(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    worker = setup.pair.master.workers.add(os.uname().nodename, 2)
    worker.t_seen = float("inf")


def _no_directory(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.state.write_text("a file")


def _open_directory(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.state.mkdir(mode=0o755)


def _damaged_journal(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.state.mkdir(mode=0o700)
    (setup.state / JOURNAL).write_bytes(b"this is no database, and long enough to be looked at" * 100)


def _newer_journal(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.state.mkdir(mode=0o700)
    database = sqlite3.connect(setup.state / JOURNAL)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()


def _no_space(_setup: Setup, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=5_000_000))


def _little_space(_setup: Setup, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=50_000_000))


def _few_files(_setup: Setup, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resource, "getrlimit", lambda _which: (128, 4096))


def _open_status_page(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.append("pseudoworker.toml", '\n[observe]\nlisten = "0.0.0.0:9599"\n')


def _taken_status_page(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.append("pseudoworker.toml", f'\n[observe]\nlisten = "127.0.0.1:{setup.pair.master.port}"\n')


def _no_factory(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.append("pseudoworker.toml", '\n[assets]\ntransport = "local"\nfactory_dir = "/nowhere/factory"\n')


def _full_factory(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    (setup.directory / "factory").mkdir()
    setup.append(
        "pseudoworker.toml",
        f'\n[assets]\nfactory_dir = "{setup.directory}/factory"\nmin_free = {10**15}\n',
    )


def _unreadable_factory(setup: Setup, patch: pytest.MonkeyPatch) -> None:
    shared(setup)
    access = os.access  # root may read everything, so it has to be told otherwise
    patch.setattr(os, "access", lambda path, mode: "factory" not in str(path) and access(path, mode))


def _another_factory(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    shared(setup)
    setup.pair.master.db.register("iso", "tiny.iso", b"tiny")
    setup.pair.slave.db.register("iso", "tiny.iso", b"another")


def _loopback_master(setup: Setup, patch: pytest.MonkeyPatch) -> None:
    transport(setup, "url")
    patch.setattr("pseudoworker.bridge.assets.url._loopback", lambda url: url == setup.pair.master.url)


def _taken_asset_server(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    transport(setup, "url", f'serve_address = "{setup.pair.master.authority}"')


def _no_gru(setup: Setup, patch: pytest.MonkeyPatch) -> None:
    transport(setup, "url")
    patch.setattr(assets_module, "_LOOK_PAUSE", 0.01)
    setup.gru.shown = (0, 3, 0, 0)


def _no_websocket_of_the_slave(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    transport(setup, "upload")
    setup.pair.slave.traffic.faults.append(Fault("ws", "status", status=404, times=0))


def transport(setup: Setup, name: str, more: str = "") -> None:
    setup.append("pseudoworker.toml", f'\n[assets]\ntransport = "{name}"\n{more}\n')


def shared(setup: Setup, name: str = "shared") -> None:
    """A factory directory with one file."""
    factory = setup.directory / "factory"
    (factory / "iso").mkdir(parents=True)
    (factory / "iso" / "tiny.iso").write_bytes(b"tiny")
    transport(setup, name, f'factory_dir = "{factory}"')


BROKEN: list[tuple[Break, str, str, str]] = [
    (
        _wrong_key,
        "error",
        "master key",
        "the key from {conf}/client.conf:2: [{master}] key is refused: Not authorized; check that "
        "the key for this host in client.conf exists on that openQA",
    ),
    (
        _wrong_secret,
        "error",
        "slave key",
        "the key from {conf}/client.conf:6: [{slave}] key is refused: unknown error (wrong "
        "secret?); check the secret for this host in client.conf, and the path of the URL when a "
        "proxy adds one",
    ),
    (
        _no_rights,
        "error",
        "slave key",
        "the key from {conf}/client.conf:6: [{slave}] key is refused: Administrator level "
        "required; give the key's user the operator role on that openQA",
    ),
    (
        _expired,
        "error",
        "master key",
        "the key from {conf}/client.conf:2: [{master}] key is refused: api key expired; create a "
        "new API key on that openQA",
    ),
    (
        _skewed,
        "error",
        "master clock",
        "differs from ours by +400 s; requests are refused from 300 s on; synchronise both clocks",
    ),
    (
        _slightly_skewed,
        "warning",
        "slave clock",
        "differs from ours by -60 s; synchronise both clocks",
    ),
    (
        _down,
        "error",
        "slave reachable",
        "GET http://{slave}/changelog: connection refused; check that openQA runs there",
    ),
    (
        _unknown_host,
        "error",
        "slave reachable",
        "GET http://slave.invalid/changelog: host name cannot be resolved: Name or service not "
        "known; check the URL and DNS",
    ),
    (
        _no_tls,
        "error",
        "slave reachable",
        "GET https://{slave}/changelog: TLS failed:",
    ),
    (
        _no_authority,
        "error",
        "master reachable",
        "{directory}/ca.pem holds no certificates that can be used",
    ),
    (
        _overloaded,
        "error",
        "master key",
        "POST http://{master}/api/v1/workers: 503",
    ),
    (
        _other_page,
        "warning",
        "master version",
        "http://{master} does not look like openQA; check the URL, and the path that a proxy may want",
    ),
    (
        _no_websocket,
        "error",
        "master websocket",
        "ws://{master}/api/v1/ws/2147483647: 404",
    ),
    (
        _too_many_workers,
        "warning",
        "master websocket",
        "",
    ),
    (
        _unknown_class,
        "error",
        "classes",
        ":lab:s390x (slots 1-2) is s390x on the slave, which no worker there has; start a worker "
        "of that class there, or use one of qemu_x86_64",
    ),
    (
        _dead_workers,
        "error",
        "classes",
        ":lab:qemu_x86_64 (slots 1-2) is qemu_x86_64 on the slave, which no worker there has; "
        "start a worker of that class there, or use one of no class at all",
    ),
    (
        _no_live_handler,
        "warning",
        "live handler",
        "does not answer at http://{slave}/liveviewhandler/pseudoworker, so there may be no "
        "live screen; start openqa-livehandler there and let a proxy pass /liveviewhandler on; "
        "jobs run without it",
    ),
    (
        _name_taken,
        "warning",
        "names",
        "somebody else is connected to the master as {host}:2; stop whoever uses the name, or "
        "choose another host in pseudoworker.toml or another --instance",
    ),
    (
        _no_directory,
        "error",
        "state directory",
        "{state} is no directory; set another state_dir in pseudoworker.toml",
    ),
    (
        _open_directory,
        "warning",
        "state directory",
        "{state} has mode 755, and the journal in it holds secrets of jobs; chmod 700 {state}",
    ),
    (
        _damaged_journal,
        "warning",
        "journal",
        "{state}/journal.sqlite is damaged (file is not a database); it is set aside at the next "
        "start, and jobs are looked for on the slave",
    ),
    (
        _newer_journal,
        "error",
        "journal",
        f"{{state}}/journal.sqlite is of version {VERSION + 1}, this release knows up to {VERSION}; start the"
        " newer pseudoworker again, or move the file away",
    ),
    (
        _no_space,
        "error",
        "free space",
        "only 5.0 MB for {state}; make room, or set another state_dir in pseudoworker.toml",
    ),
    (
        _little_space,
        "warning",
        "free space",
        "only 50 MB for {state}; make room",
    ),
    (
        _few_files,
        "warning",
        "open files",
        "208 may be needed for 2 slots, 128 are allowed; raise LimitNOFILE= of the unit, or ulimit -n 208",
    ),
    (
        _open_status_page,
        "error",
        "configuration",
        "{conf}/pseudoworker.toml:8: [observe] listen: '0.0.0.0:9599' can be reached from other machines",
    ),
    (
        _taken_status_page,
        "error",
        "status page",
        "cannot listen on {master} (Address already in use)",
    ),
    (
        _no_factory,
        "error",
        "assets",
        "transport local: factory_dir /nowhere/factory is no directory; is it mounted?; mend it "
        "or choose another transport",
    ),
    (
        _unreadable_factory,
        "error",
        "assets",
        "transport shared: factory_dir {directory}/factory can not be read by user ",
    ),
    (
        _another_factory,
        "error",
        "asset directory",
        "http://{slave} serves none of iso/tiny.iso as they are in {directory}/factory; factory_dir of "
        "[assets] must be that instance's own directory",
    ),
    (
        _loopback_master,
        "error",
        "assets",
        "transport url: the slave can not reach the master as http://{master}, and serve_address of "
        "[assets] is not set; set serve_address of [assets], or HOST by the name that the slave knows",
    ),
    (
        _taken_asset_server,
        "error",
        "asset server",
        "cannot listen on {master} (Address already in use); choose another port; choose another "
        "serve_address of [assets], or free it",
    ),
    (
        _no_gru,
        "warning",
        "asset download",
        "3 background tasks wait on the slave, and nobody works on one; start openqa-gru there",
    ),
    (
        _no_websocket_of_the_slave,
        "error",
        "asset upload",
        "ws://{slave}/api/v1/ws/2147483647: 404",
    ),
    (
        _full_factory,
        "error",
        "asset space",
        "",
    ),
]


@pytest.mark.parametrize(
    ("broken", "level", "topic", "expected"), BROKEN, ids=[case[0].__name__[1:] for case in BROKEN]
)
async def test_a_broken_set_up_has_the_line_that_says_so(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, broken: Break, level: str, topic: str, expected: str
) -> None:
    result = broken(setup, monkeypatch)
    if result is not None:
        await result
    expected = f"{level:<8}{topic}: {expected}".format(
        conf=setup.conf,
        directory=setup.directory,
        state=setup.state,
        master=setup.pair.master.authority,
        slave=setup.pair.slave.authority,
        host=os.uname().nodename,
    )
    line = await setup.line(topic)
    assert line[: len(expected)] == expected


@pytest.mark.parametrize("name", ["shared", "local"])
async def test_a_factory_directory_is_known_by_what_lies_in_it(setup: Setup, name: str) -> None:
    shared(setup, name)
    sides = (setup.pair.master, setup.pair.slave) if name == "shared" else (setup.pair.slave,)
    for side in sides:
        side.db.register("iso", "tiny.iso", b"tiny")
    told = [str(line) for line in await setup.check() if line.topic == "asset directory"]
    factory = setup.directory / "factory"
    text = f"serves 1 of 1 files of {factory} that were looked for"
    assert told == [f"ok      asset directory: {side.url} {text}" for side in sides]
    (factory / "iso" / "tiny.iso").unlink()
    assert await setup.line("asset directory") == (
        f"ok      asset directory: {factory} holds no file by which to see whose it is"
    )


async def test_what_auto_would_take_first_decides_what_is_asked_for(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await setup.line("assets")).endswith(
        "(its download_domains cannot be asked); else upload, by a helper job"
        " (factory_dir of [assets] is not set)"
    )
    assert (await setup.line("asset upload")) == "ok      asset upload: the websocket server answers"
    setup.pair.slave.traffic.faults.append(Fault("ws", "status", status=404, times=0))
    assert (await setup.line("asset upload")).startswith("warning asset upload: ws://")
    monkeypatch.setattr("pseudoworker.bridge.assets.url._loopback", lambda url: url == setup.pair.master.url)
    assert (await setup.line("assets")).startswith(
        "ok      assets: auto takes upload, by a helper job, since the"
    )
    assert (await setup.line("asset upload")).startswith("error   asset upload: ws://")
    setup.append("pseudoworker.toml", '\n[assets]\nserve_address = "127.0.0.1:0"\n')
    assert (await setup.line("assets")).startswith(
        "ok      assets: auto takes url: the slave downloads from 127.0.0.1:0 here, if its download_domains"
    )
    assert (await setup.line("asset server")).startswith(
        "ok      asset server: 127.0.0.1:0 can be listened on"
    )


async def test_background_tasks_that_have_just_come_are_no_trouble(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(_client: object) -> Background:
        shown.append(Background(0, 2, 0, 0) if not shown else Background(1, 1, 0, 1))
        return shown[-1]

    shown: list[Background] = []
    monkeypatch.setattr(assets_module, "background", look)
    monkeypatch.setattr(assets_module, "_LOOK_PAUSE", 0.01)
    transport(setup, "url")
    assert [line for line in await setup.check() if line.topic == "asset download"] == []
    assert len(shown) == 2


async def test_the_transports_are_asked_without_a_trace(setup: Setup) -> None:
    transport(setup, "upload")
    before = set(setup.pair.slave.db.workers)
    assert (await setup.line("assets")).startswith("ok      assets: transport upload: ")
    assert set(setup.pair.slave.db.workers) == before
    assert not setup.pair.slave.db.jobs


async def test_every_mistake_is_shown_and_the_rest_is_checked_all_the_same(setup: Setup) -> None:
    setup.replace("client.conf", f"[{setup.pair.slave.authority}]", "[elsewhere]")
    setup.append("pseudoworker.toml", "\n[limits]\npoll_interval = -1\nno_such_key = 1\n")
    lines = await setup.check()
    mistakes = [str(line) for line in lines if line.topic == "configuration"]
    assert len(mistakes) == 3
    assert all(line.startswith("error   configuration: ") and "; " in line for line in mistakes)
    by_topic = {line.topic: line for line in lines}
    assert str(by_topic["slave key"]) == (
        f"error   slave key: there is no key for {setup.pair.slave.url}; mend the configuration first"
    )
    assert by_topic["slave reachable"].level == by_topic["classes"].level == "ok"
    assert by_topic["master key"].level == "ok"


async def test_without_any_file_it_says_where_it_looked(tmp_path: Path) -> None:
    lines = await check(Overrides(), {"OPENQA_CONFIG": str(tmp_path)}, system_directories=())
    told = "\n".join(map(str, lines))
    assert (
        f"error   configuration: workers.ini: not found (looked at {tmp_path}/workers.ini); write one" in told
    )
    assert "error   slave reachable: slave was not asked, as its URL is not known; mend" in told


async def test_a_second_owner_is_named(setup: Setup) -> None:
    setup.state.mkdir(mode=0o700)
    owner = Ownership(setup.state, [1, 2])
    owner.acquire()
    worker = setup.pair.master.workers.add(os.uname().nodename, 1)
    worker.t_seen = float("inf")
    try:
        line = await setup.line("slots")
        assert line.startswith(f"warning slots: already served: 1-2 by pid {os.getpid()} since ")
        assert line.endswith(
            "a second process for them refuses to start; nothing to do if this is the service"
        )
        assert (await setup.line("names")).startswith("ok")
    finally:
        owner.release()
    assert (await setup.line("slots")).startswith("ok      slots: 1-2 are served by no process")


async def test_a_worker_that_has_quit_does_not_hold_its_name(setup: Setup) -> None:
    worker = setup.pair.master.workers.add(os.uname().nodename, 1)
    worker.t_seen = float("inf")
    worker.error = "graceful disconnect at 2026-11-26T20:10:29"
    assert (await setup.line("names")).startswith("ok")


async def test_a_sound_journal_is_left_as_it_is(setup: Setup) -> None:
    path = setup.state / JOURNAL
    journal = Journal(path, master_url="m", slave_url="s")
    await journal.open()
    assert (await setup.line("journal")) == f"ok      journal: {path} is sound"
    await journal.close()
    assert (await setup.line("journal")) == f"ok      journal: {path} is sound"


async def test_behind_a_proxy_the_live_handler_is_found_below_the_url(tmp_path: Path) -> None:
    async def not_found(exchange: Exchange) -> web.StreamResponse:
        # streamed: the fake's web UI turns other errors into JSON, which the live handler never does
        response = web.StreamResponse(status=404, headers={"Content-Type": "text/html"})
        await response.prepare(exchange.request)
        await response.write(b"Not found")
        return response

    pair = FakePair(slave={"prefix": "/openqa"}, flavour=TX)
    pair.slave.extra_routes.append(Route("GET", "/liveviewhandler/pseudoworker", "streaming", not_found))
    async with pair:
        line = await Setup(pair, tmp_path).line("live handler")
    assert line == f"ok      live handler: answers below {pair.slave.url}/liveviewhandler"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path, "-out", f"{path}.cert",
         "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + Path(f"{path}.cert").read_text())
    return path


async def test_a_certificate_of_an_unknown_authority_is_said_to_be_one(
    setup: Setup, certificate: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as server:
        authority = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        setup.replace("client.conf", setup.pair.slave.authority, authority)
        line = await setup.line("slave reachable", Overrides(slave=f"https://{authority}"))
        assert line == (
            f"error   slave reachable: GET https://{authority}/changelog: TLS certificate is not trusted:"
            " self-signed certificate; check the CA file for this host"
        )
        setup.append("pseudoworker.toml", f'ca_file = "{certificate}"\n')
        line = await setup.line("slave reachable", Overrides(slave=f"https://{authority}"))
        assert "TLS" not in line


def test_the_command_prints_json_and_the_exit_status_is_that_of_the_worst_line(
    setup: Setup, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lines(*_arguments: object) -> list[Line]:
        return [Line("ok", "a", "b"), Line("warning", "c", "d\x1b[2J", "e"), Line("ok", "f", "g")]

    monkeypatch.setattr(check_module, "check", lines)
    assert check_module.run(Overrides()) == 1
    assert capsys.readouterr().out == (
        "ok      a: b\nwarning c: d?[2J; e\nok      f: g\n2 ok, 1 warnings, 0 errors\n"
    )
    assert check_module.run(Overrides(), json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["result"] == "warning"
    assert document["lines"][1] == {"level": "warning", "topic": "c", "text": "d\x1b[2J", "advice": "e"}
