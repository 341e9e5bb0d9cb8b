"""A fake openQA as its API clients see it: jobs run on scripted workers inside it.

`python -m tests.fakes.slave --port 22000 --workers qemu_x86_64:4` runs one on its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Self

from tests.fakes.model import Job
from tests.fakes.program import main
from tests.fakes.runner import Run, ScriptedWorker
from tests.fakes.server import FakeOpenQA


class FakeSlave(FakeOpenQA):
    """The instance that runs the jobs."""

    def __init__(
        self, *, workers: Mapping[str, int] | None = None, script: str = "{}", hosts: int = 1, **options: Any
    ) -> None:
        """`workers`: how many of which classes (comma-separated); `script`: for jobs without FAKE_SCRIPT."""
        super().__init__(**options)
        self.capacity = {"qemu_x86_64": 4} if workers is None else dict(workers)
        self.script = script
        self.hosts = hosts
        self.crew: list[ScriptedWorker] = []

    async def start(self) -> Self:
        """Listen, with all workers idle."""
        await super().start()
        for classes, count in self.capacity.items():
            for _ in range(count):
                self.hire(classes)
        return self

    async def stop(self) -> None:
        """Stop everything, the workers first."""
        for scripted in self.crew:
            await scripted.stop()
        await super().stop()

    def hire(self, classes: str) -> ScriptedWorker:
        """One more worker."""
        number = len(self.crew) + 1
        worker = self.workers.add(f"slave{(number - 1) % self.hosts + 1}", number)
        worker.properties |= {
            "WORKER_CLASS": classes,
            "CPU_ARCH": "x86_64",
            "MEM_MAX": "16000",
            "WEBSOCKET_API_VERSION": "1",
            "ISOTOVIDEO_INTERFACE_VERSION": "31",
        }
        worker.t_seen = float("inf")
        scripted = ScriptedWorker(self, worker, self.script)
        self.crew.append(scripted)
        self.scheduler.wake()
        return scripted

    def run_of(self, job: Job) -> Run:
        """The run of a job that is being executed; raises `LookupError`."""
        for scripted in self.crew:
            if scripted.run is not None and scripted.run.job is job:
                return scripted.run
        raise LookupError(f"job {job.id} does not run")

    def job_for(self, master_job: int) -> Job:
        """The newest job that runs a master's job; raises `LookupError`."""
        for job in reversed(self.db.jobs.values()):
            if job.settings.get("FEDERATED_REPORT", "").endswith(f"/tests/{master_job}"):
                return job
        raise LookupError(f"no job for {master_job}")

    def order(self, job: Job, command: str, options: Mapping[str, str]) -> None:
        """`open` lets a run go on, `finish` ends it with the module that runs; else as every instance."""
        if command == "open":
            self.run_of(job).open(options.get("place", "*"))
        elif command == "finish":
            self.run_of(job).hurry()
        elif command == "kill":
            self.run_of(job).stop("abort")
        else:
            super().order(job, command, options)


def _workers(text: str) -> tuple[str, int]:
    classes, _, count = text.rpartition(":")
    return classes, int(count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--workers", type=_workers, action="append", metavar="CLASSES:COUNT")
    parser.add_argument("--script", default="{}", help="what jobs without FAKE_SCRIPT do")

    def build(workers: list[tuple[str, int]] | None, **options: Any) -> FakeSlave:
        return FakeSlave(workers=None if workers is None else dict(workers), **options)

    main(build, parser)
