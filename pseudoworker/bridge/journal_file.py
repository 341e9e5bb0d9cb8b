"""The file of the journal: opened or set aside, brought to the present version, written from a thread of its
own, and waited for while its disk is full or away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pseudoworker.errors import PseudoworkerError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MIGRATIONS = (
    # to version 1, from an empty file
    """
    CREATE TABLE pairing (
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
    CREATE INDEX pairing_slave ON pairing (slave_id);
    CREATE TABLE acknowledged (
        master_url TEXT NOT NULL,
        master_id INTEGER NOT NULL,
        kind TEXT NOT NULL,            -- what it is: module, file, asset, …
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (master_url, master_id, kind, name)
    ) WITHOUT ROWID;
    CREATE TABLE reaper (
        slave_id INTEGER NOT NULL,
        slave_url TEXT NOT NULL,
        since REAL NOT NULL,
        PRIMARY KEY (slave_url, slave_id)
    ) WITHOUT ROWID
    """,
    # to version 2: of a job that has ended only the ids are kept, not its settings with their secrets
    """
    UPDATE pairing SET job = '{}' WHERE phase = 'closed'
    """,
)
"""What brings a file from one version to the next, in order; `PRAGMA user_version` holds the version."""
VERSION = len(_MIGRATIONS)

_PASSING = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
    }
)
"""Errors of the disk or the machine; any other one means that the file is not what it should be."""
PAUSE = 0.5
LONGEST_PAUSE = 15.0
"""Seconds before a failed write is tried again; the pause doubles each time."""
LOCKED = 30.0
"""Seconds for which another process may hold the file."""


class JournalError(PseudoworkerError):
    """The journal can not be opened or written; the message names the file and what to do."""


class JournalFile:
    """`open` first, `close` in the end. `_run` and what stands on it is for the journal itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set_aside: Path | None = None
        """Where a damaged file was moved to when this one was opened."""
        self.problem: str | None = None
        """Why the file can not be written at present, None when nothing is known to be wrong."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._database: sqlite3.Connection | None = None
        self._damage: asyncio.Future[JournalError] | None = None

    async def open(self) -> None:
        """Open or create the file. A damaged one is set aside under another name (see `set_aside`).

        Raises JournalError when it can not be written now, or is of a newer version.
        """
        await self._run(self._open, patient=False)

    async def close(self) -> None:
        """Finish what was asked for, then close the file."""
        await self._run(self._close, patient=False)
        self._thread.shutdown()

    async def watch(self) -> None:
        """Wait until the file turns out to be damaged; raises JournalError then.

        From now on whoever uses a damaged journal gets no error but waits for the end of the process: no job
        is to be given up for what the next process can put right.
        """
        self._damage = asyncio.get_running_loop().create_future()
        raise await self._damage

    async def obstacle(self) -> str | None:
        """Why no job can be taken now, None if nothing is known; after a failed write it tries another
        one."""

        def write(database: sqlite3.Connection) -> None:
            database.execute(f"PRAGMA user_version = {VERSION}")

        if self.problem is not None:
            with contextlib.suppress(JournalError):
                await self._transaction(write, patient=False)
        return self.problem

    async def _transaction(self, write: Callable[[sqlite3.Connection], T], *, patient: bool = True) -> T:
        """All that `write` does, or nothing of it. What it returns leaves the thread: no cursor may."""

        def run() -> T:
            database = self._opened()
            database.execute("BEGIN IMMEDIATE")
            try:
                result = write(database)
                database.execute("COMMIT")
            except BaseException:
                database.rollback()
                raise
            return result

        return await self._run(run, patient=patient)

    async def _run(self, call: Callable[[], T], *, patient: bool = True) -> T:
        """What `call` returns, in the journal's own thread; with `patient` once the disk lets it."""
        pause = PAUSE
        while True:
            try:
                # A write that was begun is waited for even when the caller is cancelled: it can not be called
                # back.
                result = await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, call))
            except sqlite3.Error as error:
                await self._failed(error, patient=patient)
            else:
                self._tell(None)
                return result
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _failed(self, error: sqlite3.Error, *, patient: bool) -> None:
        """Returns when the call is worth another try."""
        if _is_passing(error):
            self._tell(f"{self.path}: the journal can not be written: {error}")
            if patient:
                return
        told = JournalError(f"{self.path}: the journal can not be used: {error}")
        if _is_passing(error) or self._damage is None:
            raise told from error
        if not self._damage.done():
            self._damage.set_result(told)
        await asyncio.Event().wait()

    def _tell(self, problem: str | None) -> None:
        if problem != self.problem:
            if problem:
                logger.error("%s; jobs wait until it can", problem)
            else:
                logger.info("%s: the journal can be written again", self.path)
        self.problem = problem

    # In the journal's own thread:

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            raise JournalError(f"{self.path}: the journal is not open")
        return self._database

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._create()
            os.chmod(self.path, 0o600)
        except OSError as error:
            raise JournalError(
                f"{self.path}: the journal can not be written: {error.strerror or error};"
                " give its directory to the service user, or set state_dir in pseudoworker.toml"
            ) from error
        try:
            self._database = _connect(self.path)
        except sqlite3.DatabaseError as error:
            if _is_passing(error):
                raise JournalError(
                    f"{self.path}: the journal can not be used now: {error}; make room on its disk, and see"
                    " that no other program locks it"
                ) from error
            self.set_aside = self._set_aside()
            self._database = _connect(self.path)

    def _create(self) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))

    def _set_aside(self) -> Path:
        target = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        self.path.rename(target)
        for suffix in ("-wal", "-shm"):
            companion = self.path.with_name(self.path.name + suffix)
            if companion.exists():
                companion.rename(target.with_name(target.name + suffix))
        self._create()
        return target

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=LOCKED, isolation_level=None, check_same_thread=False)
    try:
        database.row_factory = sqlite3.Row
        version: int = database.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise JournalError(
                f"{path}: the journal is of version {version}, this program knows up to {VERSION};"
                " start the newer pseudoworker again, or move the file away"
            )
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check failed")
        _migrate(database)
        database.execute("SELECT 1 FROM pairing, acknowledged, reaper LIMIT 0")
    except BaseException:
        database.close()
        raise
    return database


def _migrate(database: sqlite3.Connection) -> None:
    """Step by step, each of them whole or not at all; another process may be at it too."""
    for step, change in enumerate(_MIGRATIONS):
        database.execute("BEGIN IMMEDIATE")
        try:
            if database.execute("PRAGMA user_version").fetchone()[0] == step:
                for statement in change.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {step + 1}")
            database.execute("COMMIT")
        except BaseException:
            database.rollback()
            raise


def _is_passing(error: sqlite3.Error) -> bool:
    """Whether the disk or the machine is to blame, which may be well again."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING
