"""The lab itself: what runs, whose keys may do what, and that only what is missing is started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest

from examples.lab import ApiError, Instance, OpenqaApi, add_asset, current_lab, remove_asset

pytestmark = pytest.mark.real

LAB = Path(__file__).parents[2] / "examples" / "lab" / "lab"
INSTANCES = list(current_lab())


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LAB, *arguments], capture_output=True, text=True, check=False)


def pids() -> dict[str, str]:
    lines = lab("status").stdout.splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def test_starting_again_starts_nothing() -> None:
    before = pids()
    done = lab("up")
    assert done.returncode == 0, done.stderr
    assert " 0 started" in done.stdout
    assert pids() == before


def test_only_what_died_is_started_again() -> None:
    before = pids()
    assert lab("kill", "slave", "livehandler").returncode == 0
    broken = lab("status")
    assert broken.returncode == 1
    assert [line.split()[0] for line in broken.stdout.splitlines() if "stopped" in line] == [
        "slave-livehandler"
    ]
    assert " 1 started" in lab("up").stdout
    after = pids()
    assert {name for name in before if before[name] != after[name]} == {"slave-livehandler"}


def test_installing_again_is_quick_and_does_nothing() -> None:
    done = lab("install")
    assert done.stdout == "everything is installed\n"


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda instance: instance.name)
def test_a_key_without_rights_may_read_but_not_post(instance: Instance) -> None:
    viewer = OpenqaApi(instance.url, instance.viewer)
    assert "jobs" in viewer.get("jobs", limit=1)
    with pytest.raises(ApiError, match="403"):
        viewer.post("jobs", {"TEST": "refused"})


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda instance: instance.name)
def test_the_database_can_be_asked(instance: Instance) -> None:
    with psycopg.connect(instance.dsn) as connection:
        rows = connection.execute("SELECT username FROM users WHERE username = 'operator'").fetchall()
    assert rows == [("operator",)]


def test_an_asset_can_be_put_on_one_side(request: pytest.FixtureRequest) -> None:
    instances = current_lab()
    name = "only-on-the-master.iso"
    request.addfinalizer(lambda: remove_asset(instances.master, "iso", name))
    path = add_asset(instances.master, "iso", name, instances.iso)
    assert path.read_bytes() == instances.iso.read_bytes()
    assert path.owner() == instances.master.factory_directory.owner()
    assert not (instances.slave.factory_directory / "iso" / name).exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("stop", "third"), "no instance 'third'"),
        (("stop", "slave", "worker", "9"), "no daemon 'worker-9'"),
        (("post", "slave", "nothing"), "no variant 'nothing'"),
        (("post", "slave", "short", "SETTING"), "KEY=VALUE"),
    ],
)
def test_a_mistake_is_named(arguments: tuple[str, ...], complaint: str) -> None:
    done = lab(*arguments)
    assert done.returncode == 1
    assert complaint in done.stderr
