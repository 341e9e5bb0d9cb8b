"""Many jobs of the master and a small slave: it gets no more of them than it can run, and all are done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from examples.lab.layout import Instance, Lab, current_lab
from tests.real.graphs import Graph, reported
from tests.real.live_bridge import bridge

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

LOCATION = "backpressure"
CLASS = "lab2"
"""A class that half of the lab's workers have."""
SLOTS = 8
JOBS = 20


class Queue:
    """What the slave has of our jobs of a class, looked at ten times a second."""

    def __init__(self, slave: Instance, worker_class: str) -> None:
        self.samples: list[tuple[int, int]] = []
        """How many were waiting for a worker, and how many had not ended, those included."""
        self._slave = slave
        self._class = worker_class
        self._stop = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _watch(self) -> None:
        with psycopg.connect(self._slave.dsn, autocommit=True) as database:
            while not self._stop.wait(0.1):
                row = database.execute(
                    "SELECT count(*) FILTER (WHERE state IN ('scheduled', 'assigned')), count(*) FROM jobs"
                    " WHERE state NOT IN ('done', 'cancelled')"
                    " AND id IN (SELECT job_id FROM job_settings WHERE key = 'WORKER_CLASS' AND value = %s)",
                    (self._class,),
                ).fetchone()
                assert row is not None
                self.samples.append((row[0], row[1]))


@pytest.fixture(scope="module")
def lab() -> Lab:
    return current_lab()


def test_the_slave_never_has_more_than_it_may(lab: Lab, tmp_path: Path) -> None:
    toml = f'\n[classes]\n":{LOCATION}:qemu_x86_64" = "{CLASS}"\n'
    workers = sum(CLASS in lab.slave.worker_class(number).split(",") for number in lab.slave.worker_numbers)
    assert workers == 2
    queue = Queue(lab.slave, CLASS)
    # a job that runs at all is worth a minute on a busy machine; most of these end while they are loaded
    variants = ["short"] * 2 + ["unloadable"] * (JOBS - 2)
    with bridge(lab, tmp_path, slots=SLOTS, location=LOCATION, toml=toml, free=workers):
        wanted = f":{LOCATION}:qemu_x86_64"
        ids = {
            f"{number} {variant}": Graph.post(lab.master, variant, wanted).ids[""]
            for number, variant in enumerate(variants)
        }
        with queue.watched():
            rows = Graph(lab.master, ids).ended()
    assert {name: row["result"] for name, row in rows.items()} == {
        name: "passed" if name.endswith("short") else "incomplete" for name in ids
    }
    assert all(len(jobs) == 1 for jobs in reported(lab.slave, lab.master.url, ids.values()).values())
    print(f"\n  {len(queue.samples)} samples (waiting, unfinished): {sorted(set(queue.samples))}")
    assert max(unfinished for _, unfinished in queue.samples) == workers
