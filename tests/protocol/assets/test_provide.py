"""What a job needs comes to the slave, once, or the job ends with a reason."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pseudoworker.bridge.assets import local, source
from pseudoworker.bridge.assets.errors import AssetFailure, UnsafeAsset
from pseudoworker.bridge.assets.flights import Flights
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.placing import Placed
from pseudoworker.openqa.messages import Grabbed
from pseudoworker.openqa.retry import DOWNLOAD
from tests.fakes.exchange import Exchange
from tests.fakes.pair import until
from tests.fakes.server import FakeOpenQA
from tests.protocol.assets.world import content_of, world

ISO = content_of(700_000)
DISK = content_of(5_300_000, 7)


async def test_what_the_slave_has_is_not_moved(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.put(w.master, "iso", "tiny.iso", ISO, age=60)
        w.put(w.slave, "iso", "tiny.iso", ISO, age=60)
        provided = await w.provide(ISO="tiny.iso")
        assert (provided.settings, provided.moved) == ({}, 0)
        assert provided.transports == {"iso/tiny.iso": "there already"}
        assert w.master.traffic.sent["download"] < 10


async def test_an_asset_that_the_master_lacks_ends_the_job_before_anything_is_moved(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        with pytest.raises(AssetFailure, match=r"Cannot find HDD_1 asset hdd/gone\.qcow2! The master http"):
            await w.provide(ISO="tiny.iso", HDD_1="gone.qcow2")
        assert w.on_slave("iso", "tiny.iso") is None
        assert w.slave.traffic.counts["create"] == 0


async def test_what_jobs_before_it_will_make_is_left_to_the_slave(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "hdd", "soon.qcow2", b"of last week")
        w.put(w.master, "iso", "tiny.iso", ISO)
        settings = {"HDD_1": "soon.qcow2", "ASSET_1": "uploaded-by-the-test.txt", "ISO": "tiny.iso"}
        job = Grabbed(1, settings, {})
        coming = {Asset("hdd", "soon.qcow2")}
        provided = await w.assets.provider.provide(job, w.notes.append, coming=coming)
        assert provided.transports == {"iso/tiny.iso": "local"}
        with pytest.raises(AssetFailure, match="ASSET_1"):
            await w.assets.provider.provide(job, w.notes.append)


async def test_flash_variables_may_be_missing_without_uefi(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        provided = await w.provide(UEFI_PFLASH_VARS="none.qcow2")
        assert provided.transports == {}
        with pytest.raises(AssetFailure, match="UEFI_PFLASH_VARS"):
            await w.provide(UEFI_PFLASH_VARS="none.qcow2", UEFI="1")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\0b", "x" * 300])
async def test_hostile_names_are_refused(tmp_path: Path, name: str) -> None:
    async with world(tmp_path) as w:
        with pytest.raises(UnsafeAsset):
            await w.provide(HDD_1=name)
        assert w.master.traffic.counts["download"] == 0


async def test_local_puts_a_whole_file_in_place(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "hdd", "disk.qcow2", DISK)
        w.put(w.master, "iso", "tiny.iso", ISO)
        provided = await w.provide(HDD_1="disk.qcow2", ISO="tiny.iso")
        assert provided.moved == len(DISK) + len(ISO)
        assert provided.settings == {}
        assert provided.transports == {"hdd/disk.qcow2": "local", "iso/tiny.iso": "local"}
        path = w.factory / "hdd" / "disk.qcow2"
        assert path.read_bytes() == DISK
        assert path.stat().st_mode & 0o777 == 0o644
        assert w.on_slave("hdd", "disk.qcow2") == DISK
        assert w.leftovers() == []
        assert any("brought to the slave by local in" in note for note in w.notes)
        again = await w.provide(HDD_1="disk.qcow2", ISO="tiny.iso")
        assert again.moved == 0


async def test_two_jobs_wait_for_one_transfer(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "hdd", "disk.qcow2", DISK)
        provided = await asyncio.gather(*(w.provide(HDD_1="disk.qcow2") for _ in range(5)))
        assert sum(each.moved for each in provided) == len(DISK)
        assert w.master.traffic.sent["download"] < len(DISK) * 1.01
        assert any("another job waits for it already" in note for note in w.notes)


@pytest.mark.parametrize(
    ("content", "age"), [(content_of(9, 3), 0), (content_of(len(ISO), 9), 0), (ISO, 1000)]
)
async def test_another_file_of_that_name_is_left_alone(tmp_path: Path, content: bytes, age: float) -> None:
    """One of another size, one of other content, and one that is older than the master's."""
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "iso", "tiny.iso", ISO, age=100)
        w.put(w.slave, "iso", "tiny.iso", content, age=age)
        provided = await w.provide(ISO="tiny.iso", ISO_1="tiny.iso")
        name = provided.settings["ISO"]
        assert name.endswith("-tiny.iso")
        assert provided.settings == {"ISO": name, "ISO_1": name}
        assert w.on_slave("iso", "tiny.iso") == content
        assert w.on_slave("iso", name) == ISO
        assert (await w.provide(ISO="tiny.iso")).moved == 0


