"""What a slave job created comes to the master as a worker of the master would have uploaded it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pseudoworker.bridge.assets import source
from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.master import assets as uploads
from pseudoworker.master.assets import UploadFailure
from pseudoworker.master.job import LeaseLost, MasterJob
from pseudoworker.openqa.errors import Unreachable
from pseudoworker.openqa.retry import CHUNK, DOWNLOAD
from pseudoworker.openqa.views import JobView
from tests.fakes.exchange import Exchange
from tests.fakes.flavour import BW, SID, TX, Flavour
from tests.fakes.model import Job
from tests.fakes.pair import until
from tests.protocol.assets.world import World, content_of, world

DISK = content_of(1_234_567)
CHUNKS = 13
"""Of DISK, at 100,000 bytes."""
PRIVATE = ("hdd", "{id}-disk.qcow2")
PUBLIC = ("hdd", "disk.qcow2")


async def relay(w: World, view: JobView, job: Job) -> int:
    master = MasterJob(w.master_client, job.id, 1)
    return await w.assets.products.relay(view, master, w.notes.append)


def on_master(w: World, kind: str, name: str) -> bytes | None:
    asset = w.master.db.assets.get((kind, name))
    return None if asset is None else bytes(asset.content)


@pytest.mark.parametrize("flavour", [BW, TX, SID])
async def test_private_and_public_products_get_the_masters_names(tmp_path: Path, flavour: Flavour) -> None:
    async with world(tmp_path, flavour=flavour) as w:
        w.put(w.slave, "iso", "tiny.iso", b"used")
        made = {
            PRIVATE: DISK,
            ("hdd", "new.qcow2"): DISK[:5],
            ("other", "{id}-notes.txt"): b"",
            ("other", "r"): b"r",
        }
        view, job = w.finished_job(made, ISO="tiny.iso"), w.running_job()
        assert await relay(w, view, job) == len(DISK) + 6
        assert on_master(w, "hdd", f"{job.id:08d}-disk.qcow2") == DISK
        assert on_master(w, "hdd", "new.qcow2") == DISK[:5]
        assert on_master(w, "other", f"{job.id:08d}-notes.txt") == b""
        assert on_master(w, "other", "r") == b"r"
        assert on_master(w, "iso", "tiny.iso") is None
        assert len(job.assets) == 4
        assert w.master.reports.chunks.partial == {}
        assert any(f"uploaded to the master as {job.id:08d}-disk.qcow2 in chunks" in note for note in w.notes)


async def test_a_job_without_assets_costs_no_request(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({}), w.running_job()
        assert await relay(w, view, job) == 0
        assert w.slave.traffic.counts.total() + w.master.traffic.counts.total() == 0


async def test_what_was_relayed_is_not_relayed_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        await relay(w, view, job)
        assert await relay(w, view, job) == 0
        assert sum(job.report.uploads.values()) == CHUNKS


async def test_the_next_job_finds_the_product_on_the_slave(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local") as w:
        w.finished_job({})
        view, job = w.finished_job({PRIVATE: DISK, PUBLIC: DISK}), w.running_job()
        assert view.id != job.id
        await relay(w, view, job)
        w.pairs[job.id] = view.id
        provided = await w.provide(HDD_1=f"{job.id:08d}-disk.qcow2", HDD_2="disk.qcow2")
        assert provided.moved == 0
        assert provided.settings == {"HDD_1": f"{view.id:08d}-disk.qcow2"}


async def test_download_and_upload_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a chunk is on its way to the master, the next one is read, and no more than that."""
    read: list[int] = []
    original = source.Source.read
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()

        async def counted(self: source.Source, count: int) -> bytes:
            data = await original(self, count)
            read.append(sum(job.report.uploads.values()))
            return data

        monkeypatch.setattr(source.Source, "read", counted)
        w.master.traffic.add("chunk", "delay", times=0, seconds=0.05)
        await relay(w, view, job)
    assert read == [0, *range(CHUNKS - 1)]


async def test_a_500_on_chunk_7_sends_that_chunk_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({PRIVATE: DISK}), w.running_job()
        w.master.traffic.add("chunk", "status", nth=7, status=500, times=2)
        await relay(w, view, job)
        assert on_master(w, "hdd", f"{job.id:08d}-disk.qcow2") == DISK
        assert w.master.traffic.counts["chunk"] == CHUNKS + 2


async def test_a_master_that_takes_no_chunk_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_FAILING", replace(uploads._FAILING, limit=0.2, first=0.05))
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        body = b'{"error":"Failed receiving asset: No space left on device"}'
        w.master.traffic.add("chunk", "status", nth=7, status=500, times=0, body=body)
        with pytest.raises(UploadFailure, match="No space left on device"):
            await relay(w, view, job)
        assert w.master.reports.chunks.discarded == ["disk.qcow2"]
        assert on_master(w, "hdd", "disk.qcow2") is None


