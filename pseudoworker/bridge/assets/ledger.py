"""What we know of the slave's copies of the master's assets, kept over restarts.

Only an aid: without it an asset may be moved once more than necessary, or under another name. So a file that
can not be read is set aside, and a failed write is a warning.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pseudoworker.bridge.assets.identity import Known
from pseudoworker.bridge.assets.names import Asset

T = TypeVar("T")

VERSION = 1
FORGET_AFTER = 180 * 86_400.0
"""Seconds after which a copy that no job asked for is forgotten."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS copy (
    master_url TEXT NOT NULL,
    slave_url TEXT NOT NULL,
    slave_type TEXT NOT NULL,
    slave_name TEXT NOT NULL,
    master_type TEXT NOT NULL,
    master_name TEXT NOT NULL,
    master_size INTEGER NOT NULL,
    master_version TEXT NOT NULL,
    slave_size INTEGER NOT NULL,
    slave_version TEXT NOT NULL,
    moved INTEGER NOT NULL,        -- 1 when we brought it there: it counts for the quota
    used REAL NOT NULL,
    PRIMARY KEY (master_url, slave_url, slave_type, slave_name)
) WITHOUT ROWID;
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Copy:
    """One file on the slave that is (or was) the same as one on the master."""

    master: Asset
    slave: Asset
    known: Known
    moved: bool
    """Whether we brought it to the slave."""


class Ledger:
    """Coroutines that never raise: see the module's docstring. Call `close` at the end."""

    def __init__(self, path: Path, *, master_url: str, slave_url: str) -> None:
        self.path = path
        self._scope = (master_url, slave_url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="asset-ledger")
        self._database: sqlite3.Connection | None = None

    async def known(self, master: Asset, slave: Asset) -> Known | None:
        """What is known of this pair of files."""
        rows = await self._run(
            lambda database: self._select(
                database, "AND slave_type = ? AND slave_name = ?", (slave.type, slave.name)
            )
        )
        return next((copy.known for copy in rows or () if copy.master == master), None)

    async def moved(self) -> tuple[Copy, ...]:
        """All copies that we brought to the slave, as far as we know."""
        return tuple(await self._run(lambda database: self._select(database, "AND moved = 1", ())) or ())

    async def remember(self, copy: Copy) -> None:
        """Note that these two files are the same now. That we brought it stays known until it is
        forgotten."""
        known = copy.known
        row = (
            *self._scope,
            copy.slave.type,
            copy.slave.name,
            copy.master.type,
            copy.master.name,
            known.master_size,
            known.master_version,
            known.slave_size,
            known.slave_version,
            int(copy.moved),
            time.time(),
        )
        await self._run(
            lambda database: database.execute(
                "INSERT INTO copy VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
                " master_type = excluded.master_type, master_name = excluded.master_name,"
                " master_size = excluded.master_size, master_version = excluded.master_version,"
                " slave_size = excluded.slave_size, slave_version = excluded.slave_version,"
                " moved = MAX(moved, excluded.moved), used = excluded.used",
                row,
            )
        )

    async def forget(self, slave: Asset) -> None:
        """The slave does not have it any more."""
        await self._run(
            lambda database: database.execute(
                "DELETE FROM copy"
                " WHERE master_url = ? AND slave_url = ? AND slave_type = ? AND slave_name = ?",
                (*self._scope, slave.type, slave.name),
            )
        )

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _select(self, database: sqlite3.Connection, condition: str, values: tuple[str, ...]) -> list[Copy]:
        rows = database.execute(
            "SELECT master_type, master_name, slave_type, slave_name, master_size, master_version,"
            f" slave_size, slave_version, moved FROM copy WHERE master_url = ? AND slave_url = ? {condition}",
            (*self._scope, *values),
        )
        return [
            Copy(Asset(row[0], row[1]), Asset(row[2], row[3]), Known(*row[4:8]), bool(row[8])) for row in rows
        ]

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        try:
            if self._database is None:
                self._database = self._open()
            return work(self._database)
        except (sqlite3.Error, OSError) as error:
            _log.warning("Can not use %s, which remembers the slave's assets: %s", self.path, error)
            return None

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._prepared()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, or not writable: not the file's fault
                raise
            aside = self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}")
            os.replace(self.path, aside)
            _log.warning("%s is damaged (%s); set aside as %s", self.path, error, aside)
            return self._prepared()

    def _prepared(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            if database.execute("PRAGMA user_version").fetchone()[0] not in (0, VERSION):
                database.execute(
                    "DROP TABLE IF EXISTS copy"
                )  # of another release: nothing that can not be found anew
            database.executescript(_SCHEMA)
            database.execute(f"PRAGMA user_version = {VERSION}")
            database.execute("DELETE FROM copy WHERE used < ?", (time.time() - FORGET_AFTER,))
        except BaseException:
            database.close()
            raise
        return database

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
