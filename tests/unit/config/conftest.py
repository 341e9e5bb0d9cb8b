"""A configuration directory that works, to be spoilt by the tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pseudoworker.config import Configuration, ConfigurationError, Overrides, load

WORKERS_INI = """\
[global]
HOST = http://127.0.0.1:21000
WORKER_CLASS = :lab:qemu_x86_64
"""

PSEUDOWORKER_TOML = """\
[slave]
url = "http://127.0.0.1:22000"
location = "lab"
"""

CLIENT_CONF = """\
[127.0.0.1:21000]
key = 1111111111111111
secret = AAAAAAAAAAAAAAAA
[127.0.0.1:22000]
key = 2222222222222222
secret = BBBBBBBBBBBBBBBB
"""

NOTHING = Overrides()


class Directory:
    """A directory with the three files; `load` reads them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("workers.ini", WORKERS_INI)
        self.write("pseudoworker.toml", PSEUDOWORKER_TOML)
        self.write("client.conf", CLIENT_CONF)

    def write(self, name: str, content: str | bytes) -> None:
        """Write one file, in a folder of its own if need be."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def append(self, name: str, content: str) -> None:
        """Add to one file."""
        self.write(name, (self.path / name).read_text() + content)

    def remove(self, name: str) -> None:
        """Remove one file."""
        (self.path / name).unlink()

    def load(self, overrides: Overrides = NOTHING, **environment: str) -> Configuration:
        """The configuration, from this directory alone."""
        overrides = replace(overrides, config_dir=self.path)
        return load(overrides, environment, system_directories=())

    def mistakes(self, overrides: Overrides = NOTHING, **environment: str) -> list[str]:
        """The mistakes as they are shown, without the path of this directory."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(overrides, **environment)
        lines = str(caught.value).split("\n")
        assert lines == [str(mistake) for mistake in caught.value.mistakes]
        return [line.replace(f"{self.path}/", "") for line in lines]


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    path = tmp_path / "config"
    path.mkdir()
    return Directory(path)
