"""What one openQA instance holds of one job: its rows in the database, its result directory, its API."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from examples.lab.api import OpenqaApi
from examples.lab.layout import Instance

Row = Mapping[str, Any]

_TOKEN = re.compile(rb'\bJOBTOKEN(?:=|" : ")(\w+)')


@dataclass(frozen=True)
class Entry:
    """One entry of a result directory."""

    kind: str
    """`file`, `directory`, or `link`."""
    mode: int
    """Permissions; a link's say nothing."""
    content: bytes | None
    """Of the file, or of what the link points to; None when that is missing, and for directories."""
    address: str = ""
    """Where a link points, below the instance's images."""

    @property
    def form(self) -> tuple[str, int]:
        """What it is, and who may do what with it."""
        return self.kind, self.mode


@dataclass(frozen=True)
class Execution:
    """A job as one instance has it."""

    instance: Instance
    job: Row
    modules: Sequence[Row]
    settings: Mapping[str, str]
    screenshots: Counter[str]
    """Addresses of screenshots that belong to the job by the database, with the number of links."""
    assets: Sequence[Row]
    entries: Mapping[str, Entry]
    """The result directory by relative path."""
    details: Mapping[str, Any]
    """The job of `GET /api/v1/jobs/<id>/details`."""
    comments: int

    @property
    def id(self) -> int:
        """The job's id on this instance."""
        return int(self.job["id"])

    @property
    def url(self) -> str:
        """The job's page."""
        return f"{self.instance.url}/tests/{self.id}"

    @property
    def token(self) -> bytes:
        """The JOBTOKEN, by the files in which a worker or os-autoinst wrote it; empty when none has it."""
        for name in ("vars.json", "worker-log.txt"):
            entry = self.entries.get(name)
            if entry is not None and entry.content is not None and (found := _TOKEN.search(entry.content)):
                return found[1]
        return b""

    def document(self, name: str) -> Any:
        """A JSON file of the result directory, None if there is none."""
        entry = self.entries.get(name)
        return None if entry is None or entry.content is None else json.loads(entry.content)


def read_execution(instance: Instance, job_id: int) -> Execution:
    """Read all that the instance has of a job; the job should have been finalized (`is_settled`)."""
    with psycopg.connect(instance.dsn, row_factory=dict_row) as database:

        def rows(sql: str) -> list[dict[str, Any]]:
            return database.execute(sql, {"job": job_id}).fetchall()

        (job,) = rows("SELECT * FROM jobs WHERE id = %(job)s")
        settings = rows("SELECT key, value FROM job_settings WHERE job_id = %(job)s")
        return Execution(
            instance=instance,
            job=job,
            modules=rows("SELECT * FROM job_modules WHERE job_id = %(job)s ORDER BY id"),
            settings={row["key"]: row["value"] for row in settings},
            screenshots=Counter(
                row["filename"]
                for row in rows(
                    "SELECT filename FROM screenshot_links JOIN screenshots ON id = screenshot_id"
                    " WHERE job_id = %(job)s"
                )
            ),
            assets=rows(
                "SELECT type, name, size, checksum, created_by FROM jobs_assets JOIN assets ON id = asset_id"
                " WHERE job_id = %(job)s ORDER BY type, name"
            ),
            entries=_entries(instance, job["result_dir"], job_id),
            details=OpenqaApi(instance.url).get(f"jobs/{job_id}/details")["job"],
            comments=len(rows("SELECT id FROM comments WHERE job_id = %(job)s")),
        )


def is_settled(instance: Instance, job_id: int) -> bool:
    """Whether a job has ended and all of openQA's background work on it is done
    (`OpenQA::Task::Job::FinalizeResults`)."""
    with psycopg.connect(instance.dsn) as database:
        ended = database.execute("SELECT state = 'done' FROM jobs WHERE id = %s", (job_id,)).fetchone()
        if ended != (True,):
            return False
        states = database.execute(
            "SELECT state FROM minion_jobs WHERE task = 'finalize_job_results' AND args->>0 = %s",
            (str(job_id),),
        ).fetchall()
    return bool(states) and all(state == "finished" for (state,) in states)


def slave_jobs(slave: Instance, master_url: str) -> list[int]:
    """Ids of the slave's jobs for the master job with this page, oldest first."""
    with psycopg.connect(slave.dsn) as database:
        found = database.execute(
            "SELECT job_id FROM job_settings WHERE key = 'FEDERATED_REPORT' AND value = %s ORDER BY job_id",
            (master_url,),
        ).fetchall()
    return [job_id for (job_id,) in found]


def _entries(instance: Instance, result_directory: str | None, job_id: int) -> dict[str, Entry]:
    if result_directory is None:
        return {}
    directory = instance.results_directory / f"{job_id // 1000:05d}" / result_directory
    images = f"{instance.images_directory}/"
    return {str(path.relative_to(directory)): _entry(path, images) for path in sorted(directory.rglob("*"))}


def _entry(path: Path, images: str) -> Entry:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return Entry("directory", mode, None)
    if not stat.S_ISLNK(status.st_mode):
        return Entry("file", mode, path.read_bytes())
    target = path.readlink()
    content = target.read_bytes() if target.exists() else None
    return Entry("link", mode, content, str(target).removeprefix(images))
