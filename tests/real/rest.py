"""Whether the lab is at rest: no job that has not ended, and every stock worker ready for one.

A job that is left behind, or a worker that has died of one, takes a part of the lab from all later tests,
which then fail far from the cause."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg

from examples.lab.api import OpenqaApi
from examples.lab.control import Control
from examples.lab.jobs import FINAL_STATES
from examples.lab.layout import Instance, Lab

PATIENCE = 240.0
"""Seconds for what ended last: a worker winds a cancelled job up for half a minute, and one that finds its
QEMU still running then looks again after 100 s."""
LOG_LINES = 40


@dataclass(frozen=True)
class Unrest:
    """What keeps the lab from being at rest."""

    jobs: tuple[tuple[Instance, int, str], ...]
    """Jobs that have not ended: where, their ids, and what is known of each."""
    workers: tuple[tuple[str, str], ...]
    """Daemons of workers that are not idle, and what is known of each."""

    def __bool__(self) -> bool:
        return bool(self.jobs or self.workers)

    def __str__(self) -> str:
        jobs = [f"job {job_id} of {instance.name} {state}" for instance, job_id, state in self.jobs]
        return ", ".join(jobs + [f"{name} {state}" for name, state in self.workers])

    @classmethod
    def of(cls, lab: Lab) -> Unrest:
        """Look at both instances once."""
        jobs = tuple((instance, *job) for instance in lab for job in _unfinished(instance))
        lines = [line for line in Control(lab).status() if "-worker-" in line.name]
        return cls(jobs, tuple((line.name, line.state) for line in lines if line.state != "idle"))


def _unfinished(instance: Instance) -> list[tuple[int, str]]:
    with psycopg.connect(instance.dsn) as database:
        rows = database.execute(
            "SELECT id, state, test, assigned_worker_id FROM jobs WHERE state <> ALL(%s) ORDER BY id",
            (list(FINAL_STATES),),
        ).fetchall()
    return [(job_id, f"({test}) {state}, worker {worker}") for job_id, state, test, worker in rows]


def unrest(lab: Lab) -> Unrest:
    """Wait until the lab is at rest, `PATIENCE` at most; what it lacks for that then."""
    end = time.monotonic() + PATIENCE
    while (found := Unrest.of(lab)) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def settle(lab: Lab, found: Unrest) -> str:
    """Cancel such jobs and start such workers anew; the ends of the workers' logs, for the report."""
    for instance, job_id, _ in found.jobs:
        OpenqaApi(instance.url, instance.operator).post(f"jobs/{job_id}/cancel")
    names = [name for name, _ in found.workers]
    logs = [f"--- {name}\n{_log_end(lab, name)}" for name in names]
    control = Control(lab)
    control.stop(names)
    control.start(names)
    return "\n".join(logs)


def _log_end(lab: Lab, name: str) -> str:
    instance, daemon = name.split("-", 1)
    log = lab.instance(instance).log_directory / f"{daemon}.log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
