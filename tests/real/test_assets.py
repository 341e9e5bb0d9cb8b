"""Assets between two real instances: each transport carries the guest, and products come back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from examples.lab.api import OpenqaApi
from examples.lab.layout import Instance, current_lab
from examples.lab.variants import VARIANTS
from pseudoworker.bridge.assets.url import UrlTransport
from pseudoworker.openqa.messages import Grabbed
from pseudoworker.openqa.retry import READ
from pseudoworker.openqa.views import JobView
from pseudoworker.slave.jobs import NewJob, SlaveJobs
from tests.fakes.ports import free_ports
from tests.real.assets_lab import LabAssets, lab_assets, put_asset
from tests.real.live_bridge import Bridge, bridge

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


@pytest.fixture
def iso() -> Iterator[str]:
    """The guest under a name of its own, on the master alone."""
    name = f"assets-{secrets.token_hex(4)}.iso"
    lab = current_lab()
    put_asset(lab.master, "iso", name, lab.iso)
    yield name
    for instance in lab:
        for path in (instance.factory_directory / "iso").glob(f"*{name}"):
            path.unlink()


async def ended(la: LabAssets, job_id: int, limit: float = 400) -> JobView:
    """A job of the slave when it is over."""
    jobs = SlaveJobs(la.slave)
    async with asyncio.timeout(limit):
        while True:
            job = (await jobs.views([job_id], policy=READ))[job_id]
            if job.state in ("done", "cancelled"):
                return job
            await asyncio.sleep(1)


async def run_on_slave(la: LabAssets, variant: str, **settings: str) -> JobView:
    """Post a job of the lab's test distribution to the slave and wait for its end."""
    parameters = VARIANTS[variant].parameters(settings, secrets.token_hex(4))
    ids = await SlaveJobs(la.slave).create([NewJob("job", parameters)])
    return await ended(la, ids["job"])


@pytest.mark.parametrize("transport", ["local", "url", "bridge", "upload"])
async def test_each_transport_carries_the_guest_and_the_job_passes(
    tmp_path: Path, iso: str, transport: str
) -> None:
    policy: dict[str, Any] = {"transport": transport}
    if transport == "bridge":
        policy = {"transport": "url", "serve_address": f"127.0.0.1:{free_ports(1)}"}
    async with lab_assets(tmp_path, seen=transport == "local", **policy) as la:
        if transport == "bridge":
            (url,) = la.assets.provider._placer.transports
            assert isinstance(url, UrlTransport)
            url._refused["master"] = (float("inf"), "as if it could not be reached")
        provided = await la.provide(ISO=iso)
        how = {"url": "url, from the master", "bridge": "url, from the bridge"}.get(transport, transport)
        assert provided.transports == {f"iso/{iso}": how}
        assert provided.moved == la.lab.iso.stat().st_size
        slave_file = la.lab.slave.factory_directory / "iso" / iso
        assert slave_file.read_bytes() == la.lab.iso.read_bytes()
        assert slave_file.stat().st_mode & 0o777 == 0o644
        job = await run_on_slave(la, "short", ISO=iso)
        await provided.held.release()
        assert (job.result, job.reason) == ("passed", None)
        assert (await la.provide(ISO=iso)).moved == 0


# Through the whole bridge:


@pytest.fixture
def location() -> str:
    return f"assets{secrets.token_hex(3)}"


def posted(running: Bridge, variant: str, unique: str, **settings: str) -> dict[str, int]:
    """Post all jobs of a variant on the master for this bridge; their ids by suffix."""
    api = OpenqaApi(running.lab.master.url, running.lab.master.operator)
    own = {"WORKER_CLASS": f":{running.location}:qemu_x86_64", **settings}
    answer = api.post("jobs", VARIANTS[variant].parameters(own, unique))
    ids: dict[str, int] = answer.get("ids") or {"": answer["id"]}
    return ids


def job_of(instance: Instance, job_id: int) -> dict[str, Any]:
    job: dict[str, Any] = OpenqaApi(instance.url).get(f"jobs/{job_id}")["job"]
    return job


def slave_job_of(running: Bridge, master_job: int) -> int:
    """The slave job of a job that has ended, by the story that it left on the master."""
    story = story_of(running.lab.master, master_job)
    match = re.search(r"slave job created: \S+/tests/(\d+)", story)
    assert match is not None, story
    return int(match[1])


def story_of(master: Instance, job_id: int) -> str:
    return (master.job_directory(job_id) / "worker-log.txt").read_text()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("variant", ["private", "chain", "direct"])
