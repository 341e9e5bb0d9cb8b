"""`pseudoworker check` against two real instances: what its lines rest on holds there."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.lab.federation import write_configuration
from examples.lab.layout import current_lab
from pseudoworker.bridge.check import check
from pseudoworker.bridge.checks.lines import Line
from pseudoworker.config.load import Overrides

pytestmark = pytest.mark.real


_VERSIONS = {"": "openQA of 2023", "backports": "openQA 4.6.17", "sid": "openQA 5.1"}
"""How the version of each release that the lab can run begins, by the name of its root directory."""


class _SetUp:
    def __init__(self, directory: Path) -> None:
        self.lab = current_lab()
        self.conf = directory / "conf"
        self.state = directory / "state"
        self.conf.mkdir()
        write_configuration(self.lab, self.conf)
        # a name of its own, whoever else works on the lab now
        toml = self.conf / "pseudoworker.toml"
        toml.write_text('host = "check-test"\n' + toml.read_text())

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.conf / name).read_text()
        assert old in text
        (self.conf / name).write_text(text.replace(old, new))

    async def lines(self) -> list[Line]:
        environment = {"OPENQA_CONFIG": str(self.conf), "STATE_DIRECTORY": str(self.state)}
        return await check(Overrides(instances="90-91"), environment, system_directories=())

    async def line(self, topic: str) -> str:
        (line,) = [line for line in await self.lines() if line.topic == topic]
        return str(line)


@pytest.fixture
def set_up(tmp_path: Path) -> _SetUp:
    return _SetUp(tmp_path)


async def test_the_lab_can_be_joined_and_nothing_is_left_on_either_side(set_up: _SetUp) -> None:
    lines = await set_up.lines()
    assert [str(line) for line in lines if line.level != "ok"] == []
    told = "\n".join(map(str, lines))
    for instance in set_up.lab:
        version = _VERSIONS[instance.root.name if instance.root else ""]
        assert f"ok      {instance.name} version: {version}" in told
    assert "master key: the key from " in told
    assert "master websocket: the websocket server answers" in told
    assert f"live handler: answers at http://127.0.0.1:{set_up.lab.slave.base_port + 2}/" in told
    again = await set_up.line("names")
    assert again == "ok      names: nobody else is connected to the master as check-test:90-91"


async def test_a_factory_directory_is_the_slaves_own_or_another(set_up: _SetUp) -> None:
    slave = set_up.lab.slave
    toml = set_up.conf / "pseudoworker.toml"
    without = toml.read_text()
    toml.write_text(f'{without}\n[assets]\ntransport = "local"\nfactory_dir = "{slave.factory_directory}"\n')
    line = await set_up.line("asset directory")
    assert line.startswith(f"ok      asset directory: {slave.url} serves ")
    another = set_up.conf.parent / "factory"
    (another / "iso").mkdir(parents=True)
    (another / "iso" / "no-such.iso").write_bytes(b"another")
    toml.write_text(f'{without}\n[assets]\ntransport = "shared"\nfactory_dir = "{another}"\n')
    told = [str(line) for line in await set_up.lines() if line.topic == "asset directory"]
    assert [line[:25] for line in told] == ["error   asset directory: "] * 2, told


async def test_what_the_helper_worker_of_upload_needs_is_there(set_up: _SetUp) -> None:
    toml = set_up.conf / "pseudoworker.toml"
    toml.write_text(toml.read_text() + '\n[assets]\ntransport = "upload"\n')
    assert await set_up.line("asset upload") == "ok      asset upload: the websocket server answers"


async def test_a_key_that_is_not_known_is_refused(set_up: _SetUp) -> None:
    set_up.replace("client.conf", set_up.lab.master.operator.key, "0123456789ABCDEF")
    assert "is refused: Not authorized; check that the key for this host" in await set_up.line("master key")


async def test_a_wrong_secret_is_refused(set_up: _SetUp) -> None:
    set_up.replace("client.conf", set_up.lab.slave.operator.secret, "0123456789ABCDEF")
    line = await set_up.line("slave key")
    assert line.startswith("error   slave key: ")
    assert "wrong secret" in line


async def test_a_key_without_rights_is_told_what_it_lacks(set_up: _SetUp) -> None:
    slave = set_up.lab.slave
    set_up.replace("client.conf", slave.operator.key, slave.viewer.key)
    set_up.replace("client.conf", slave.operator.secret, slave.viewer.secret)
    line = await set_up.line("slave key")
    assert line.startswith("error   slave key: ")
    assert line.endswith("level required; give the key's user the operator role on that openQA")


async def test_a_class_that_no_worker_has_is_named_with_those_there_are(set_up: _SetUp) -> None:
    set_up.replace("workers.ini", ":lab:qemu_x86_64", ":lab:no_such_class")
    line = await set_up.line("classes")
    assert line.startswith("error   classes: :lab:no_such_class (slots 90-91) is no_such_class on the slave,")
    assert "qemu_x86_64" in line


async def test_what_is_no_openqa_is_said_to_be_none(set_up: _SetUp) -> None:
    live_handler = f"127.0.0.1:{set_up.lab.slave.base_port + 2}"
    for name in ("pseudoworker.toml", "client.conf"):
        set_up.replace(name, set_up.lab.slave.host, live_handler)
    line = await set_up.line("slave version")
    assert line.startswith(f"warning slave version: http://{live_handler} does not look like openQA; check")
