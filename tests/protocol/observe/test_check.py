"""`pseudoworker check` against set-ups that work, and what it does besides."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from pseudoworker.bridge import check as check_module
from pseudoworker.bridge.assembly import JOURNAL
from pseudoworker.bridge.check import check
from pseudoworker.bridge.checks import assets as assets_module
from pseudoworker.bridge.checks.lines import Line
from pseudoworker.bridge.journal import Journal
from pseudoworker.bridge.owner import Ownership
from pseudoworker.config.load import Overrides
from pseudoworker.slave.assets_background import Background
from tests.fakes.exchange import Exchange, Route
from tests.fakes.faults import Fault
from tests.fakes.flavour import TX
from tests.fakes.pair import FakePair
from tests.protocol.observe.setup import Setup


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


@pytest.mark.parametrize("name", ["shared", "local"])
async def test_a_factory_directory_is_known_by_what_lies_in_it(setup: Setup, name: str) -> None:
    setup.shared(name)
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
    setup.transport("url")
    assert [line for line in await setup.check() if line.topic == "asset download"] == []
    assert len(shown) == 2


async def test_the_transports_are_asked_without_a_trace(setup: Setup) -> None:
    setup.transport("upload")
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
