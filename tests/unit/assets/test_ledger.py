"""What is remembered of the slave's copies."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pseudoworker.bridge.assets.identity import Known
from pseudoworker.bridge.assets.ledger import Copy, Ledger
from pseudoworker.bridge.assets.names import Asset

MASTER = Asset("hdd", "00000123-disk.qcow2")
SLAVE = Asset("hdd", "00000077-disk.qcow2")
KNOWN = Known(1000, '"m"', 1000, '"s"')
COPY = Copy(MASTER, SLAVE, KNOWN, moved=True)


def opened(path: Path, slave: str = "http://s") -> Ledger:
    return Ledger(path, master_url="http://m", slave_url=slave)


async def test_copies_survive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "state" / "assets.sqlite3"
    ledger = opened(path)
    await ledger.remember(COPY)
    await ledger.close()
    again = opened(path)
    assert await again.known(MASTER, SLAVE) == KNOWN
    assert await again.moved() == (COPY,)
    assert await again.known(Asset("hdd", "other"), SLAVE) is None
    await again.forget(SLAVE)
    assert await again.known(MASTER, SLAVE) is None
    await again.close()


async def test_instances_are_kept_apart(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "db"), opened(tmp_path / "db", "http://t")
    await one.remember(COPY)
    assert await other.known(MASTER, SLAVE) is None
    await one.close()
    await other.close()


async def test_that_it_was_moved_is_not_forgotten_when_it_is_only_seen_again(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "db")
    await ledger.remember(COPY)
    await ledger.remember(replace(COPY, moved=False, known=replace(KNOWN, slave_version='"t"')))
    assert [(copy.moved, copy.known.slave_version) for copy in await ledger.moved()] == [(True, '"t"')]
    await ledger.close()


async def test_a_damaged_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "db"
    path.write_bytes(b"this is no database at all" * 100)
    ledger = opened(path)
    await ledger.remember(COPY)
    assert await ledger.known(MASTER, SLAVE) == KNOWN
    await ledger.close()
    assert "set aside" in caplog.text
    assert [name for name in os.listdir(tmp_path) if name.startswith("db.damaged-")]


async def test_what_can_not_be_written_is_only_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    ledger = opened(tmp_path / "file" / "db")
    await ledger.remember(COPY)
    assert await ledger.known(MASTER, SLAVE) is None
    assert await ledger.moved() == ()
    await ledger.close()
    assert "Can not use" in caplog.text
