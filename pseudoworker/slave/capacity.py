"""How much the slave can run: its workers, and which jobs they could take."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import Garbage
from pseudoworker.openqa.retry import LOOK, READ, Policy
from pseudoworker.openqa.views import WorkerView, parse_workers

log = logging.getLogger(__name__)

_PAGE = 1000
"""Workers asked for at once; releases that page (from 2024 on) may answer fewer."""
_MOST_PAGES = 100


@dataclass(frozen=True)
class Capacity:
    """The workers that count at one moment: neither dead nor broken."""

    workers: tuple[WorkerView, ...]

    @classmethod
    def of(cls, workers: Sequence[WorkerView]) -> "Capacity":
        """Take those workers that could run a job, now or when their present job ends."""
        return cls(tuple(worker for worker in workers if worker.status in ("idle", "running")))

    def total(self, classes: Iterable[str]) -> int:
        """How many workers could run a job of these classes: all of its classes must be among the worker's
        own."""
        return len(self.serving(classes))

    def idle(self, classes: Iterable[str]) -> int:
        """How many of them have nothing to do."""
        return sum(1 for worker in self.serving(classes) if worker.status == "idle" and worker.job_id is None)

    def serving(self, classes: Iterable[str]) -> tuple[WorkerView, ...]:
        """The workers that have all of these classes (`Schema/Result/Workers.pm`, `check_class`)."""
        wanted = frozenset(classes)
        return tuple(worker for worker in self.workers if wanted <= worker.classes)


async def workers(client: Client, *, policy: Policy = READ) -> tuple[WorkerView, ...]:
    """Fetch all workers of an instance, dead and broken ones included.

    `GET /api/v1/workers` had no paging in 2023 and ignores `offset`; later releases cut at a limit that the
    administrator chose. So pages are asked for until one brings no worker that was not seen before.
    """
    known: dict[int, WorkerView] = {}
    for _ in range(_MOST_PAGES):
        params = [("limit", str(_PAGE))]
        if known:
            params.append(("offset", str(len(known))))
        answer = await client.get_json("/api/v1/workers", policy=policy, params=params)
        page = parse_workers(answer, url=client.url_of("/api/v1/workers"), broken=_ignore)
        new = {worker.id: worker for worker in page if worker.id not in known}
        known.update(new)
        if not new:
            return tuple(known.values())
    log.warning("%s lists more than %d pages of workers; the rest is not counted", client.url, _MOST_PAGES)
    return tuple(known.values())


def _ignore(worker_id: int | None, error: Garbage) -> None:
    log.debug("worker %s of the slave makes no sense and is not counted: %s", worker_id, error)


async def capacity(client: Client) -> Capacity:
    """Fetch the slave's workers and keep those that count. Raises OpenQAError soon when it does not
    answer."""
    return Capacity.of(await workers(client, policy=LOOK))
