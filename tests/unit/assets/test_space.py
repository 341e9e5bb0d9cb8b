"""Limits of what may be brought to the slave."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.bridge.assets.identity import Known
from pseudoworker.bridge.assets.ledger import Copy, Ledger
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.space import RECOUNT_AFTER, REFUSAL_HOLDS, Space
from pseudoworker.config.model import AssetPolicy

DISK = Asset("hdd", "disk.qcow2")


class Slave:
    """What the slave still has, and what time it is."""

    def __init__(self) -> None:
        self.has: set[Asset] = set()
        self.asked = 0
        self.now = 1000.0

    async def exists(self, asset: Asset) -> bool:
        self.asked += 1
        return asset in self.has

    def clock(self) -> float:
        return self.now


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger(tmp_path / "assets.sqlite3", master_url="http://m", slave_url="http://s")
    yield ledger
    await ledger.close()


async def brought(ledger: Ledger, slave: Slave, name: str, size: int) -> Asset:
    asset = Asset("hdd", name)
    slave.has.add(asset)
    await ledger.remember(Copy(asset, asset, Known(size, "m", size, "s"), moved=True))
    return asset


async def test_an_asset_may_be_too_large(ledger: Ledger) -> None:
    slave = Slave()
    space = Space(AssetPolicy(max_size=100), ledger, slave.exists)
    async with space.room_for(DISK, 100):
        pass
    with pytest.raises(AssetFailure, match=r"hdd/disk\.qcow2 has 101 B, more than max_size"):
        async with space.room_for(DISK, 101):
            pass
    assert await space.problem() is None


async def test_the_quota_counts_what_lies_there_and_what_is_on_its_way(ledger: Ledger) -> None:
    slave = Slave()
    space = Space(AssetPolicy(quota=100), ledger, slave.exists, clock=slave.clock)
    await brought(ledger, slave, "old.qcow2", 50)
    async with space.room_for(DISK, 40):
        with pytest.raises(AssetFailure, match="quota of 100 B"):
            async with space.room_for(Asset("hdd", "b"), 20):
                pass
    async with space.room_for(Asset("hdd", "b"), 50):
        pass


async def test_a_refusal_keeps_the_slots_broken_until_there_is_room(ledger: Ledger) -> None:
    slave = Slave()
    space = Space(AssetPolicy(quota=100), ledger, slave.exists, clock=slave.clock)
    old = await brought(ledger, slave, "old.qcow2", 80)
    assert await space.problem() is None
    with pytest.raises(AssetFailure):
        async with space.room_for(DISK, 30):
            pass
    assert "quota" in (await space.problem() or "")
    slave.has.remove(old)  # the slave cleaned up, which is noticed at the next count
    assert "quota" in (await space.problem() or "")
    slave.now += RECOUNT_AFTER
    assert await space.problem() is None
    async with space.room_for(DISK, 30):
        pass


async def test_a_refusal_is_forgotten_after_a_while(ledger: Ledger) -> None:
    slave = Slave()
    space = Space(AssetPolicy(quota=100), ledger, slave.exists, clock=slave.clock)
    await brought(ledger, slave, "old.qcow2", 80)
    with pytest.raises(AssetFailure):
        async with space.room_for(DISK, 30):
            pass
    slave.now += REFUSAL_HOLDS + 1
    assert await space.problem() is None


async def test_what_can_never_fit_breaks_no_slot(ledger: Ledger) -> None:
    slave = Slave()
    space = Space(AssetPolicy(quota=100), ledger, slave.exists, clock=slave.clock)
    with pytest.raises(AssetFailure):
        async with space.room_for(DISK, 101):
            pass
    assert await space.problem() is None


async def test_the_slave_is_not_asked_while_there_is_room(ledger: Ledger) -> None:
    slave = Slave()
    space = Space(AssetPolicy(quota=100), ledger, slave.exists, clock=slave.clock)
    await brought(ledger, slave, "old.qcow2", 80)
    async with space.room_for(DISK, 20):
        pass
    assert slave.asked == 0


async def test_free_space_has_a_floor(ledger: Ledger, tmp_path: Path) -> None:
    slave = Slave()
    free = shutil.disk_usage(tmp_path).free
    space = Space(AssetPolicy(factory_dir=tmp_path, min_free=free * 2), ledger, slave.exists)
    with pytest.raises(AssetFailure, match="are free in"):
        async with space.room_for(DISK, 1):
            pass
    assert str(tmp_path) in (await space.problem() or "")
    roomy = Space(AssetPolicy(factory_dir=tmp_path, min_free=0), ledger, slave.exists)
    with pytest.raises(AssetFailure, match="are free in"):
        async with roomy.room_for(DISK, free + 10**10):
            pass
    async with roomy.room_for(DISK, 1):
        pass


async def test_a_failed_transfer_gives_its_room_back(ledger: Ledger) -> None:
    slave = Slave()
    space = Space(AssetPolicy(quota=100), ledger, slave.exists)
    with pytest.raises(RuntimeError):
        async with space.room_for(DISK, 100):
            raise RuntimeError
    async with space.room_for(DISK, 100):
        pass