async def test_a_broken_download_is_gone_on_with(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        w.slave.traffic.add("download", "half", nth=2, times=2)
        await relay(w, view, job)
        assert on_master(w, "hdd", "disk.qcow2") == DISK
        assert sum(job.report.uploads.values()) == CHUNKS


async def test_an_outage_of_the_master_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        w.master.traffic.add("chunk", "status", nth=4, status=503, times=2, retry_after="0")
        w.master.traffic.add("chunk", "drop", nth=9, times=1)
        await relay(w, view, job)
        assert on_master(w, "hdd", "disk.qcow2") == DISK


async def interrupted(w: World, view: JobView, job: Job, chunk: int) -> None:
    """Relay until a chunk hangs, then die."""
    w.master.traffic.add("chunk", "hang", nth=chunk, times=0)
    relaying = asyncio.create_task(relay(w, view, job))
    await until(lambda: w.master.traffic.struck["chunk:hang"] > 0)
    relaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await relaying
    w.master.traffic.clear()


@pytest.mark.parametrize("unchecked_from", [250_000_000, 0])
async def test_a_restart_goes_on_at_the_next_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked_from: int
) -> None:
    """For small files, whose checksum needs all bytes, and for large ones, which are read from there on
    only."""
    monkeypatch.setattr(uploads, "UNCHECKED_FROM", unchecked_from)
    monkeypatch.setattr("tests.fakes.chunks._WEAK_CHECK_FROM", unchecked_from)
    async with world(tmp_path) as w:
        view, job = w.finished_job({PRIVATE: DISK}), w.running_job()
        await interrupted(w, view, job, 6)
        before = w.slave.traffic.sent["download"]
        sent = await relay(w, view, job)
        assert sent == len(DISK) - 500_000
        assert on_master(w, "hdd", f"{job.id:08d}-disk.qcow2") == DISK
        assert set(job.report.uploads.values()) == {1}
        assert any("from chunk 6 on" in note for note in w.notes)
        if not unchecked_from:
            assert w.slave.traffic.sent["download"] - before < sent + 1000


