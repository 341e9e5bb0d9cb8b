"""The slave downloads by itself: from the master, else from the bridge."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pseudoworker.bridge.assets import url
from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.openqa.messages import Grabbed
from tests.fakes.pair import until
from tests.fakes.ports import free_ports
from tests.protocol.assets.world import content_of, world

ISO = content_of(700_000)


async def test_the_slave_downloads_from_the_master(tmp_path: Path) -> None:
    async with world(tmp_path, transport="url") as w:
        w.put(w.master, "iso", "a b.iso", ISO)
        provided = await w.provide(ISO="a b.iso")
        assert w.on_slave("iso", "a b.iso") == ISO
        assert provided.transports == {"iso/a b.iso": "url, from the master"}
        assert w.gru.urls == [f"{w.master.url}/assets/iso/a%20b.iso"]


async def test_a_helper_job_holds_the_asset_until_it_is_released(tmp_path: Path) -> None:
    async with world(tmp_path, transport="url") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        provided = await w.provide(ISO="tiny.iso")
        (helper,) = w.open_helpers()
        job = w.slave.db.jobs[helper]
        assert job.settings["WORKER_CLASS"].startswith("pseudoworker-asset-")
        assert job.assets == [("iso", "tiny.iso")]
        await provided.held.release()
        await provided.held.release()
        assert w.open_helpers() == []


async def test_what_a_dead_process_left_is_swept(tmp_path: Path) -> None:
    async with world(tmp_path, transport="url") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        provided = await w.provide(ISO="tiny.iso")
        assert await w.assets.helpers.sweep() == 0  # it is still wanted
        stranger = w.slave.db.create({"TEST": "pseudoworker-asset", "PSEUDOWORKER": "other"}.items())["id"]
        assert len(w.open_helpers()) == 2
        w.assets.helpers._open.clear()  # as a new process would begin
        w.assets.helpers._untidy = True
        await w.provide()
        assert w.open_helpers() == [stranger]
        await provided.held.release()


async def test_a_slave_that_allows_no_host_is_explained(tmp_path: Path) -> None:
    async with world(tmp_path, transport="url", domains=("example.org",)) as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        reason = r"download_domains in the slave's openqa\.ini does not allow the host 127\.0\.0\.1"
        with pytest.raises(AssetFailure, match=reason):
            await w.provide(ISO="tiny.iso")
        assert w.open_helpers() == []
        assert "download_domains" in (await w.assets.provider.problem() or "")
        asked = len(w.gru.urls)
        with pytest.raises(AssetFailure, match=reason):
            await w.provide(ISO="tiny.iso")
        assert len(w.gru.urls) == asked  # known by now


async def test_auto_goes_on_to_the_next_transport(tmp_path: Path) -> None:
    async with world(tmp_path, transport="auto", seen=False, domains=()) as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        provided = await w.provide(ISO="tiny.iso")
        assert provided.transports == {"iso/tiny.iso": "upload"}
        assert any("could not download it from the master" in note for note in w.notes)


async def test_the_bridge_serves_what_the_master_does_not_give(tmp_path: Path) -> None:
    """As with `require_for_assets`, where the slave's background task has no key for the master."""
    async with world(tmp_path, transport="url", serve_address=f"127.0.0.1:{free_ports(1)}") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        w.gru.needs_key = w.master.url
        provided = await w.provide(ISO="tiny.iso")
        assert provided.transports == {"iso/tiny.iso": "url, from the bridge"}
        assert w.on_slave("iso", "tiny.iso") == ISO
        assert len(w.gru.urls) == 2


async def test_a_slave_without_gru_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url, "PATIENCE", 0.2)
    monkeypatch.setattr(url, "SHORTEST_POLL", 0.05)
    async with world(tmp_path, transport="url") as w:
        w.gru.running = False
        w.put(w.master, "iso", "tiny.iso", b"small")
        with pytest.raises(AssetFailure, match="does its gru service run"):
            await w.provide(ISO="tiny.iso")
        assert w.open_helpers() == []


