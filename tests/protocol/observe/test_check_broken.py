"""`pseudoworker check` against set-ups that are broken in one way each."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest

from pseudoworker.bridge.assembly import JOURNAL
from pseudoworker.bridge.checks import assets as assets_module
from pseudoworker.bridge.journal_file import VERSION
from tests.fakes.faults import Fault
from tests.protocol.observe.setup import Setup

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
    setup.shared()
    access = os.access  # root may read everything, so it has to be told otherwise
    patch.setattr(os, "access", lambda path, mode: "factory" not in str(path) and access(path, mode))


def _another_factory(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.shared()
    setup.pair.master.db.register("iso", "tiny.iso", b"tiny")
    setup.pair.slave.db.register("iso", "tiny.iso", b"another")


def _loopback_master(setup: Setup, patch: pytest.MonkeyPatch) -> None:
    setup.transport("url")
    patch.setattr("pseudoworker.bridge.assets.url._loopback", lambda url: url == setup.pair.master.url)


def _taken_asset_server(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.transport("url", f'serve_address = "{setup.pair.master.authority}"')


def _no_gru(setup: Setup, patch: pytest.MonkeyPatch) -> None:
    setup.transport("url")
    patch.setattr(assets_module, "_LOOK_PAUSE", 0.01)
    setup.gru.shown = (0, 3, 0, 0)


def _no_websocket_of_the_slave(setup: Setup, _patch: pytest.MonkeyPatch) -> None:
    setup.transport("upload")
    setup.pair.slave.traffic.faults.append(Fault("ws", "status", status=404, times=0))


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
