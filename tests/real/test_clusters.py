"""Jobs that belong together: each graph once by stock workers of the master and once through pseudoworker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from examples.lab import current_lab, post, wait_until_done
from examples.lab.api import OpenqaApi
from examples.lab.layout import Lab
from tests.real.live_bridge import Bridge, bridge

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

LOCATION = "clusters"
NATIVE = "native"
KINDS = ("Chained", "Directly chained", "Parallel")


@pytest.fixture(scope="module")
def lab() -> Lab:
    return current_lab()


@pytest.fixture(scope="module")
def bridged(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    with bridge(lab, tmp_path_factory.mktemp("clusters"), slots=4, location=LOCATION) as running:
        yield running


def run(lab: Lab, variant: str, worker_class: str) -> Mapping[str, Any]:
    """Run a graph on the master; each job by its name in the graph."""
    ids = post(lab.master, variant, WORKER_CLASS=worker_class)
    jobs = wait_until_done(lab.master, ids.values(), 500)
    return {name: jobs[job_id] for name, job_id in ids.items()}


def shape(jobs: Mapping[str, Any]) -> dict[str, Any]:
    """What an observer sees of a graph: states, results, reasons, dependencies, modules."""
    names = {job["id"]: name for name, job in jobs.items()}
    return {
        name: {
            "state": job["state"],
            "result": job["result"],
            "reason": job.get("reason"),
            "clone": job["clone_id"] is not None,
            "modules": [(module["name"], module["result"]) for module in job["modules"]],
            **{
                side: {kind: sorted(names.get(other, "?") for other in job[side][kind]) for kind in KINDS}
                for side in ("parents", "children")
            },
        }
        for name, job in jobs.items()
    }


@pytest.mark.parametrize(
    "variant",
    [
        "pair",
        "quad",
        "pair-dies",
        "pair-fails",
        "direct",
        "direct-fails",
        "tree",
    ],
)
def test_a_graph_ends_as_with_local_workers(lab: Lab, bridged: Bridge, variant: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        native = pool.submit(run, lab, variant, NATIVE)
        federated = pool.submit(run, lab, variant, f":{LOCATION}:qemu_x86_64")
        assert shape(federated.result()) == shape(native.result())
    slave = OpenqaApi(lab.slave.url)
    ours = {f"{lab.master.url}/tests/{job['id']}" for job in federated.result().values()}
    jobs = slave.get("jobs", test=next(iter(federated.result().values()))["test"], limit=50)["jobs"]
    reports = [report for job in jobs if (report := job["settings"].get("FEDERATED_REPORT")) in ours]
    assert len(reports) == len(set(reports))
