"""One owner for each slot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pseudoworker.bridge.owner import AlreadyOwned, Ownership, lock_path

HOLD = """
import sys
from pathlib import Path
from pseudoworker.bridge.owner import Ownership
owner = Ownership(Path(sys.argv[1]), [2, 3])
owner.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def owning(directory: Path, *instances: int) -> Iterator[Ownership]:
    owner = Ownership(directory, instances)
    owner.acquire()
    try:
        yield owner
    finally:
        owner.release()


def test_a_second_owner_is_refused_and_the_first_named(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        told = rf"instance 2 is already served by pid {first.pid} since \d{{4}}-.*slot-2\.lock"
        with pytest.raises(AlreadyOwned, match=told), owning(tmp_path, 1, 2):
            pass
        with owning(tmp_path, 1):
            pass  # what the second had got by then was given back
        first.kill()
        first.wait()
    with owning(tmp_path, 1, 2):
        pass


def test_locks_are_given_back(tmp_path: Path) -> None:
    with owning(tmp_path, 2, 1) as owner:
        assert f"pid {os.getpid()} since" in lock_path(tmp_path, 1).read_text()
        assert lock_path(tmp_path, 1).stat().st_mode & 0o777 == 0o600
        with pytest.raises(AlreadyOwned, match=r"instance 1 .* stop that process first"), owning(tmp_path, 1):
            pass
        owner.release()
        with owning(tmp_path, 1):
            pass


def test_an_owner_without_a_name(tmp_path: Path) -> None:
    with owning(tmp_path, 1):
        lock_path(tmp_path, 1).write_text("")
        with pytest.raises(AlreadyOwned, match="served by another process"), owning(tmp_path, 1):
            pass


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), owning(tmp_path / "nowhere", 1):
        pass
