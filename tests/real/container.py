"""A root directory, booted: a systemd of its own in a container that shares this machine's network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.live_bridge import wait_for


def run(*command: str | Path, directory: Path | None = None, may_fail: bool = False, **variables: str) -> str:
    """Run a command to its end and give what it printed; with `may_fail` whatever its exit status."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "LC_ALL": "C.UTF-8", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert may_fail or done.returncode == 0, f"{command}:\n{done.stdout[-6000:]}"
    return done.stdout


class Machine:
    """A container whose process 1 is systemd. `leader` is that process as this machine numbers it."""

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def run(self, *command: str, may_fail: bool = False) -> str:
        """Run a command in the container, beside its systemd."""
        namespaces = ("--mount", "--uts", "--ipc", "--pid", "--root", "--wd")
        return run("nsenter", f"--target={self._leader}", *namespaces, *command, may_fail=may_fail)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()


@contextmanager
def booted(root: Path, log: Path) -> Iterator[Machine]:
    """Boot `root` by systemd-nspawn, which needs no systemd on this machine; shut it down in the end.

    Skips the test where the machine does not allow it.
    """
    (root / "etc/machine-id").write_text("uninitialized\n")
    with log.open("wb") as output:
        container = subprocess.Popen(
            ["systemd-nspawn", f"--directory={root}", "--boot", "--register=no", "--keep-unit",
             "--console=pipe", f"--machine=pseudoworker-{os.getpid()}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_for("a child of systemd-nspawn", lambda: container.poll() is not None or _child(container.pid))
        if container.poll() is not None:
            pytest.skip(f"systemd-nspawn does not run here: {log.read_text()}")
        machine = Machine(_child(container.pid))
        wait_for("systemd", lambda: _is_up(machine), every=0.5)
        yield machine
    finally:
        container.terminate()  # it passes this on as an orderly shutdown
        try:
            container.wait(60)
        except subprocess.TimeoutExpired:
            container.kill()
            container.wait()


def _is_up(machine: Machine) -> bool:
    state = machine.run("systemctl", "is-system-running", may_fail=True).strip()
    return state in ("running", "degraded")  # its first-boot wizard finds no terminal


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0
