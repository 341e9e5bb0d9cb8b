"""Jobs that belong together: each graph once by stock workers of the master and once through pseudoworker.

All graphs are posted at once, so they compete for four workers on either side, and none may mix with another
or wait for ever."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from examples.lab.layout import Lab, current_lab
from tests.real.choice import chosen, long
from tests.real.crashing import LIMIT, Site
from tests.real.graphs import Graph, counterpart, reported
from tests.real.live_bridge import Bridge, bridge, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

LOCATION = "clusters"
NATIVE = "native"

Steer = Callable[[Graph, "Callable[[], Graph] | None"], Graph]
"""Does something to a running graph, or to its counterpart on the slave if it is federated, and says what is
to be compared."""


def untouched(graph: Graph, slave: Callable[[], Graph] | None) -> Graph:
    return graph


def cancelled_on_the_master(graph: Graph, slave: Callable[[], Graph] | None) -> Graph:
    graph.running("waiting")
    graph.post_to(f"jobs/{graph.ids['parent']}/cancel")
    return graph


def cancelled_on_the_slave(graph: Graph, slave: Callable[[], Graph] | None) -> Graph:
    graph.running("waiting")
    where = slave() if slave else graph
    where.post_to(f"jobs/{where.ids['parent']}/cancel")
    return graph


def cancelled_in_the_queue(graph: Graph, slave: Callable[[], Graph] | None) -> Graph:
    graph.wait("the first job", lambda rows: rows["first"]["state"] == "running")
    graph.post_to(f"jobs/{graph.ids['second']}/cancel")
    return graph


def restarted_on_the_master(graph: Graph, slave: Callable[[], Graph] | None) -> Graph:
    graph.running()
    graph.post_to(f"jobs/{graph.ids['parent']}/restart")
    return graph.with_clones()


def a_member_restarted_on_the_slave(graph: Graph, slave: Callable[[], Graph] | None) -> Graph:
    if slave:
        graph.running()
        where = slave()
        where.post_to(f"jobs/{where.ids['child']}/restart")
    return graph


def all_restarted_on_the_slave(graph: Graph, slave: Callable[[], Graph] | None) -> Graph:
    if slave:
        graph.running()
        where = slave()
        where.post_to(f"jobs/restart?{'&'.join(f'jobs={job_id}' for job_id in where.ids.values())}")
    return graph


@dataclass(frozen=True)
class Play:
    """A graph, and what is done to it while it runs."""

    name: str
    variant: str
    steer: Steer = untouched
    settings: Mapping[str, str] = field(default_factory=dict)
    like: str = ""
    """The play by whose native run this one is measured, if not by its own."""
    slave_runs: int = 1
    """How many slave jobs each of its jobs has in the end."""

    def run(self, lab: Lab, graph: Graph, *, federated: bool) -> Graph:
        """The graph after its end."""
        graph = self.steer(graph, partial(counterpart, graph, lab.slave) if federated else None)
        graph.ended()
        return graph


WAITING = {"WAIT": "3600"}
PLAYS = (
    Play("quad", "quad"),
    Play("cancelled-on-master", "pair-waits", cancelled_on_the_master, WAITING),
    Play("cancelled-on-slave", "pair-waits", cancelled_on_the_slave, WAITING, like="cancelled-on-master"),
    Play("direct-pair", "direct-pair"),
    Play("pair", "pair"),
    Play("member-restarted-on-slave", "pair", a_member_restarted_on_the_slave, like="pair", slave_runs=2),
    Play("pair-dies", "pair-dies"),
)
MORE = (
    Play("restarted-on-master", "pair", restarted_on_the_master),
    Play("late-pair", "late-pair"),
    Play("all-restarted-on-slave", "pair", all_restarted_on_the_slave, like="pair", slave_runs=2),
    Play("pair-fails", "pair-fails"),
    Play("tree", "tree"),
    Play("direct", "direct"),
    Play("direct-fails", "direct-fails"),
    Play("private", "private"),
    Play("cancelled-in-queue", "direct-fails", cancelled_in_the_queue),
    Play("chain-fails", "chain-fails"),
)
ALL = (*PLAYS, *MORE)
"""Clusters first: openQA hands one out when it finds workers for all of it."""
Runs = Mapping[str, Future[Graph]]


@pytest.fixture(scope="module")
def lab() -> Lab:
    return current_lab()


@pytest.fixture(scope="module")
def bridged(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    with bridge(lab, tmp_path_factory.mktemp("clusters"), slots=4, location=LOCATION) as running:
        yield running


@pytest.fixture(scope="module")
def runs(lab: Lab, bridged: Bridge, request: pytest.FixtureRequest) -> Iterator[tuple[Runs, Runs]]:
    """All plays that the chosen tests need, at once: by stock workers, and through pseudoworker."""
    wanted = chosen(request, "play", Play)
    measures = {play.like or play.name for play in wanted}
    native, federated = {}, {}
    with ThreadPoolExecutor(2 * len(ALL)) as pool:
        for play in ALL:
            if play.name in measures:
                graph = Graph.post(lab.master, play.variant, NATIVE, **play.settings)
                native[play.name] = pool.submit(play.run, lab, graph, federated=False)
            if play in wanted:
                ours = Graph.post(lab.master, play.variant, f":{LOCATION}:qemu_x86_64", **play.settings)
                federated[play.name] = pool.submit(play.run, lab, ours, federated=True)
        yield native, federated


@pytest.mark.parametrize("play", [*PLAYS, *long(MORE)], ids=lambda play: play.name)
def test_a_graph_ends_as_with_local_workers(lab: Lab, runs: tuple[Runs, Runs], play: Play) -> None:
    native, federated = runs[0][play.like or play.name].result(), runs[1][play.name].result()
    wanted, found = native.shape(), federated.shape()
    if play.steer is cancelled_on_the_slave:
        slave = counterpart(federated, lab.slave)
        reason = f"user_cancelled on the slave: {lab.slave.url}/tests/{slave.ids['parent']}"
        assert found["jobs"]["parent"].pop("reason") == reason
        assert wanted["jobs"]["parent"].pop("reason") is None
    assert found == wanted
    check_slave_jobs(lab, federated, play.slave_runs)


def check_slave_jobs(lab: Lab, graph: Graph, runs: int) -> None:
    """Each job was posted to the slave once, tied there as here; chained jobs are not tied, since each of
    them is posted when its parents have ended."""
    slave = counterpart(graph, lab.slave)
    tied = {edge for edge in graph.edges() if edge[1] != "chained" and {edge[0], edge[2]} <= slave.ids.keys()}
    assert {edge for edge in slave.edges() if "?" not in edge} == tied
    posted = reported(lab.slave, lab.master.url, graph.ids.values())
    started = {graph.ids[name] for name, row in graph.rows().items() if row["t_started"]}
    assert {
        job_id: len(slave_jobs) for job_id, slave_jobs in posted.items() if job_id in started
    } == dict.fromkeys(started, runs)


# What can not be complete:


def test_a_member_of_a_class_that_is_not_served_is_named(lab: Lab, tmp_path: Path) -> None:
    with bridge(lab, tmp_path, slots=2, location="clusters-class") as running:
        graph = Graph.post(
            lab.master, "pair", f":{running.location}:qemu_x86_64", **{"WORKER_CLASS:child": NATIVE}
        )
        rows = graph.ended()
    reason = (
        f"setup failure: cluster can not be complete: job {graph.ids['child']} can not run here: worker class"
        f" 'native' stands for no class of the slave; add it to [classes] in pseudoworker.toml"
    )
    assert {name: (row["result"], row["reason"]) for name, row in rows.items()} == {
        "parent": ("incomplete", reason),
        "child": ("parallel_failed", None),
    }
    assert posted_to_the_slave(lab, graph) == []


def test_a_cluster_for_which_there_are_too_few_slots_names_who_is_missing(lab: Lab, tmp_path: Path) -> None:
    """Two processes with one slot each: a master of 2023 spreads the cluster over both hosts, newer ones are
    asked not to (`parallel_one_host_only`)."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        bridge(lab, tmp_path / "one", location="clusters-few") as one,
        bridge(lab, tmp_path / "two", location="clusters-few", host="clusters-few-2"),
    ):
        graph = Graph.post(lab.master, "pair", f":{one.location}:qemu_x86_64")
        rows = graph.ended()
    assert {row["result"] for row in rows.values()} <= {"incomplete", "parallel_failed"}
    reasons = {name: row["reason"] for name, row in rows.items() if row["result"] == "incomplete"}
    assert reasons
    for name, reason in reasons.items():
        other = graph.ids["parent" if name == "child" else "child"]
        assert reason == (
            f"setup failure: cluster can not be complete: job {other} has no slot:"
            " the cluster needs 2, and this pseudoworker has 1"
        )
    assert posted_to_the_slave(lab, graph) == []


