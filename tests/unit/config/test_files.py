from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pseudoworker.config.files import Found, lookup_config_files, read_text
from pseudoworker.config.mistakes import Mistakes


class Machine:
    """Directories in which openQA looks."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, *names: str) -> None:
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def found(self, name: str, *, in_home: bool = False, **environment: str) -> Found:
        environment.setdefault("HOME", str(self.root / "home"))
        return lookup_config_files(
            name, environment, in_home=in_home, system_directories=[self.root / "etc", self.root / "usr"]
        )

    def files(self, name: str, *, in_home: bool = False, **environment: str) -> Sequence[str]:
        return self.names(self.found(name, in_home=in_home, **environment).files)

    def names(self, paths: Sequence[Path]) -> Sequence[str]:
        return [str(path.relative_to(self.root)) for path in paths]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_first_place_that_holds_anything_counts(machine: Machine) -> None:
    assert machine.files("client.conf", in_home=True) == []
    machine.put("usr/client.conf")
    assert machine.files("client.conf", in_home=True) == ["usr/client.conf"]
    machine.put("etc/client.conf")
    assert machine.files("client.conf", in_home=True) == ["etc/client.conf"]
    machine.put("home/.config/openqa/client.conf")
    assert machine.files("client.conf") == ["etc/client.conf"]
    assert machine.files("client.conf", in_home=True) == ["home/.config/openqa/client.conf"]
    machine.put("own/client.conf.d/a.conf")
    assert machine.files("client.conf", in_home=True, OPENQA_CONFIG=str(machine.root / "own")) == [
        "own/client.conf.d/a.conf"
    ]
    assert machine.files("client.conf", in_home=True, OPENQA_CONFIG="") == ["home/.config/openqa/client.conf"]


def test_drop_ins_are_sorted_and_come_after_the_main_file(machine: Machine) -> None:
    machine.put(
        "etc/workers.ini",
        "etc/workers.ini.d/b.ini",
        "etc/workers.ini.d/10.ini",
        "etc/workers.ini.d/A.ini",
        "etc/workers.ini.d/.hidden.ini",
        "etc/workers.ini.d/note.txt",
        "etc/workers.ini.d/directory.ini/file",
        "usr/workers.ini.d/never.ini",
    )
    assert machine.files("workers.ini") == [
        "etc/workers.ini",
        "etc/workers.ini.d/10.ini",
        "etc/workers.ini.d/A.ini",
        "etc/workers.ini.d/b.ini",
    ]


def test_drop_ins_alone_do_not_end_the_search_among_the_systems_directories(machine: Machine) -> None:
    machine.put("etc/workers.ini.d/a.ini", "usr/workers.ini", "usr/workers.ini.d/b.ini")
    assert machine.files("workers.ini") == [
        "etc/workers.ini.d/a.ini",
        "usr/workers.ini",
        "usr/workers.ini.d/b.ini",
    ]


def test_what_may_not_be_read_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.put("etc/client.conf", "etc/client.conf.d/a.conf", "usr/client.conf")
    monkeypatch.setattr(os, "access", lambda path, _: "etc" not in str(path))
    original = Path.iterdir

    def iterdir(path: Path) -> object:
        if "etc" in str(path):
            raise PermissionError
        return original(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    found = machine.found("client.conf")
    assert machine.names(found.files) == ["usr/client.conf"]
    assert machine.names(found.unreadable) == ["etc/client.conf", "etc/client.conf.d"]
    assert machine.names(found.looked_at) == ["etc/client.conf", "usr/client.conf"]


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    mistakes = Mistakes()
    path.write_bytes("ä\r\nb".encode())
    assert read_text(path, mistakes) == "ä\r\nb"
    assert not mistakes
    path.write_bytes(b"#" * 1_000_001)
    assert read_text(path, mistakes) is None
    path.write_bytes(b"one\ntwo \xff\n")
    assert read_text(path, mistakes) is None
    assert read_text(tmp_path, mistakes) is None
    assert [str(mistake).replace(str(tmp_path), "") for mistake in mistakes] == [
        "/file: is larger than 1000000 bytes; put a configuration file there",
        "/file:2: byte 0xff is not UTF-8; save the file as UTF-8",
        ": cannot be read (Is a directory); let the service's user read it or remove it",
    ]
