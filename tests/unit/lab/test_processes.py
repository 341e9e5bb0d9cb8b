"""Real processes: started detached, stopped whole, and never a stranger's."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.lab.owner import Owner
from examples.lab.processes import MARKER, Daemon, Processes

OURSELVES = Owner(os.getuid(), os.getgid())


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path, tmp_path / "run", OURSELVES)
    yield made
    made.stop_all(made.names(), {})


def daemon(tmp_path: Path, script: str, name: str = "one") -> Daemon:
    return Daemon(
        name=name,
        command=["/bin/sh", "-c", script],
        environment={"PATH": "/usr/bin:/bin"},
        log=tmp_path / f"{name}.log",
        ready=lambda _running: True,
        files=[tmp_path / "configuration"],
    )


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen within 10 s"
        time.sleep(0.02)


def test_a_daemon_runs_until_it_is_stopped(tmp_path: Path, processes: Processes) -> None:
    started = processes.start(daemon(tmp_path, "echo here; exec sleep 60"))
    assert processes.running("one") == started
    wait_for(lambda: "here" in started.log_beginning())
    processes.stop("one")
    assert processes.running("one") is None
    assert processes.names() == []


def test_the_log_of_an_earlier_start_is_not_this_ones(tmp_path: Path, processes: Processes) -> None:
    first = processes.start(daemon(tmp_path, "echo first; exec sleep 60"))
    wait_for(lambda: "first" in first.log_end())
    processes.stop("one")
    second = processes.start(daemon(tmp_path, "echo second; exec sleep 60"))
    wait_for(lambda: "second" in second.log_end())
    assert "first" not in second.log_beginning() + second.log_end()


def test_children_and_orphans_go_too(tmp_path: Path, processes: Processes) -> None:
    processes.start(daemon(tmp_path, "sleep 60 & (setsid sleep 60 &) ; exec sleep 60"))
    wait_for(lambda: len(processes.members("one")) == 3)
    processes.stop("one")
    assert processes.members("one") == []


def test_who_does_not_obey_is_killed(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.lab.processes.STOP_LIMIT", 0.5)
    started = processes.start(daemon(tmp_path, "trap '' TERM; echo deaf; while :; do sleep 1; done"))
    wait_for(lambda: "deaf" in started.log_beginning())
    processes.stop("one")
    assert processes.running("one") is None


def test_a_frozen_daemon_can_be_stopped(tmp_path: Path, processes: Processes) -> None:
    started = processes.start(daemon(tmp_path, "exec sleep 60"))
    assert processes.signal_all("one", signal.SIGSTOP) == [started.pid]
    processes.stop("one")
    assert processes.members("one") == []


def test_a_strangers_process_is_left_alone(tmp_path: Path, processes: Processes) -> None:
    stranger = Processes(tmp_path / "other", tmp_path / "other" / "run", OURSELVES)
    theirs = stranger.start(daemon(tmp_path, "exec sleep 60"))
    try:
        (tmp_path / "run").mkdir()
        record = {"pid": theirs.pid, "fingerprint": "", "log": "/dev/null", "log_start": 0}
        (tmp_path / "run" / "one.json").write_text(json.dumps(record))
        assert processes.running("one") is None
        processes.stop("one")
        assert stranger.running("one") == theirs
    finally:
        stranger.stop("one")


def test_a_name_that_begins_like_another_is_another(tmp_path: Path, processes: Processes) -> None:
    processes.start(daemon(tmp_path, "exec sleep 60", name="worker-1"))
    processes.start(daemon(tmp_path, "exec sleep 60", name="worker-10"))
    processes.stop("worker-1")
    assert processes.running("worker-10") is not None


def test_the_fingerprint_follows_command_environment_and_files(tmp_path: Path) -> None:
    before = daemon(tmp_path, "exec sleep 60")
    known = {before.fingerprint(), daemon(tmp_path, "exec sleep 61").fingerprint()}
    (tmp_path / "configuration").write_text("new")
    known.add(before.fingerprint())
    assert len(known) == 3


def test_a_daemon_carries_the_mark_of_its_lab(tmp_path: Path, processes: Processes) -> None:
    started = processes.start(daemon(tmp_path, "exec sleep 60"))
    environment = Path(f"/proc/{started.pid}/environ")
    mark = f"{MARKER}={tmp_path}/one".encode()
    wait_for(lambda: mark in environment.read_bytes().split(b"\0"))  # none while the system is within exec
    assert os.getsid(started.pid) == started.pid