def posted_to_the_slave(lab: Lab, graph: Graph) -> list[int]:
    found = reported(lab.slave, lab.master.url, graph.ids.values())
    return [slave_job for slave_jobs in found.values() for slave_job in slave_jobs]


# Kills of the bridge:

POINTS = ("after slave POST jobs #1",)
MORE_POINTS = ("before slave POST jobs #1", "after master POST jobs/N/status #4")


@pytest.fixture(scope="module")
def kills(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Mapping[str, Future[list[str]]]]:
    """A kill at each point, side by side."""
    directory = tmp_path_factory.mktemp("kills")
    points = chosen(request, "point", str)
    with ThreadPoolExecutor(len(points)) as pool:
        yield {
            point: pool.submit(crash, lab, directory / str(number), point)
            for number, point in enumerate(points)
        }


@pytest.mark.parametrize("point", [*POINTS, *long(MORE_POINTS)])
def test_a_kill_of_the_bridge(kills: Mapping[str, Future[list[str]]], point: str) -> None:
    assert kills[point].result() == []


def crash(lab: Lab, directory: Path, point: str) -> list[str]:
    """The life of a pair with a kill at `point`; what went wrong."""
    directory.mkdir()
    site = Site.make(lab, directory, instances=(21, 22))
    graph = Graph.post(lab.master, "pair", f":{site.location}:qemu_x86_64")
    with site.running(point) as process:
        wait_for(f"the kill at {point}", lambda: process.poll() is not None, LIMIT)
        if process.poll() != -signal.SIGKILL:
            return [f"exit status {process.poll()} before {point}"]
    with site.running():
        graph.ended()
        problems = [
            f"{name}: {problem}" for name, job_id in graph.ids.items() for problem in site.problems(job_id)
        ]
    slave = counterpart(graph, lab.slave)
    return problems if slave.edges() == graph.edges() else [*problems, f"tied otherwise: {slave.edges()}"]
