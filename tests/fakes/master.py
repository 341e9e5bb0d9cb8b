"""A fake openQA as its workers see it. `python -m tests.fakes.master --port 21000` runs one on its own."""

from __future__ import annotations

from typing import Any

from tests.fakes.model import Job, Worker
from tests.fakes.program import main
from tests.fakes.server import FakeOpenQA


class FakeMaster(FakeOpenQA):
    """The instance that owns the jobs; whoever registers with it as a worker gets them."""

    def post(self, **settings: str) -> Job:
        """Create one job; `WORKER_CLASS` and `TEST` have defaults."""
        settings = {
            "TEST": "fake",
            "DISTRI": "fake",
            "VERSION": "1",
            "FLAVOR": "dvd",
            "ARCH": "x86_64",
        } | settings
        settings.setdefault("WORKER_CLASS", ":lab:qemu_x86_64")
        return self.db.jobs[self.db.create(settings.items())["id"]]

    def post_many(self, **parameters: str) -> dict[str, Job]:
        """Create jobs as `POST jobs` with suffixes does (pass `**{"TEST:a": …}`); the jobs by suffix."""
        parameters.setdefault("WORKER_CLASS", ":lab:qemu_x86_64")
        ids = self.db.create(parameters.items())["ids"]
        return {suffix: self.db.jobs[job_id] for suffix, job_id in ids.items()}

    def worker(self, instance: int) -> Worker:
        """The registered worker of that instance number; raises `LookupError`."""
        for worker in self.db.workers.values():
            if worker.instance == instance:
                return worker
        raise LookupError(f"no worker {instance} has registered")


if __name__ == "__main__":

    def build(**options: Any) -> FakeMaster:
        return FakeMaster(**options)

    main(build)