async def test_a_newer_file_of_the_same_blocks_is_taken_for_the_same(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.put(w.master, "iso", "tiny.iso", ISO, age=100)
        w.put(w.slave, "iso", "tiny.iso", ISO, age=10)
        assert (await w.provide(ISO="tiny.iso")).moved == 0
        before = w.slave.traffic.sent["download"]
        assert (await w.provide(ISO="tiny.iso")).moved == 0
        assert w.slave.traffic.sent["download"] - before < 100  # remembered, not compared again


async def test_a_changed_asset_is_brought_anew(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "iso", "tiny.iso", ISO, age=100)
        assert (await w.provide(ISO="tiny.iso")).settings == {}
        changed = content_of(len(ISO), 3)
        w.put(w.master, "iso", "tiny.iso", changed, age=50)
        provided = await w.provide(ISO="tiny.iso")
        assert w.on_slave("iso", provided.settings["ISO"]) == changed


async def test_the_product_of_a_paired_job_is_used_from_there(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.pairs[123] = 77
        w.put(w.master, "hdd", "00000123-disk.qcow2", DISK)
        w.put(w.slave, "hdd", "00000077-disk.qcow2", DISK, age=100)
        provided = await w.provide(HDD_1="00000123-disk.qcow2")
        assert (provided.settings, provided.moved) == ({"HDD_1": "00000077-disk.qcow2"}, 0)


async def test_a_private_asset_that_was_made_elsewhere_is_moved(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.pairs[123] = 77  # whose product the slave has removed meanwhile
        w.put(w.master, "hdd", "00000123-disk.qcow2", DISK)
        provided = await w.provide(HDD_1="00000123-disk.qcow2")
        assert (provided.settings, provided.moved) == ({}, len(DISK))


@pytest.mark.parametrize("transport", ["none", "shared"])
async def test_without_a_transport_assets_are_only_looked_for(tmp_path: Path, transport: str) -> None:
    async with world(tmp_path, transport=transport) as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        with pytest.raises(AssetFailure, match=r"Cannot find ISO asset iso/tiny\.iso! The slave http"):
            await w.provide(ISO="tiny.iso")
        w.put(w.slave, "iso", "tiny.iso", ISO)
        assert (await w.provide(ISO="tiny.iso")).moved == 0
        assert await w.assets.provider.problem() is None


async def test_a_name_that_differs_only_in_case_is_refused_on_the_disk(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        (w.factory / "hdd" / "DISK.qcow2").write_bytes(b"other")
        w.put(w.master, "hdd", "disk.qcow2", DISK)
        with pytest.raises(AssetFailure, match="differ only in case"):
            await w.provide(HDD_1="disk.qcow2")


async def test_repositories_must_lie_there(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        with pytest.raises(AssetFailure, match=r"repos of .assets. does not allow"):
            await w.provide(REPO_0="tree")
        w.put(w.slave, "repo", "tree", b"")
        assert (await w.provide(REPO_0="tree")).settings == {}
    async with world(tmp_path, repos_required=False) as w:
        await w.provide(REPO_0="tree")
        assert "does not allow to move it" in w.notes[0]


async def test_a_full_quota_refuses_and_breaks_the_slots(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local", quota=6_000_000) as w:
        w.put(w.master, "hdd", "disk.qcow2", DISK)
        w.put(w.master, "iso", "big.iso", content_of(1_000_000))
        assert await w.assets.provider.problem() is None
        await w.provide(HDD_1="disk.qcow2")
        with pytest.raises(AssetFailure, match=r"quota of 6\.0 MB"):
            await w.provide(ISO="big.iso")
        assert "quota" in (await w.assets.provider.problem() or "")


async def test_no_way_to_move_anything_breaks_the_slots(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local", factory_dir=tmp_path / "nowhere") as w:
        problem = await w.assets.provider.problem()
        assert problem is not None
        assert "is no directory; is it mounted?" in problem


# Faults:


async def test_a_broken_connection_is_gone_on_with(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "hdd", "disk.qcow2", DISK)
        w.master.traffic.add("download", "half", nth=2, times=3)
        await w.provide(HDD_1="disk.qcow2")
        assert (w.factory / "hdd" / "disk.qcow2").read_bytes() == DISK
        assert w.master.traffic.struck["download:half"] == 3
        assert w.leftovers() == []


async def test_parts_that_a_dead_process_left_are_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "PIECE", 100_000)
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "hdd", "disk.qcow2", DISK)
        w.master.traffic.add("download", "half", nth=2, times=1)
        w.master.traffic.add("download", "hang", nth=2, times=0)
        providing = asyncio.create_task(w.provide(HDD_1="disk.qcow2"))
        await until(lambda: w.master.traffic.struck["download:hang"] > 0)
        providing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await providing
        assert not (w.factory / "hdd" / "disk.qcow2").exists()
        assert len(w.leftovers()) == 1
        w.master.traffic.clear()
        before = w.master.traffic.sent["download"]
        await w.provide(HDD_1="disk.qcow2")
        assert (w.factory / "hdd" / "disk.qcow2").read_bytes() == DISK
        assert w.master.traffic.sent["download"] - before < len(DISK)
        assert any("going on after" in note for note in w.notes)
        assert w.leftovers() == []


async def test_a_wrong_length_is_noticed(tmp_path: Path) -> None:
    """The announced size is one more than what comes; after that the server is right again."""
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        w.master.traffic.add("download", "short", nth=2, times=1)
        await w.provide(ISO="tiny.iso")
        assert w.on_slave("iso", "tiny.iso") == ISO
        assert any("changed while it was read" in note for note in w.notes)


async def test_a_file_that_always_ends_early_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "DOWNLOAD", replace(DOWNLOAD, first=0.01, longest=0.02))
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "iso", "tiny.iso", b"x")
        w.master.traffic.add("download", "half", nth=2, times=0)  # half of one byte is none
        with pytest.raises(AssetFailure, match=r"ended after 0 of 1 bytes, 8 times"):
            await w.provide(ISO="tiny.iso")
        assert w.on_slave("iso", "tiny.iso") is None
        assert w.leftovers() == []


async def test_an_asset_that_changes_between_two_ranges_is_begun_anew(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "hdd", "disk.qcow2", DISK, age=100)
        changed = content_of(len(DISK), 8)

        async def change(when: str, exchange: Exchange) -> None:
            if when == "before" and exchange.request.headers.get("Range", "").startswith("bytes=2"):
                w.put(w.master, "hdd", "disk.qcow2", changed, age=50)

        w.master.hooks.append(change)
        w.master.traffic.add("download", "half", nth=2, times=1)
        await w.provide(HDD_1="disk.qcow2")
        assert w.on_slave("hdd", "disk.qcow2") == changed
        assert any("changed while it was read" in note for note in w.notes)
        assert w.leftovers() == []


async def test_an_asset_that_never_stays_the_same_fails(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        age = iter(range(1000, 0, -1))

        async def change(when: str, exchange: Exchange) -> None:
            if when == "after" and exchange.kind == "download":
                w.put(w.master, "iso", "tiny.iso", ISO, age=next(age))

        w.put(w.master, "iso", "tiny.iso", ISO, age=2000)
        w.master.hooks.append(change)
        with pytest.raises(AssetFailure, match=r"changes on http://.* all the time"):
            await w.provide(ISO="tiny.iso")
        assert w.on_slave("iso", "tiny.iso") is None
        assert w.leftovers() == []


async def test_an_asset_that_vanishes_meanwhile_fails(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "hdd", "disk.qcow2", DISK)

        async def vanish(when: str, exchange: Exchange) -> None:
            if when == "before" and exchange.request.headers.get("Range", "").startswith("bytes=2"):
                w.master.db.assets.clear()

        w.master.hooks.append(vanish)
        w.master.traffic.add("download", "half", nth=2, times=1)
        with pytest.raises(AssetFailure, match="vanished while it was read"):
            await w.provide(HDD_1="disk.qcow2")
        assert w.leftovers() == []


async def test_a_full_disk_ends_the_transfer_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _piece: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "hdd", "disk.qcow2", DISK)
        with monkeypatch.context() as patch:
            patch.setattr(local, "write_all", full)
            with pytest.raises(AssetFailure, match="No space left on device"):
                await w.provide(HDD_1="disk.qcow2")
        assert not (w.factory / "hdd" / "disk.qcow2").exists()
        assert w.leftovers() == []
        assert "No space left on device" in (await w.assets.provider.problem() or "")
        await w.provide(HDD_1="disk.qcow2")
        assert await w.assets.provider.problem() is None


async def test_a_slave_that_vanishes_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "hdd", "disk.qcow2", DISK)

        async def vanish(when: str, exchange: Exchange) -> None:
            if when == "after" and exchange.kind == "download" and w.master.traffic.counts["download"] == 2:
                await w.slave.deafen()

        w.master.hooks.append(vanish)
        providing = asyncio.create_task(w.provide(HDD_1="disk.qcow2"))
        await until((w.factory / "hdd" / "disk.qcow2").exists)
        assert not providing.done()
        await w.slave.listen()
        provided = await providing
        assert provided.transports == {"hdd/disk.qcow2": "local"}


async def test_a_directory_that_the_slave_does_not_see_is_no_use(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with world(tmp_path, transport="local", factory_dir=elsewhere) as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        with pytest.raises(AssetFailure, match="does not see what is written to"):
            await w.provide(ISO="tiny.iso")
        assert not list(elsewhere.rglob("*.iso"))


async def test_another_process_that_brings_the_same_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "hdd", "disk.qcow2", DISK)
        held, go_on = asyncio.Event(), asyncio.Event()

        async def hold(when: str, exchange: Exchange) -> None:
            if when == "before" and w.master.traffic.counts["download"] == 2:
                held.set()
                await go_on.wait()

        w.master.hooks.append(hold)
        first = asyncio.create_task(w.provide(HDD_1="disk.qcow2"))
        await held.wait()  # the second one's first request would be held in its place
        assert w.leftovers()
        other = Flights[Asset, Placed]()
        w.assets.provider._placer._flights = other  # as if it were another process
        second = asyncio.create_task(w.provide(HDD_1="disk.qcow2"))
        await until(lambda: any("another process is bringing it" in note for note in w.notes))
        go_on.set()
        provided = await asyncio.gather(first, second)
        how = [each.transports["hdd/disk.qcow2"] for each in provided]
        assert how == ["local", "local, by another process"]
        assert w.on_slave("hdd", "disk.qcow2") == DISK
        assert w.leftovers() == []


async def test_redirects_to_a_mirror_are_followed_without_the_key(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w, FakeOpenQA() as mirror:
        w.put(w.master, "hdd", "disk.qcow2", DISK)
        w.put(mirror, "hdd", "disk.qcow2", DISK)
        asked: list[str] = []

        async def listen(when: str, exchange: Exchange) -> None:
            if when == "before":
                asked.extend(exchange.request.headers)

        mirror.hooks.append(listen)
        mirror.traffic.add("download", "half", nth=2, times=1)
        location = f"{mirror.url}/assets/hdd/disk.qcow2"
        w.master.traffic.add("download", "redirect", times=0, location=location)
        await w.provide(HDD_1="disk.qcow2")
        assert w.on_slave("hdd", "disk.qcow2") == DISK
        assert w.master.traffic.sent["download"] == 0
        assert "Range" in asked
        assert not [name for name in asked if name.lower().startswith("x-api")]


async def test_what_the_cleanup_took_during_a_long_transfer_is_brought_again(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)
        w.put(w.slave, "iso", "tiny.iso", ISO)
        w.put(w.master, "hdd", "disk.qcow2", DISK)
        times = iter((0.0, 100.0, 100.0, 101.0))
        w.assets.provider._clock = times.__next__  # the transfer took 100 s

        async def clean(when: str, exchange: Exchange) -> None:
            if when == "after" and exchange.kind == "register_asset":
                w.slave.hooks.clear()
                del w.slave.db.assets["iso", "tiny.iso"]

        w.slave.hooks.append(clean)
        provided = await w.provide(HDD_1="disk.qcow2", ISO="tiny.iso")
        assert provided.moved == len(DISK) + len(ISO)
        assert w.on_slave("iso", "tiny.iso") == ISO


async def test_without_a_free_name_it_fails(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "iso", "tiny.iso", ISO, age=50)
        provided = await w.provide(ISO="tiny.iso")
        w.put(w.slave, "iso", "tiny.iso", b"one")
        provided = await w.provide(ISO="tiny.iso")
        w.put(w.slave, "iso", provided.settings["ISO"], b"other")
        with pytest.raises(AssetFailure, match="All names for it are taken"):
            await w.provide(ISO="tiny.iso")


async def test_a_transfer_that_brings_too_little_is_noticed(tmp_path: Path) -> None:
    """The slave says that it has the asset, but serves less of it than was written."""
    async with world(tmp_path, transport="local") as w:
        w.put(w.master, "iso", "tiny.iso", ISO)

        async def spoil(when: str, exchange: Exchange) -> None:
            if when == "after" and exchange.kind == "register_asset":
                w.put(w.slave, "iso", "tiny.iso", ISO[:5])

        w.slave.hooks.append(spoil)
        with pytest.raises(AssetFailure, match="by local 5 of 700000 bytes arrived"):
            await w.provide(ISO="tiny.iso")