def test_a_disk_that_a_job_made_is_booted_by_the_next_without_being_moved(
    tmp_path: Path, location: str, variant: str
) -> None:
    lab = current_lab()
    unique = secrets.token_hex(4)
    plain = f"lab-disk-{unique}.qcow2"
    with bridge(lab, tmp_path, slots=2, location=location) as running:
        ids = posted(running, variant, unique)
        jobs = {suffix: running.wait_for_state(job_id, "done", 500) for suffix, job_id in ids.items()}
        assert {job["result"] for job in jobs.values()} == {"passed"}, jobs
        install = ids.get("install") or ids["first"]
        use = ids.get("use") or ids["second"]
        slave_install = slave_job_of(running, install)
    on_master = f"{install:08d}-{plain}" if variant == "private" else plain
    on_slave = f"{slave_install:08d}-{plain}" if variant == "private" else plain
    made, copy = (
        instance.factory_directory / "hdd" / name
        for instance, name in ((lab.slave, on_slave), (lab.master, on_master))
    )
    assert made.stat().st_size == copy.stat().st_size
    assert sha256(made) == sha256(copy)
    assert job_of(lab.master, install)["assets"]["hdd"] == [on_master]
    assert job_of(lab.slave, slave_job_of(running, use))["settings"]["HDD_1"] == on_slave
    # nothing of it was moved to the slave: there is no other copy, and the story says where it was
    assert [path.name for path in (lab.slave.factory_directory / "hdd").glob(f"*{plain}")] == [on_slave]
    story = story_of(lab.master, use)
    assert "brought to the slave" not in story
    if variant == "private":
        assert f"there as hdd/{on_slave}, which the paired job produced" in story
    elif variant == "chain":
        assert f"hdd/{plain}: there already" in story


def test_assets_that_the_test_uploads_come_back_with_their_names_and_scopes(
    tmp_path: Path, location: str
) -> None:
    lab = current_lab()
    unique = secrets.token_hex(4)
    with bridge(lab, tmp_path, location=location) as running:
        (job_id,) = posted(running, "assets", unique).values()
        assert running.wait_for_state(job_id, "done", 400)["result"] == "passed"
        slave_job = slave_job_of(running, job_id)
    names = {f"lab-public-{unique}.bin": f"lab-public-{unique}.bin"}
    names[f"{slave_job:08d}-lab-private-{unique}.bin"] = f"{job_id:08d}-lab-private-{unique}.bin"
    assert set(job_of(lab.master, job_id)["assets"]["other"]) == set(names.values())
    for on_slave, on_master in names.items():
        made = lab.slave.factory_directory / "other" / on_slave
        assert sha256(made) == sha256(lab.master.factory_directory / "other" / on_master)


def test_a_job_whose_asset_the_master_lacks_ends_at_once(tmp_path: Path, location: str) -> None:
    lab = current_lab()
    with bridge(lab, tmp_path, location=location) as running:
        job_id = running.post("short", HDD_1="never-was.qcow2")
        job = running.wait_for_state(job_id, "done", 120)
    assert job["result"] == "incomplete"
    assert job["reason"].startswith("asset failure: Cannot find HDD_1 asset hdd/never-was.qcow2!")
    assert "slave job created" not in story_of(lab.master, job_id)


def test_a_hostile_name_ends_the_job_and_nothing_else(tmp_path: Path, location: str) -> None:
    lab = current_lab()
    with bridge(lab, tmp_path, location=location) as running:
        job_id = running.post("short", ASSET_1="../../../etc/passwd")
        job = running.wait_for_state(job_id, "done", 120)
        assert job["result"] == "incomplete"
        assert job["reason"].startswith("asset failure: ASSET_1 asset other is refused")
        job_id = running.post("short")
        assert running.wait_for_state(job_id, "done", 400)["result"] == "passed"


# What the slave's cleanup does:


def make_old(instance: Instance, kind: str, name: str) -> None:
    """Make the slave's cleanup take an asset for one that nobody has wanted for a month."""
    os.utime(instance.factory_directory / kind / name, (0, time.time() - 30 * 86_400))
    with psycopg.connect(instance.dsn) as database:
        database.execute(
            "UPDATE assets SET t_created = now() - interval '30 days' WHERE type = %s AND name = %s",
            (kind, name),
        )


async def clean_up(instance: Instance) -> None:
    """Run the slave's cleanup of assets and wait for its end."""
    api = OpenqaApi(instance.url, instance.admin)
    task = (await asyncio.to_thread(api.post, "assets/cleanup"))["gru_id"]
    async with asyncio.timeout(60):
        while True:
            with psycopg.connect(instance.dsn) as database:
                if database.execute("SELECT 1 FROM gru_tasks WHERE id = %s", (task,)).fetchone() is None:
                    return
            await asyncio.sleep(0.5)


async def test_an_asset_is_held_against_the_slaves_cleanup(tmp_path: Path, iso: str) -> None:
    async with lab_assets(tmp_path, seen=True, transport="local") as la:
        job = Grabbed(1, {"ISO": iso}, {})
        provided = await la.assets.provider.provide(job, la.notes.append, hold=True)
        make_old(la.lab.slave, "iso", iso)
        await clean_up(la.lab.slave)
        assert (la.lab.slave.factory_directory / "iso" / iso).exists()
        await provided.held.release()
        await clean_up(la.lab.slave)
        assert not (la.lab.slave.factory_directory / "iso" / iso).exists()
        assert (await la.provide(ISO=iso)).moved > 0
