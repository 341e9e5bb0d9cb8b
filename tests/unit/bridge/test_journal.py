"""The journal on a real disk: what it keeps, what becomes of old, damaged, locked and full files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pseudoworker.bridge import journal_file
from pseudoworker.bridge.endings import Ending
from pseudoworker.bridge.journal import Journal, JournalError, Pairing
from pseudoworker.bridge.lifecycle import Phase, State, Stop
from pseudoworker.openqa.json import Json
from tests.fakes.pair import until

MASTER = "http://master"
SLAVE = "http://slave"
JOB: dict[str, Json] = {"id": 7, "settings": {"TEST": "x", "JOBTOKEN": "secret"}}

VERSION_1 = """
CREATE TABLE pairing (master_id INTEGER NOT NULL, master_url TEXT NOT NULL, slot INTEGER NOT NULL,
    worker_id INTEGER NOT NULL, job TEXT NOT NULL, position INTEGER NOT NULL, phase TEXT NOT NULL,
    slave_id INTEGER, stop TEXT, ending TEXT, related INTEGER NOT NULL DEFAULT 0, claimed REAL NOT NULL,
    changed REAL NOT NULL, PRIMARY KEY (master_url, master_id));
CREATE INDEX pairing_slave ON pairing (slave_id);
CREATE TABLE acknowledged (master_url TEXT NOT NULL, master_id INTEGER NOT NULL, kind TEXT NOT NULL,
    name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (master_url, master_id, kind, name)) WITHOUT ROWID;
CREATE TABLE reaper (slave_id INTEGER NOT NULL, slave_url TEXT NOT NULL, since REAL NOT NULL,
    PRIMARY KEY (slave_url, slave_id)) WITHOUT ROWID;
