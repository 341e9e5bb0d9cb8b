"""The journal: what this process promised to either side, on disk before it acts on it.

One SQLite file in WAL mode, readable by the service user alone, since it holds the JOBTOKENs of the jobs. It
is written from a thread of its own, so that no slot waits for another's disk. Several processes (with
different slots) may share one file."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pseudoworker.bridge.endings import Ending
from pseudoworker.bridge.lifecycle import Phase, State, Stop
from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa.json import Json

T = TypeVar("T")

VERSION = 1
"""Of the schema below; `PRAGMA user_version` holds it."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pairing (
    master_id INTEGER NOT NULL,
    master_url TEXT NOT NULL,
    slot INTEGER NOT NULL,
    worker_id INTEGER NOT NULL,
    job TEXT NOT NULL,             -- as received with grab_job, JOBTOKEN included
    position INTEGER NOT NULL,     -- place in the slot's queue (grab_jobs), 0 for the current job
    phase TEXT NOT NULL,
    slave_id INTEGER,
    stop TEXT,
    ending TEXT,
    related INTEGER NOT NULL DEFAULT 0,
    claimed REAL NOT NULL,
    changed REAL NOT NULL,
    PRIMARY KEY (master_url, master_id)
);
CREATE INDEX IF NOT EXISTS pairing_slave ON pairing (slave_id);
CREATE TABLE IF NOT EXISTS acknowledged (
    master_url TEXT NOT NULL,
    master_id INTEGER NOT NULL,
    kind TEXT NOT NULL,            -- what it is: module, file, asset, …
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (master_url, master_id, kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reaper (
    slave_id INTEGER NOT NULL,
    slave_url TEXT NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (slave_url, slave_id)
) WITHOUT ROWID;
"""


class JournalError(PseudoworkerError):
    """The journal can not be opened or written; the message names the file and what to do."""


@dataclass(frozen=True)
class Pairing:
    """One row: a job of the master, the slot that has it, and how far it is."""

    master_id: int
    slot: int
    worker_id: int
    job: Mapping[str, Json]
    state: State
    position: int = 0
    claimed: float = 0.0
    """When the job was claimed, in seconds since the epoch."""


class Journal:
    """All methods that are coroutines return when the change is on disk.

    `master_url` and `slave_url` scope the rows, so that a process that was pointed to another instance does
    not take the old one's jobs for its own."""

    def __init__(self, path: Path, *, master_url: str, slave_url: str) -> None:
        self.path = path
        self._master_url = master_url
        self._slave_url = slave_url
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._database: sqlite3.Connection | None = None
        self.set_aside: Path | None = None
        """Where a damaged journal was moved to when this one was opened."""

    async def open(self) -> None:
        """Open or create the file. A damaged one is set aside under another name (see `set_aside`).

        Raises JournalError when the directory can not be written or the file is of a newer version.
        """
        await self._run(self._open)

    async def close(self) -> None:
        """Finish what was asked for, then close the file."""
        await self._run(self._close)
        self._thread.shutdown()

    async def pairings(self, slots: Iterable[int]) -> list[Pairing]:
        """The open pairings of these slots, in the order in which a slot works on them."""
        wanted = sorted(set(slots))
        marks = ",".join("?" * len(wanted))
        rows = await self._query(
            f"SELECT * FROM pairing WHERE master_url = ? AND phase != 'closed' AND slot IN ({marks})"
            " ORDER BY slot, position, master_id",
            (self._master_url, *wanted),
        )
        return [_pairing(row) for row in rows]

    async def claim(self, pairings: Sequence[Pairing]) -> None:
        """Record new pairings, all or none. A job claimed before (and given to us again) starts afresh."""
        now = time.time()
        rows = [
            (
                self._master_url,
                p.master_id,
                p.slot,
                p.worker_id,
                json.dumps(p.job),
                p.position,
                *_columns(p.state),
                now,
                now,
            )
            for p in pairings
        ]

        def write(database: sqlite3.Connection) -> None:
            database.executemany(
                "DELETE FROM acknowledged WHERE master_url = ? AND master_id = ?",
                [(self._master_url, p.master_id) for p in pairings],
            )
            database.executemany(
                "INSERT OR REPLACE INTO pairing (master_url, master_id, slot, worker_id, job, position,"
                " phase, slave_id, stop, ending, related, claimed, changed)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

        await self._transaction(write)

    async def record(self, master_id: int, state: State) -> None:
        """Write a pairing's new state."""
        await self._execute(
            "UPDATE pairing SET phase = ?, slave_id = ?, stop = ?, ending = ?, related = ?, changed = ?"
            " WHERE master_url = ? AND master_id = ?",
            (*_columns(state), time.time(), self._master_url, master_id),
        )

    async def move_up(self, master_id: int) -> None:
        """The job is its slot's current one from now on."""
        await self._execute(
            "UPDATE pairing SET position = 0 WHERE master_url = ? AND master_id = ?",
            (self._master_url, master_id),
        )

    async def acknowledge(self, master_id: int, kind: str, values: Mapping[str, str]) -> None:
        """Remember what the master took of a job: names and their fingerprints, by kind."""
        rows = [(self._master_url, master_id, kind, name, value) for name, value in values.items()]
        await self._transaction(
            lambda database: database.executemany(
                "INSERT OR REPLACE INTO acknowledged VALUES (?, ?, ?, ?, ?)", rows
            )
        )

    async def acknowledged(self, master_id: int, kind: str) -> dict[str, str]:
        """What `acknowledge` remembered of this kind."""
        rows = await self._query(
            "SELECT name, value FROM acknowledged WHERE master_url = ? AND master_id = ? AND kind = ?",
            (self._master_url, master_id, kind),
        )
        return {row["name"]: row["value"] for row in rows}

    async def forget(self, master_id: int) -> None:
        """Drop what was acknowledged: the slave restarted the job and everything comes anew."""
        await self._execute(
            "DELETE FROM acknowledged WHERE master_url = ? AND master_id = ?", (self._master_url, master_id)
        )

    async def slave_of(self, master_id: int) -> int | None:
        """The slave job that a job of the master ran as, also of a closed pairing, None if not known."""
        rows = await self._query(
            "SELECT slave_id FROM pairing WHERE master_url = ? AND master_id = ?",
            (self._master_url, master_id),
        )
        return rows[0]["slave_id"] if rows else None

    async def master_of(self, slave_id: int) -> int | None:
        """The job of the master that ran as this slave job, None if not known."""
        rows = await self._query(
            "SELECT master_id FROM pairing WHERE master_url = ? AND slave_id = ?"
            " ORDER BY changed DESC LIMIT 1",
            (self._master_url, slave_id),
        )
        return rows[0]["master_id"] if rows else None

    async def reap(self, slave_id: int) -> None:
        """Remember that a slave job is to be cancelled."""
        await self._execute(
            "INSERT OR IGNORE INTO reaper VALUES (?, ?, ?)", (slave_id, self._slave_url, time.time())
        )

    async def reaped(self, slave_id: int) -> None:
        """The slave job was cancelled, or is gone."""
        await self._execute(
            "DELETE FROM reaper WHERE slave_url = ? AND slave_id = ?", (self._slave_url, slave_id)
        )

    async def to_reap(self) -> list[int]:
        """Slave jobs that are still to be cancelled."""
        rows = await self._query("SELECT slave_id FROM reaper WHERE slave_url = ?", (self._slave_url,))
        return [row["slave_id"] for row in rows]

    async def prune(self, *, older_than: float) -> int:
        """Drop closed pairings that did not change for so many seconds, and everything of theirs.

        Closed ones are kept for a while since chained jobs ask which slave job produced a private asset.
        """
        limit = time.time() - older_than

        def write(database: sqlite3.Connection) -> int:
            database.execute(
                "DELETE FROM acknowledged WHERE (master_url, master_id) IN"
                " (SELECT master_url, master_id FROM pairing WHERE phase = 'closed')"
            )
            gone = database.execute("DELETE FROM pairing WHERE phase = 'closed' AND changed < ?", (limit,))
            return gone.rowcount

        return await self._transaction(write)

    # In the journal's own thread:

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            os.chmod(self.path, 0o600)
        except OSError as error:
            raise JournalError(
                f"{self.path}: the journal can not be written: {error.strerror or error};"
                " give its directory to the service user, or set state_dir in pseudoworker.toml"
            ) from error
        try:
            self._database = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise JournalError(
                    f"{self.path}: the journal is locked by another program: {error}"
                ) from error
            self.set_aside = self._set_aside()
            self._database = self._connect()

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            database.row_factory = sqlite3.Row
            version: int = database.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise JournalError(
                    f"{self.path}: the journal is of version {version}, this program knows up to {VERSION};"
                    " start the newer pseudoworker again, or move the file away"
                )
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            if database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check failed")
            database.executescript(_SCHEMA)
            database.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            database.close()
            raise
        return database

    def _set_aside(self) -> Path:
        target = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        self.path.rename(target)
        for suffix in ("-wal", "-shm"):
            companion = self.path.with_name(self.path.name + suffix)
            if companion.exists():
                companion.rename(target.with_name(target.name + suffix))
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        return target

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    async def _query(self, sql: str, values: Sequence[object]) -> list[sqlite3.Row]:
        return await self._run(lambda: self._opened().execute(sql, tuple(values)).fetchall())

    async def _execute(self, sql: str, values: Sequence[object]) -> None:
        await self._run(lambda: self._opened().execute(sql, tuple(values)))

    async def _transaction(self, write: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            database = self._opened()
            database.execute("BEGIN IMMEDIATE")
            try:
                result = write(database)
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
            return result

        return await self._run(run)

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            raise JournalError(f"{self.path}: the journal is not open")
        return self._database

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            # A write that was begun is waited for even when the caller is cancelled: it can not be called
            # back.
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, call))
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: the journal can not be used: {error}") from error


def _columns(state: State) -> tuple[str, int | None, str | None, str | None, int]:
    ending = None if state.ending is None else json.dumps(vars(state.ending))
    stop = None if state.stop is None else state.stop.value
    return state.phase.value, state.slave_id, stop, ending, int(state.related)


def _pairing(row: sqlite3.Row) -> Pairing:
    return Pairing(
        master_id=row["master_id"],
        slot=row["slot"],
        worker_id=row["worker_id"],
        job=json.loads(row["job"]),
        state=State(
            phase=Phase(row["phase"]),
            slave_id=row["slave_id"],
            stop=None if row["stop"] is None else Stop(row["stop"]),
            ending=None if row["ending"] is None else Ending(**json.loads(row["ending"])),
            related=bool(row["related"]),
        ),
        position=row["position"],
        claimed=row["claimed"],
    )