@pytest.mark.parametrize("shown", [(0, 1, 0, 0), (0, 0, 0, 0)])
async def test_a_gru_that_does_nothing_is_given_up_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: tuple[int, int, int, int]
) -> None:
    """Tasks wait while no worker is busy; or there are no tasks any more, and the asset is not there."""
    monkeypatch.setattr(url, "DOUBTFUL_AFTER", 0.1)
    monkeypatch.setattr(url, "SHORTEST_POLL", 0.05)
    async with world(tmp_path, transport="url") as w:
        w.gru.running = False
        w.gru.shown = shown
        w.put(w.master, "iso", "tiny.iso", b"small")
        with pytest.raises(AssetFailure, match="does its gru service run"):
            await w.provide(ISO="tiny.iso")
        assert w.slave.traffic.counts["minion"] == url.MOST_DOUBTS


@pytest.mark.parametrize("shown", [(1, 5, 0, 1), (0, 0, 1, 0), None])
async def test_a_gru_that_is_busy_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: tuple[int, int, int, int] | None
) -> None:
    monkeypatch.setattr(url, "DOUBTFUL_AFTER", 0.05)
    monkeypatch.setattr(url, "SHORTEST_POLL", 0.02)
    async with world(tmp_path, transport="url") as w:
        w.gru.running = False
        w.gru.shown = shown
        w.put(w.master, "iso", "tiny.iso", ISO)
        providing = asyncio.create_task(w.provide(ISO="tiny.iso"))
        await until(lambda: w.slave.traffic.counts["minion"] > url.MOST_DOUBTS)
        w.put(w.slave, "iso", "tiny.iso", ISO)  # at last
        await (await providing).held.release()


async def test_a_full_disk_of_the_slave_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, transport="url") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        w.gru.full = True
        with pytest.raises(AssetFailure, match="the slave's disk is full"):
            await w.provide(ISO="tiny.iso")
        assert w.open_helpers() == []


async def test_hold_keeps_all_assets_for_a_slow_caller(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.put(w.master, "iso", "tiny.iso", ISO, age=9)
        w.put(w.slave, "iso", "tiny.iso", ISO, age=9)
        job = Grabbed(1, {"ISO": "tiny.iso"}, {})
        provided = await w.assets.provider.provide(job, w.notes.append, hold=True)
        (helper,) = w.open_helpers()
        assert w.slave.db.jobs[helper].assets == [("iso", "tiny.iso")]
        await provided.held.release()
        assert w.open_helpers() == []


async def test_a_helper_job_that_can_not_be_ended_now_is_ended_later(tmp_path: Path) -> None:
    async with world(tmp_path, transport="url") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        provided = await w.provide(ISO="tiny.iso")
        w.slave.traffic.add("cancel", "status", status=503, times=0)
        await provided.held.release()
        assert len(w.open_helpers()) == 1
        w.slave.traffic.clear()
        await w.provide(ISO="tiny.iso")
        assert w.open_helpers() == []


@pytest.mark.parametrize("kind", ["cancel", "create"])
async def test_a_slave_that_hangs_does_not_keep_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("pseudoworker.slave.assets.WIND_UP", 0.1)
    async with world(tmp_path, transport="url") as w:
        w.gru.running = False
        w.put(w.master, "iso", "tiny.iso", ISO)
        w.slave.traffic.add(kind, "hang", times=0)
        providing = asyncio.create_task(w.provide(ISO="tiny.iso"))
        await until(lambda: w.slave.traffic.counts["create"] > 0)
        providing.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await providing


async def test_a_helper_job_that_is_deleted_ends_the_wait(tmp_path: Path) -> None:
    async with world(tmp_path, transport="url") as w:
        w.gru.running = False
        w.put(w.master, "iso", "tiny.iso", ISO)
        providing = asyncio.create_task(w.provide(ISO="tiny.iso"))
        await until(lambda: bool(w.open_helpers()))
        w.slave.order(w.slave.db.jobs[w.open_helpers()[0]], "delete", {})
        with pytest.raises(AssetFailure, match="was deleted on the slave"):
            await providing


async def test_an_address_that_can_not_be_listened_on_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, transport="url", serve_address="192.0.2.1:1", domains=()) as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        with pytest.raises(AssetFailure, match=r"can not listen on serve_address 192\.0\.2\.1:1"):
            await w.provide(ISO="tiny.iso")
