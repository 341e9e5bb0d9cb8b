"""A helper worker of ours brings the asset as the product of a job on the slave."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.master import assets as uploads
from tests.fakes.flavour import BW, SID, TX, Flavour
from tests.fakes.model import Job
from tests.fakes.pair import until
from tests.protocol.assets.world import World, content_of, world

ISO = content_of(1_234_567)


def helper_jobs(w: World) -> list[Job]:
    jobs: list[Job] = [
        job for job in w.slave.db.jobs.values() if job.settings["TEST"] == "pseudoworker-asset"
    ]
    return jobs


@pytest.mark.parametrize("flavour", [BW, TX, SID])
async def test_an_asset_is_uploaded_in_chunks(tmp_path: Path, flavour: Flavour) -> None:
    async with world(tmp_path, transport="upload", flavour=flavour) as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        provided = await w.provide(ISO="tiny.iso")
        assert provided.transports == {"iso/tiny.iso": "upload"}
        assert w.on_slave("iso", "tiny.iso") == ISO
        (job,) = helper_jobs(w)
        assert (job.state, job.result) == ("done", "passed")
        assert job.report.uploads == {f"iso/tiny.iso#{index}": 1 for index in range(1, 14)}
        assert [worker.host for worker in w.slave.db.workers.values()] == ["slave1"] * 4
        assert (await w.provide(ISO="tiny.iso")).moved == 0


async def test_names_that_the_slave_would_file_elsewhere_are_told(tmp_path: Path) -> None:
    async with world(tmp_path, transport="upload") as w:
        w.put(w.master, "hdd", "disk.img", b"x")
        with pytest.raises(AssetFailure, match="would file an upload of this name under other/"):
            await w.provide(HDD_1="disk.img")
        assert w.slave.traffic.counts["register"] == 0


async def test_several_at_a_time(tmp_path: Path) -> None:
    async with world(tmp_path, transport="upload") as w:
        for index in range(5):
            w.put(w.master, "hdd", f"disk{index}.qcow2", content_of(300_000, index))
        await w.provide(**{f"HDD_{index}": f"disk{index}.qcow2" for index in range(5)})
        for index in range(5):
            assert w.on_slave("hdd", f"disk{index}.qcow2") == content_of(300_000, index)
        assert w.open_helpers() == []


async def test_a_500_on_chunk_7_is_tried_again(tmp_path: Path) -> None:
    async with world(tmp_path, transport="upload") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        w.slave.traffic.add("chunk", "status", nth=7, status=500)
        await w.provide(ISO="tiny.iso")
        assert w.on_slave("iso", "tiny.iso") == ISO


async def test_a_helper_job_that_somebody_cancels_ends_the_transfer(tmp_path: Path) -> None:
    async with world(tmp_path, transport="upload") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)

        async def cancel(when: str, exchange: object) -> None:
            if w.slave.traffic.counts["chunk"] == 3:
                w.slave.hooks.remove(cancel)
                w.slave.order(helper_jobs(w)[0], "cancel", {})

        w.slave.hooks.append(cancel)
        w.slave.traffic.add("chunk", "delay", nth=4, seconds=0.5)
        with pytest.raises(AssetFailure, match="was stopped on the slave"):
            await w.provide(ISO="tiny.iso")
        assert w.on_slave("iso", "tiny.iso") is None
        assert w.open_helpers() == []


async def test_a_transfer_that_is_given_up_leaves_nothing_on_the_slave(tmp_path: Path) -> None:
    async with world(tmp_path, transport="upload") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        w.slave.traffic.add("chunk", "hang", nth=3, times=0)
        providing = asyncio.create_task(w.provide(ISO="tiny.iso"))
        await until(lambda: w.slave.traffic.struck["chunk:hang"] > 0)
        (worker,) = [each for each in w.slave.db.workers.values() if each.host.startswith("pseudoworker-")]
        providing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await providing
        assert worker.t_seen is None  # it quit, so that it could be unregistered
        assert worker.id not in w.slave.db.workers
        assert w.open_helpers() == []
        assert w.slave.reports.chunks.partial == {}


async def test_a_key_without_rights_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, transport="upload") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        w.slave.traffic.add("register", "status", status=403, times=0)
        with pytest.raises(AssetFailure, match="the slave's key may not be a worker"):
            await w.provide(ISO="tiny.iso")
        assert "may not be a worker" in (await w.assets.provider.problem() or "")


async def test_a_full_disk_of_the_slave_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_FAILING", replace(uploads._FAILING, limit=0.1, first=0.05))
    async with world(tmp_path, transport="upload") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        body = b'{"error":"Failed receiving asset: No space left on device"}'
        w.slave.traffic.add("chunk", "status", nth=3, times=0, status=500, body=body)
        with pytest.raises(AssetFailure, match="the slave's disk is full"):
            await w.provide(ISO="tiny.iso")
        assert "disk is full" in (await w.assets.provider.problem() or "")
        assert w.slave.reports.chunks.discarded == ["tiny.iso"]
        assert w.open_helpers() == []