async def test_a_restart_begins_anew_when_the_master_lost_the_parts(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({PRIVATE: DISK}), w.running_job()
        await interrupted(w, view, job, 6)
        w.master.reports.chunks.partial.clear()
        assert await relay(w, view, job) == len(DISK)
        assert on_master(w, "hdd", f"{job.id:08d}-disk.qcow2") == DISK


async def test_a_restart_with_a_changed_product_begins_anew(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        await interrupted(w, view, job, 6)
        smaller = content_of(350_000, 4)
        w.put(w.slave, *PUBLIC, smaller, age=5)
        await relay(w, view, job)
        assert on_master(w, "hdd", "disk.qcow2") == smaller


@pytest.mark.parametrize("flavour", [BW, TX])
async def test_a_last_chunk_that_was_taken_is_never_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flavour: Flavour
) -> None:
    """The answer to it is lost; the release of 2023 would not answer a second one at all."""
    monkeypatch.setattr(uploads, "_SETTLING_PAUSE", 0.02)
    async with world(tmp_path, flavour=flavour) as w:
        view, job = w.finished_job({PRIVATE: DISK}), w.running_job()
        w.master.traffic.add("chunk", "lost", nth=CHUNKS)
        await relay(w, view, job)
        assert set(job.report.uploads.values()) == {1}
        assert on_master(w, "hdd", f"{job.id:08d}-disk.qcow2") == DISK


async def test_a_death_after_the_last_chunk_is_noticed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        await relay(w, view, job)
        kept = w.memory.kept[job.id, "asset"]
        kept["public:hdd/disk.qcow2"] = "1234567 100000 whatever"  # as it was noted when the upload began
        assert await relay(w, view, job) == 0
        assert set(job.report.uploads.values()) == {1}
        assert kept["public:hdd/disk.qcow2"] == "done"


async def test_a_last_chunk_that_did_not_arrive_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_SETTLING_PAUSE", 0.02)
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        w.master.traffic.add("chunk", "drop", nth=CHUNKS)
        await relay(w, view, job)
        assert on_master(w, "hdd", "disk.qcow2") == DISK


async def test_parts_that_vanish_before_the_last_chunk_are_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file would otherwise pass with zeros where its beginning was."""
    monkeypatch.setattr(uploads, "_SETTLING_PAUSE", 0.02)
    monkeypatch.setattr(uploads, "UNCHECKED_FROM", 0)
    monkeypatch.setattr("tests.fakes.chunks._WEAK_CHECK_FROM", 0)
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()

        async def vanish(when: str, exchange: Exchange) -> None:
            if when == "after" and w.master.traffic.counts["chunk"] == CHUNKS - 1:
                w.master.hooks.clear()
                w.master.reports.chunks.partial.clear()

        w.master.hooks.append(vanish)
        await relay(w, view, job)
        assert on_master(w, "hdd", "disk.qcow2") == DISK


async def test_a_job_that_is_not_ours_any_more_ends_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()

        async def lose(when: str, exchange: Exchange) -> None:
            if w.master.traffic.counts["chunk"] == 3 and job.worker is not None:
                job.worker.tie(None)

        w.master.hooks.append(lose)
        with pytest.raises(LeaseLost):
            await relay(w, view, job)
        assert on_master(w, "hdd", "disk.qcow2") is None


async def test_a_product_that_the_slave_lost_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        del w.slave.db.assets[PUBLIC]
        with pytest.raises(AssetFailure, match=r"does not have hdd/disk\.qcow2 any more"):
            await relay(w, view, job)


async def test_limits_hold_for_products(tmp_path: Path) -> None:
    async with world(tmp_path, max_size=1000) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        with pytest.raises(AssetFailure, match="more than max_size"):
            await relay(w, view, job)
    async with world(tmp_path, products=("allowed-*",)) as w:
        view = w.finished_job({PUBLIC: DISK, ("hdd", "allowed-disk.raw"): b"x", PRIVATE: b"y"})
        job = w.running_job()
        assert await relay(w, view, job) == 2
        assert any("products of [assets] does not allow it" in note for note in w.notes)


@pytest.mark.parametrize("name", ["../../evil.raw", "a\0.raw", "x" * 260 + ".raw"])
async def test_hostile_products_are_left_out(tmp_path: Path, name: str) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({("hdd", name): b"x", PUBLIC: b"y"}), w.running_job()
        assert await relay(w, view, job) == 1
        assert [str(asset) for asset in job.assets] == ["('hdd', 'disk.qcow2')"]
        assert any(note.startswith("not relayed: the job's product is refused") for note in w.notes)


async def test_a_master_on_this_host_copies_by_itself(tmp_path: Path) -> None:
    async with world(tmp_path, local_upload=True) as w:
        (w.factory / "hdd" / "disk.qcow2").write_bytes(DISK)
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        assert await relay(w, view, job) == 0
        assert on_master(w, "hdd", "disk.qcow2") == DISK
        assert list(job.report.uploads) == ["hdd/disk.qcow2#local"]


async def test_a_master_that_can_not_read_the_path_gets_chunks(tmp_path: Path) -> None:
    async with world(tmp_path, local_upload=True) as w:
        (w.factory / "hdd" / "disk.qcow2").write_bytes(DISK)
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        w.master.traffic.add("chunk", "status", status=500)
        assert await relay(w, view, job) == len(DISK)
        assert on_master(w, "hdd", "disk.qcow2") == DISK


async def test_an_outage_that_is_too_long_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_OUTAGE", replace(uploads._OUTAGE, limit=0.1, first=0.01))
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        w.master.traffic.add("chunk", "drop", nth=8, times=0)
        with pytest.raises(Unreachable):
            await relay(w, view, job)
        w.master.traffic.clear()
        assert await relay(w, view, job) == len(DISK) - 700_000
        assert on_master(w, "hdd", "disk.qcow2") == DISK


async def test_a_product_that_changes_while_it_is_read_is_begun_anew(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        changed = content_of(len(DISK), 9)

        async def change(when: str, exchange: Exchange) -> None:
            if when == "before" and exchange.request.headers.get("Range", "").startswith("bytes=6"):
                w.slave.hooks.clear()
                w.put(w.slave, *PUBLIC, changed, age=5)

        w.put(w.slave, *PUBLIC, DISK, age=50)
        w.slave.hooks.append(change)
        w.slave.traffic.add("download", "half", nth=2)
        await relay(w, view, job)
        assert on_master(w, "hdd", "disk.qcow2") == changed
        assert any("changed while it was read" in note for note in w.notes)


async def test_a_500_on_the_last_chunk_sends_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_SETTLING_PAUSE", 0.02)
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        w.master.traffic.add("chunk", "status", nth=CHUNKS, status=500)
        await relay(w, view, job)
        assert on_master(w, "hdd", "disk.qcow2") == DISK
        assert w.master.traffic.counts["chunk"] == CHUNKS + 1


@pytest.mark.parametrize("spoilt", [1, 99])
async def test_a_wrong_checksum_of_the_whole_sends_all_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: int
) -> None:
    """The server finds that its partial file is not what was sent, and discards it."""
    monkeypatch.setattr(uploads, "_SETTLING_PAUSE", 0.02)
    async with world(tmp_path) as w:
        view, job = w.finished_job({PUBLIC: DISK}), w.running_job()
        times = iter(range(spoilt))

        async def spoil(when: str, exchange: Exchange) -> None:
            parts = w.master.reports.chunks.partial
            if exchange.kind == "chunk" and when == "before" and parts:
                (part,) = parts.values()
                if len(part) == (CHUNKS - 1) * 100_000 and next(times, None) is not None:
                    part[5] ^= 1

        w.master.hooks.append(spoil)
        if spoilt == 1:
            await relay(w, view, job)
            assert on_master(w, "hdd", "disk.qcow2") == DISK
        else:
            with pytest.raises(UploadFailure, match="lost the partial file 3 times"):
                await relay(w, view, job)
            assert on_master(w, "hdd", "disk.qcow2") is None


def test_policies_are_those_of_the_table() -> None:
    assert uploads._OUTAGE.limit == CHUNK.limit
    assert DOWNLOAD.limit > 0