INSERT INTO pairing VALUES (7, 'http://master', 1, 3, '{"id": 7}', 0, 'running', 70, NULL, NULL, 0, 1.5, 2.5);
INSERT INTO pairing VALUES (8, 'http://master', 2, 4, '{"id": 8}', 0, 'closed', 80, NULL, NULL, 0, 1.5, 2.5);
INSERT INTO acknowledged VALUES ('http://master', 7, 'module', 'boot', 'passed f');
INSERT INTO reaper VALUES (99, 'http://slave', 1.0);
PRAGMA user_version = 1;
"""


def pairing(master_id: int = 7, slot: int = 1, position: int = 0, state: State | None = None) -> Pairing:
    return Pairing(master_id, slot, 3, JOB, state or State(), position)


@contextlib.asynccontextmanager
async def opened(path: Path, *, master: str = MASTER, slave: str = SLAVE) -> AsyncIterator[Journal]:
    journal = Journal(path, master_url=master, slave_url=slave)
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def damage(path: Path, how: str) -> bytes:
    """Spoil the file; what it holds then."""
    if how == "a lost table":
        change(path, "DROP TABLE acknowledged; PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()
    content = bytearray(path.read_bytes())
    if how == "no database":
        content[:100] = b"\0" * 100
    elif how == "a false count":
        content[36:40] = (5).to_bytes(4, "big")  # pages on the list of free ones
    else:
        content[4096 : 3 * 4096] = b"x" * 2 * 4096
    path.write_bytes(content)
    path.with_name(path.name + "-wal").write_bytes(b"")
    return bytes(content)


def change(path: Path, script: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(script)


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_only_the_service_user_can_read_it(path: Path) -> None:
    async with opened(path):
        assert (mode(path), mode(path.parent)) == (0o600, 0o700)


@pytest.mark.parametrize(
    "state",
    [
        State(),
        State(Phase.RUNNING, 70, Stop.CANCEL, None, True),
        State(Phase.ENDING, None, Stop.QUIT, Ending("incomplete", "quit: x", newbuild=True, duplicate=True)),
    ],
)
async def test_a_state_survives(path: Path, state: State) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing()])
        await journal.record(7, state)
    async with opened(path) as journal:
        (found,) = await journal.pairings([1])
    assert found.state == state
    assert (found.master_id, found.slot, found.worker_id, found.job) == (7, 1, 3, JOB)
    assert found.claimed > 0


async def test_pairings_come_by_slot_in_the_order_of_its_queue(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing(9, 1, 0), pairing(8, 1, 1), pairing(7, 1, 2)])
        await journal.claim([pairing(5, 2), pairing(4, 3), pairing(3, 2, 1)])
        assert [one.master_id for one in await journal.pairings([2, 1])] == [9, 8, 7, 5, 3]
        await journal.move_up(7)
        await journal.record(9, State(Phase.CLOSED))
        assert [one.master_id for one in await journal.pairings([1])] == [7, 8]
        assert await journal.pairings([]) == []


async def test_jobs_of_another_master_are_not_ours(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing()])
        await journal.reap(70)
    async with opened(path, master="http://other", slave="http://elsewhere") as journal:
        assert await journal.pairings([1]) == []
        assert await journal.slave_of(7) is None
        assert await journal.to_reap() == []


async def test_pairings_are_claimed_all_or_none(path: Path) -> None:
    unspeakable: Any = {"id": object()}
    broken = Pairing(8, 1, 3, unspeakable, State())
    async with opened(path) as journal:
        with pytest.raises(TypeError):
            await journal.claim([pairing(), broken])
        assert await journal.pairings([1]) == []


async def test_a_job_that_is_given_to_us_again_starts_afresh(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing()])
        await journal.acknowledge(7, "module", {"boot": "passed f"})
        await journal.record(7, State(Phase.CLOSED, 70))
        await journal.claim([pairing(slot=4)])
        (found,) = await journal.pairings([4])
        assert found.state == State()
        assert await journal.acknowledged(7, "module") == {}


async def test_an_ended_job_keeps_its_ids_and_no_secret(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing()])
        await journal.record(7, State(Phase.CLOSED, 70))
        assert await journal.slave_of(7) == 70
        assert await journal.master_of(70) == 7
        assert await journal.slave_of(8) is None
        assert await journal.master_of(80) is None
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT job FROM pairing").fetchall() == [("{}",)]


async def test_which_jobs_in_hand_have_a_slave_job(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing()])
        seen = [await journal.is_posted(7)]
        for state in (State(Phase.CREATING), State(Phase.QUEUED, 70), State(Phase.CLOSED, 70)):
            await journal.record(7, state)
            seen.append(await journal.is_posted(7))
        assert seen == [False, False, True, False]


async def test_acknowledgements_by_kind(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing(), pairing(8)])
        await journal.acknowledge(7, "module", {"boot": "a", "login": "b"})
        await journal.acknowledge(7, "module", {"boot": "c"})
        await journal.acknowledge(7, "file", {"boot": "d"})
        await journal.acknowledge(8, "module", {"boot": "e"})
        assert await journal.acknowledged(7, "module") == {"boot": "c", "login": "b"}
        await journal.acknowledge(7, "story", {"1": "once"})
        await journal.forget(7, but=["story"], instead={"file": {"x": "y"}, "none": {}})
        assert await journal.acknowledged(7, "story") == {"1": "once"}
        assert await journal.acknowledged(7, "module") == {}
        assert await journal.acknowledged(7, "file") == {"x": "y"}
        assert await journal.acknowledged(8, "module") == {"boot": "e"}


async def test_slave_jobs_to_be_cancelled_are_kept_until_they_are(path: Path) -> None:
    async with opened(path) as journal:
        await journal.reap(70)
        await journal.reap(70)
        await journal.reap(71)
    async with opened(path) as journal:
        assert await journal.to_reap() == [70, 71]
        await journal.reaped(70)
        assert await journal.to_reap() == [71]


async def test_old_entries_are_dropped(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing(), pairing(8)])
        await journal.acknowledge(7, "file", {"a": ""})
        await journal.acknowledge(8, "file", {"a": ""})
        await journal.record(7, State(Phase.CLOSED, 70))
        assert await journal.acknowledged(7, "file") == {}
        await journal.acknowledge(7, "file", {"late": ""})
        assert await journal.prune(older_than=3600) == 0
        assert await journal.slave_of(7) == 70
        assert await journal.acknowledged(7, "file") == {}
        assert await journal.acknowledged(8, "file") == {"a": ""}
        assert await journal.prune(older_than=-1) == 1
        assert await journal.slave_of(7) is None


async def test_a_write_that_was_begun_is_finished_though_its_caller_is_cancelled(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing()])
        write = asyncio.create_task(journal.record(7, State(Phase.QUEUED, 70)))
        await asyncio.sleep(0)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        (found,) = await journal.pairings([1])
        assert found.state.phase is Phase.QUEUED


# What may be wrong with the file:


async def test_a_journal_of_the_first_version_is_migrated(path: Path) -> None:
    path.parent.mkdir()
    change(path, VERSION_1)
    async with opened(path) as journal:
        assert journal.set_aside is None
        (found,) = await journal.pairings([1, 2])
        assert (found.master_id, found.state) == (7, State(Phase.RUNNING, 70))
        assert await journal.acknowledged(7, "module") == {"boot": "passed f"}
        assert await journal.slave_of(8) == 80
        assert await journal.to_reap() == [99]
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (journal_file.VERSION,)
        assert database.execute("SELECT job FROM pairing WHERE master_id = 8").fetchone() == ("{}",)


async def test_a_migration_is_made_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    change(path, VERSION_1)
    with monkeypatch.context() as patched:
        broken = (journal_file._MIGRATIONS[0], "DELETE FROM pairing; SELECT nonsense")
        patched.setattr(journal_file, "_MIGRATIONS", broken)
        journal = Journal(path, master_url=MASTER, slave_url=SLAVE)
        with pytest.raises(JournalError, match="nonsense"):
            await journal.open()
        await journal.close()
    assert journal.set_aside is not None
    with contextlib.closing(sqlite3.connect(journal.set_aside)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        assert database.execute("SELECT count(*) FROM pairing").fetchone() == (2,)


async def test_a_journal_of_a_newer_version_is_left_alone(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing()])
    change(path, "PRAGMA user_version = 99")
    journal = Journal(path, master_url=MASTER, slave_url=SLAVE)
    with pytest.raises(JournalError, match=r"version 99, this program knows up to .* start the newer"):
        await journal.open()
    await journal.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM pairing").fetchone() == (1,)


@pytest.mark.parametrize("how", ["no database", "a torn page", "a false count", "a lost table"])
async def test_a_damaged_journal_is_set_aside_and_named(path: Path, how: str) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing(number) for number in range(1, 60)])
    content = damage(path, how)
    async with opened(path) as journal:
        assert journal.set_aside is not None
        assert journal.set_aside.name.startswith("journal.sqlite.damaged-")
        assert await asyncio.to_thread(journal.set_aside.read_bytes) == content
        assert mode(path) == 0o600
        assert await journal.pairings([1]) == []
        await journal.claim([pairing()])
    async with opened(path) as journal:
        assert journal.set_aside is None
        assert len(await journal.pairings([1])) == 1


async def test_a_directory_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "deeper" / "journal.sqlite", master_url=MASTER, slave_url=SLAVE)
    with pytest.raises(JournalError, match=r"can not be written: Not a directory; .* state_dir"):
        await journal.open()
    with pytest.raises(JournalError, match="not open"):
        await journal.pairings([1])
    await journal.close()


async def test_a_locked_journal_is_not_taken_for_a_damaged_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing()])
    monkeypatch.setattr(journal_file, "LOCKED", 0.05)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        journal = Journal(path, master_url=MASTER, slave_url=SLAVE)
        with pytest.raises(JournalError, match="locked; make room on its disk, and see that no other"):
            await journal.open()
        await journal.close()
    async with opened(path) as journal:
        assert len(await journal.pairings([1])) == 1


async def test_a_full_disk_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_file, "PAUSE", 0.01)
    caplog.set_level(logging.INFO)
    async with opened(path) as journal:
        await journal.claim([pairing()])
        assert await journal.obstacle() is None
        with full_disk():
            write = asyncio.create_task(journal.record(7, State(Phase.QUEUED, 70)))
            await until(lambda: journal.problem is not None)
            assert not write.done()
            with pytest.raises(JournalError, match="can not be used"):
                await journal.claim([pairing(8)])
            obstacle = await journal.obstacle()
            assert obstacle is not None
            assert str(path) in obstacle
        async with asyncio.timeout(10):
            await write
        assert await journal.obstacle() is None
        assert [(one.master_id, one.state.phase) for one in await journal.pairings([1])] == [
            (7, Phase.QUEUED)
        ]
    told = [record.getMessage() for record in caplog.records if record.name == journal_file.__name__]
    assert len([line for line in told if "jobs wait until it can" in line]) == 1
    assert told[-1] == f"{path}: the journal can be written again"


async def test_an_obstacle_passes_by_trying(path: Path) -> None:
    async with opened(path) as journal:
        with full_disk(), pytest.raises(JournalError):
            await journal.claim([pairing()])
        assert journal.problem is not None
        assert await journal.obstacle() is None


async def test_damage_found_later_ends_the_process_and_no_job(path: Path) -> None:
    async with opened(path) as journal:
        await journal.claim([pairing()])
        change(path, "DROP TABLE pairing")
        with pytest.raises(JournalError, match="no such table"):
            await journal.pairings([1])
        watch = asyncio.create_task(journal.watch())
        await asyncio.sleep(0)
        calls = [asyncio.create_task(journal.record(7, State(Phase.QUEUED, number))) for number in (70, 71)]
        async with asyncio.timeout(10):
            with pytest.raises(JournalError, match="no such table"):
                await watch
        await asyncio.wait(calls, timeout=0.2)
        assert not any(call.done() for call in calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
