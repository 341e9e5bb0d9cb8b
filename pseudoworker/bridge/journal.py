"""The journal: what this process promised to either side, on disk before it acts on it.

One SQLite file in WAL mode, readable by the service user alone, since it holds the JOBTOKENs of the jobs. It
is written from a thread of its own, so that no slot waits for another's disk. Several processes (with
different slots) may share one file.

A disk that is full, or gone for a while, loses no job: whoever writes waits until it can be written again,
and meanwhile no new job is taken (`problem`). A file that turns out to be damaged is set aside when it is
opened the next time; `bridge.recovery` then finds the jobs that were in it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pseudoworker.bridge.endings import Ending
from pseudoworker.bridge.journal_file import JournalError, JournalFile
from pseudoworker.bridge.lifecycle import Phase, State, Stop
from pseudoworker.openqa.json import Json

__all__ = ["Journal", "JournalError", "Pairing"]

_DROP_ACKNOWLEDGED = "DELETE FROM acknowledged WHERE master_url = ? AND master_id = ?"


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


class Journal(JournalFile):
    """All methods that are coroutines return when the change is on disk; but for `claim` they wait for a disk
    that can be written again, however long that takes.

    `master_url` and `slave_url` scope the rows, so that a process that was pointed to another instance does
    not take the old one's jobs for its own."""

    def __init__(self, path: Path, *, master_url: str, slave_url: str) -> None:
        super().__init__(path)
        self._master_url = master_url
        self._slave_url = slave_url

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
        """Record new pairings, all or none. A job claimed before (and given to us again) starts afresh.

        Raises JournalError at once when the journal can not be written: the jobs are not ours then.
        """
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
            database.executemany(_DROP_ACKNOWLEDGED, [(self._master_url, p.master_id) for p in pairings])
            database.executemany(
                "INSERT OR REPLACE INTO pairing (master_url, master_id, slot, worker_id, job, position,"
                " phase, slave_id, stop, ending, related, claimed, changed)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

        await self._transaction(write, patient=False)

    async def record(self, master_id: int, state: State) -> None:
        """Write a pairing's new state. A closed one keeps no settings, no secrets in them, and nothing of
        what the master took."""
        key = (self._master_url, master_id)
        values = (*_columns(state), time.time(), *key)

        def write(database: sqlite3.Connection) -> None:
            database.execute(
                "UPDATE pairing SET phase = ?, slave_id = ?, stop = ?, ending = ?, related = ?, changed = ?"
                " WHERE master_url = ? AND master_id = ?",
                values,
            )
            if state.phase is Phase.CLOSED:
                database.execute("UPDATE pairing SET job = '{}' WHERE master_url = ? AND master_id = ?", key)
                database.execute(_DROP_ACKNOWLEDGED, key)

        await self._transaction(write)

    async def move_up(self, master_id: int) -> None:
        """The job is its slot's current one from now on."""
        await self._execute(
            "UPDATE pairing SET position = 0 WHERE master_url = ? AND master_id = ?",
            (self._master_url, master_id),
        )

    async def acknowledge(self, master_id: int, kind: str, values: Mapping[str, str]) -> None:
        """Remember what the master took of a job: names and their fingerprints, by kind."""
        rows = self._acknowledgements(master_id, {kind: values})
        await self._transaction(lambda database: _acknowledge(database, rows))

    async def acknowledged(self, master_id: int, kind: str) -> dict[str, str]:
        """What `acknowledge` remembered of this kind."""
        rows = await self._query(
            "SELECT name, value FROM acknowledged WHERE master_url = ? AND master_id = ? AND kind = ?",
            (self._master_url, master_id, kind),
        )
        return {row["name"]: row["value"] for row in rows}

    async def forget(
        self, master_id: int, *, but: Collection[str], instead: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Drop what was acknowledged of all kinds `but` these, and remember `instead` (values by kind)."""
        rows = self._acknowledgements(master_id, instead)
        marks = ",".join("?" * len(but))

        def write(database: sqlite3.Connection) -> None:
            database.execute(
                f"DELETE FROM acknowledged WHERE master_url = ? AND master_id = ? AND kind NOT IN ({marks})",
                (self._master_url, master_id, *but),
            )
            _acknowledge(database, rows)

        await self._transaction(write)

    async def knows(self, master_id: int) -> bool:
        """Whether the job was claimed, and not forgotten for its age."""
        rows = await self._query(
            "SELECT 1 FROM pairing WHERE master_url = ? AND master_id = ?", (self._master_url, master_id)
        )
        return bool(rows)

    async def is_posted(self, master_id: int) -> bool:
        """Whether a job in hand has a slave job."""
        rows = await self._query(
            "SELECT 1 FROM pairing WHERE master_url = ? AND master_id = ? AND slave_id IS NOT NULL"
            " AND phase <> 'closed'",
            (self._master_url, master_id),
        )
        return bool(rows)

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

    def _acknowledgements(
        self, master_id: int, values: Mapping[str, Mapping[str, str]]
    ) -> list[tuple[str, int, str, str, str]]:
        return [
            (self._master_url, master_id, kind, name, value)
            for kind, named in values.items()
            for name, value in named.items()
        ]

    async def _query(self, sql: str, values: Sequence[object]) -> list[sqlite3.Row]:
        return await self._run(lambda: self._opened().execute(sql, tuple(values)).fetchall())

    async def _execute(self, sql: str, values: Sequence[object]) -> None:
        # No cursor may leave the journal's thread: freed in another one it resets its statement, which the
        # connection keeps for the next call and may just be running ("API misuse").
        def run() -> None:
            self._opened().execute(sql, tuple(values))

        await self._run(run)


def _acknowledge(database: sqlite3.Connection, rows: Sequence[tuple[str, int, str, str, str]]) -> None:
    database.executemany("INSERT OR REPLACE INTO acknowledged VALUES (?, ?, ?, ?, ?)", rows)


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
