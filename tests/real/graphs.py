"""Graphs of jobs on one of the lab's instances: posted, steered, and watched in its database, which costs the
instance less than questions to its web UI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import psycopg
from psycopg.rows import dict_row

from examples.lab.api import OpenqaApi
from examples.lab.jobs import post
from examples.lab.layout import Instance

Rows = Mapping[str, Mapping[str, Any]]
KINDS = {1: "chained", 2: "parallel", 3: "directly chained"}
"""OpenQA::JobDependencies::Constants."""
LIMIT = 900.0
"""Seconds for a graph that competes with all others for the workers. What takes longer is a worker that died,
which openQA gives up after half an hour."""


@dataclass(frozen=True)
class Graph:
    """Jobs of an instance by their names in the graph."""

    instance: Instance
    ids: Mapping[str, int]

    @classmethod
    def post(cls, instance: Instance, variant: str, worker_class: str, **settings: object) -> Graph:
        """Post a variant of the lab's test. Its own limits are for a quiet machine, and here is much at
        once; nobody looks at videos."""
        own: dict[str, object] = {"WORKER_CLASS": worker_class, "TIMEOUT_SCALE": "4", "NOVIDEO": "1"}
        own |= settings
        return cls(instance, post(instance, variant, **own))

    def rows(self) -> Rows:
        """The jobs as they are now."""
        found = {row["id"]: row for row in self._select("SELECT * FROM jobs WHERE id = ANY(%s)")}
        return {name: found[job_id] for name, job_id in self.ids.items()}

    def wait(self, what: str, condition: Callable[[Rows], bool], limit: float = LIMIT) -> Rows:
        """Look again and again until the jobs are so."""
        end = time.monotonic() + limit
        while not condition(rows := self.rows()):
            now = {
                name: (row["id"], row["state"], row["result"], row["reason"]) for name, row in rows.items()
            }
            assert time.monotonic() < end, f"{what} on {self.instance.name}: not within {limit:g} s: {now}"
            time.sleep(1)
        return rows

    def running(self, module: str = "") -> Rows:
        """Wait until all jobs run; `module` may be a module that all are to run then, with the results of
        those before it known."""

        def run(rows: Rows) -> bool:
            assert not any(map(is_over, rows.values())), "some have ended before all run"
            if any(row["state"] != "running" for row in rows.values()):
                return False
            return not module or all(modules.get(module) == "running" for modules in self._reached().values())

        return self.wait(f"running jobs ({module or 'any module'})", run)

    def ended(self) -> Rows:
        """Wait until nothing more will happen to any of the jobs."""
        return self.wait("the end", lambda rows: all(map(is_over, rows.values())))

    def post_to(self, path: str) -> None:
        """A signed POST to the instance."""
        OpenqaApi(self.instance.url, self.instance.operator, timeout=120).post(path)

    def with_clones(self) -> Graph:
        """The jobs and what they were restarted as, which have a prime behind their names."""
        clones = {f"{name}'": row["clone_id"] for name, row in self.rows().items() if row["clone_id"]}
        return replace(self, ids={**self.ids, **clones})

    def edges(self) -> frozenset[tuple[str, str, str]]:
        """Parent, kind and child of each dependency; a job that is not of the graph is called `?`."""
        names = {job_id: name for name, job_id in self.ids.items()}
        found = self._select(
            "SELECT * FROM job_dependencies WHERE parent_job_id = ANY(%(ids)s) OR child_job_id = ANY(%(ids)s)"
        )
        return frozenset(
            (
                names.get(row["parent_job_id"], "?"),
                KINDS[row["dependency"]],
                names.get(row["child_job_id"], "?"),
            )
            for row in found
        )

    def shape(self) -> dict[str, Any]:
        """What an observer sees of the graph after its end: states, results, reasons, dependencies,
        modules."""
        modules = self._select("SELECT * FROM job_modules WHERE job_id = ANY(%s) ORDER BY id")
        jobs: dict[str, Any] = {
            name: {
                "state": row["state"],
                "result": row["result"],
                "reason": row["reason"],
                "restarted": row["clone_id"] is not None,
                "started": row["t_started"] is not None,
                "blocked": row["blocked_by_id"] is not None,
                "modules": [(one["name"], one["result"]) for one in modules if one["job_id"] == row["id"]],
            }
            for name, row in self.rows().items()
        }
        return {"jobs": jobs, "edges": self.edges()}

    def _reached(self) -> dict[int, dict[str, str]]:
        """Of each job the results of its modules by their names, up to the first that has none."""
        results: dict[int, dict[str, str]] = {job_id: {} for job_id in self.ids.values()}
        for row in self._select("SELECT * FROM job_modules WHERE job_id = ANY(%s) ORDER BY id"):
            results[row["job_id"]][row["name"]] = row["result"]
        return {
            job_id: dict(takewhile(lambda item: item[1] != "none", modules.items()))
            for job_id, modules in results.items()
        }

    def _select(self, sql: str) -> list[dict[str, Any]]:
        ids = list(self.ids.values())
        with psycopg.connect(self.instance.dsn, row_factory=dict_row) as database:
            return database.execute(sql, {"ids": ids} if "%(ids)s" in sql else (ids,)).fetchall()


def is_over(row: Mapping[str, Any]) -> bool:
    """Whether a job has ended for good: one that is cancelled is wound up by its worker, if it has one."""
    return bool(row["state"] == "done" or (row["state"] == "cancelled" and not row["assigned_worker_id"]))


def reported(slave: Instance, master_url: str, jobs: Iterable[int]) -> dict[int, list[int]]:
    """The slave jobs, oldest first, of each of these jobs of a master."""
    urls = {f"{master_url}/tests/{job_id}": job_id for job_id in jobs}
    found: dict[int, list[int]] = {job_id: [] for job_id in urls.values()}
    with psycopg.connect(slave.dsn) as database:
        for slave_job, url in database.execute(
            "SELECT job_id, value FROM job_settings WHERE key = 'FEDERATED_REPORT' AND value = ANY(%s)"
            " ORDER BY job_id",
            (list(urls),),
        ):
            found[urls[url]].append(slave_job)
    return found


def counterpart(graph: Graph, slave: Instance) -> Graph:
    """The slave's own graph for a graph of the master: of each job that has one, the first slave job."""
    found = reported(slave, graph.instance.url, graph.ids.values())
    return Graph(slave, {name: found[job_id][0] for name, job_id in graph.ids.items() if found[job_id]})
