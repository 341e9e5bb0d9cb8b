"""The tree that `make install` makes, once for all tests of this directory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Installed:
    """What `make install` put in place, under a PREFIX of its own, so that it runs from there."""

    prefix: Path

    @property
    def program(self) -> Path:
        """The command."""
        return self.prefix / "bin" / "pseudoworker"

    @property
    def units(self) -> Path:
        """The directory of the units."""
        return self.prefix / "lib" / "systemd" / "system"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The tree, run by this very Python."""
    prefix = tmp_path_factory.mktemp("installed") / "usr"
    subprocess.run(
        ["make", "--silent", "install", f"PREFIX={prefix}", f"INTERPRETER={sys.executable}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return Installed(prefix)


def copy_tree(target: Path) -> None:
    """Copy what git knows, or would add, to a new directory: the tree as somebody who clones it gets it."""
    target.mkdir()
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    files = [name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]
    subprocess.run(["cp", "--parents", "-t", target, *files], cwd=ROOT, check=True)
