"""Both fakes at once, and a configuration directory that joins them for the real process."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

from tests.fakes.compare import differences
from tests.fakes.flavour import BW, Flavour
from tests.fakes.invariants import violations
from tests.fakes.master import FakeMaster
from tests.fakes.model import Job
from tests.fakes.slave import FakeSlave

MASTER_KEY: Final = ("1111111111111111", "AAAAAAAAAAAAAAAA")
SLAVE_KEY: Final = ("2222222222222222", "BBBBBBBBBBBBBBBB")
LOCATION: Final = "lab"
BUSY: Final = 4.0
"""Limits are for a quiet machine; so many times as long is waited on a busy one."""


class FakePair:
    """A fake master and a fake slave in this process.

    `master` and `slave` are keyword arguments of `FakeMaster` and `FakeSlave` beside those given here.
    """

    def __init__(
        self,
        *,
        flavour: Flavour = BW,
        slave_flavour: Flavour | None = None,
        master: Mapping[str, Any] | None = None,
        slave: Mapping[str, Any] | None = None,
    ) -> None:
        options: dict[str, Any] = {"flavour": flavour, "key": MASTER_KEY[0], "secret": MASTER_KEY[1]}
        self.master = FakeMaster(**options | dict(master or {}))
        options = {"flavour": slave_flavour or flavour, "key": SLAVE_KEY[0], "secret": SLAVE_KEY[1]}
        self.slave = FakeSlave(**options | dict(slave or {}))

    async def __aenter__(self) -> Self:
        await self.master.start()
        await self.slave.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.slave.stop()
        await self.master.stop()

    def write_config(
        self,
        directory: Path,
        *,
        instances: int = 4,
        classes: str = ":lab:qemu_x86_64",
        master_url: str | None = None,
        slave_url: str | None = None,
        toml: str = "",
        workers: str = "",
    ) -> Path:
        """Write workers.ini, client.conf and pseudoworker.toml; the directory is for `OPENQA_CONFIG`.

        `master_url` and `slave_url` put something between (a fault proxy); `toml` and `workers` are added at
        the end of their files.
        """
        master_url, slave_url = master_url or self.master.url, slave_url or self.slave.url
        return write_config(
            directory,
            master_url,
            MASTER_KEY,
            slave_url,
            SLAVE_KEY,
            instances=instances,
            classes=classes,
            toml=toml,
            workers=workers,
        )

    async def done(self, *jobs: Job, limit: float = 30.0) -> None:
        """Wait until jobs of the master are over; raises `TimeoutError` with where they stand."""
        await until(lambda: all(job.state == "done" for job in jobs), limit, lambda: self.story(*jobs))

    def story(self, *jobs: Job) -> str:
        """Where jobs of the master stand, for messages."""
        lines = [
            f"job {job.id}: {job.state}/{job.result} {job.reason or ''} states {job.report.states},"
            f" {len(job.report.statuses)} statuses, refused {dict(job.report.refused)}"
            for job in jobs
        ]
        lines.append(f"slave: {[(job.id, job.state, job.result) for job in self.slave.db.jobs.values()]}")
        lines.append(f"master counts {dict(self.master.traffic.counts)}")
        lines.append(f"slave counts {dict(self.slave.traffic.counts)}")
        return "\n".join(lines)

    def differences(self, job: Job) -> list[str]:
        """What the master holds of a job otherwise than the slave; empty when it came back whole."""
        return differences(self.slave, self.slave.job_for(job.id), self.master, job)

    def violations(self) -> list[str]:
        """What must never happen, and did, on either side."""
        return [f"master: {wrong}" for wrong in violations(self.master)] + [
            f"slave: {wrong}" for wrong in violations(self.slave)
        ]


def write_config(
    directory: Path,
    master_url: str,
    master_key: tuple[str, str],
    slave_url: str,
    slave_key: tuple[str, str],
    *,
    instances: int = 4,
    classes: str = ":lab:qemu_x86_64",
    toml: str = "",
    workers: str = "",
) -> Path:
    """Write the three files for any two instances."""
    directory.mkdir(parents=True, exist_ok=True)
    sections = "".join(f"\n[{number}]\n" for number in range(1, instances + 1))
    (directory / "workers.ini").write_text(
        f"[global]\nHOST = {master_url}\nWORKER_CLASS = {classes}\nWORKER_HOSTNAME = 127.0.0.1\n"
        f"{sections}{workers}"
    )
    (directory / "client.conf").write_text(
        "".join(
            f"[{_authority(url)}]\nkey = {key}\nsecret = {secret}\n\n"
            for url, (key, secret) in ((master_url, master_key), (slave_url, slave_key))
        )
    )
    (directory / "client.conf").chmod(0o600)
    (directory / "pseudoworker.toml").write_text(
        f'state_dir = "{directory / "state"}"\n\n'
        f'[slave]\nurl = "{slave_url}"\nlocation = "{LOCATION}"\n{toml}'
    )
    return directory


def environment(config: Path) -> dict[str, str]:
    """The environment of a process that shall read `config` and nothing else of this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENQA_", "XDG_"))}
    kept.pop("STATE_DIRECTORY", None)
    root = str(Path(__file__).parents[2])
    return kept | {
        "OPENQA_CONFIG": str(config),
        "HOME": str(config),
        "PYTHONPATH": root,
        "PYTHONWARNINGS": "default",
    }


@asynccontextmanager
async def pseudoworker(
    config: Path, *arguments: str, log: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The real process, `pseudoworker run` by default; it is killed at the end unless it went by itself."""
    command = (sys.executable, "-m", "pseudoworker", *(arguments or ("run", "--instance", "1-4")))
    path = log or config / "pseudoworker.log"
    with path.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment(config), stdout=output, stderr=output, cwd=config
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def until(
    condition: Callable[[], bool],
    limit: float = 10.0,
    story: Callable[[], str] = lambda: "",
    pause: float = 0.02,
) -> None:
    """Wait for a condition; raises `TimeoutError` with the story when it does not come true in time."""
    end = time.monotonic() + limit * BUSY
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {limit} s\n{story()}")
        await asyncio.sleep(pause)


def _authority(url: str) -> str:
    return url.split("://", 1)[1].split("/", 1)[0]
