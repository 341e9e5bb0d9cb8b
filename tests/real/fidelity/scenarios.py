"""How each variant of the lab's test is run for the fidelity check, by pseudoworker and by a stock worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from examples.lab.api import ApiError, OpenqaApi
from examples.lab.jobs import FINAL_STATES, post
from examples.lab.layout import Instance, Lab
from tests.real.fidelity.execution import Execution, is_settled, read_execution, slave_jobs

NATIVE = "native"
"""A worker class that only the master's own stock workers have."""


@dataclass(frozen=True)
class Scenario:
    """One way a job can go."""

    name: str
    variant: str
    settings: Mapping[str, str] = field(default_factory=dict)
    cancel_on: str = ""
    """`master` or `slave`: the side on which the job is cancelled while its second module runs."""
    steady: bool = True
    """Whether two runs take the same steps."""


SCENARIOS = (
    Scenario("steps", "steps", {"SCREENSHOTS": "140", "TEXTS": "60"}, steady=False),
    Scenario("plain", "plain"),
    Scenario("softfailed", "softfailed"),
    Scenario("failed", "failed"),
    Scenario("fatal", "fatal"),
    Scenario("unloadable", "unloadable"),
    Scenario("crash", "crash"),
    Scenario("timeout", "timeout", steady=False),
    Scenario("cancelled-on-slave", "long", {"DURATION": "120"}, cancel_on="slave", steady=False),
    Scenario("cancelled-on-master", "long", {"DURATION": "120"}, cancel_on="master", steady=False),
    Scenario("products", "assets"),
)
Result = TypeVar("Result")

LONGEST = 600.0
"""Seconds until a job is given up."""


@dataclass(frozen=True)
class Pair:
    """One execution, as both sides hold it."""

    slave: Execution
    master: Execution


class Runs:
    """Jobs of some scenarios, all posted at once; whoever wants one waits for it."""

    def __init__(self, lab: Lab, worker_class: str, names: Iterable[str], native: Iterable[str]) -> None:
        """`names` are scenarios for pseudoworker, which serves `worker_class`, `native` those for stock
        workers."""
        self._lab = lab
        self._threads = ThreadPoolExecutor(2 * len(SCENARIOS))
        known = {scenario.name: scenario for scenario in SCENARIOS}
        self._pairs = {name: self._start(self._federated, known[name], worker_class) for name in names}
        self._natives = {name: self._start(self._native, known[name], NATIVE) for name in native}

    def pair(self, name: str) -> Pair:
        """The scenario's job that pseudoworker ran."""
        return self._pairs[name].result()

    def pairs(self) -> list[Pair]:
        """All of them."""
        return [future.result() for future in self._pairs.values()]

    def native(self, name: str) -> Execution:
        """The scenario's job that a stock worker of the master ran."""
        return self._natives[name].result()

    def close(self) -> None:
        """Wait for what still runs."""
        self._threads.shutdown()

    def _start(
        self, run: Callable[[Scenario, int], Result], scenario: Scenario, worker_class: str
    ) -> Future[Result]:
        settings = {**scenario.settings, "WORKER_CLASS": worker_class}
        job_id = post(self._lab.master, scenario.variant, **settings)[""]
        return self._threads.submit(run, scenario, job_id)

    def _federated(self, scenario: Scenario, job_id: int) -> Pair:
        master, slave = self._lab.master, self._lab.slave
        url = f"{master.url}/tests/{job_id}"
        if scenario.cancel_on:
            _wait(f"the second module of job {job_id}", partial(_second_module_runs, master, job_id))
            if scenario.cancel_on == "slave":
                _cancel(slave, slave_jobs(slave, url)[-1])
            else:
                _cancel(master, job_id)
        _wait(f"the end of job {job_id}", lambda: is_settled(master, job_id))
        (slave_id,) = slave_jobs(slave, url)
        _wait(f"the end of slave job {slave_id}", lambda: is_settled(slave, slave_id))
        return Pair(read_execution(slave, slave_id), read_execution(master, job_id))

    def _native(self, scenario: Scenario, job_id: int) -> Execution:
        master = self._lab.master
        if scenario.cancel_on:
            _wait(f"the second module of job {job_id}", partial(_second_module_runs, master, job_id))
            _cancel(master, job_id)
        _wait(f"the end of job {job_id}", lambda: is_settled(master, job_id))
        return read_execution(master, job_id)


def _second_module_runs(instance: Instance, job_id: int) -> bool:
    try:
        (job,) = OpenqaApi(instance.url).get("jobs", ids=job_id)["jobs"]
    except ApiError:
        return False  # a web UI that is busy
    assert job["state"] not in FINAL_STATES, f"job {job_id} ended too early: {job['result']}"
    results = [module["result"] for module in job["modules"]]
    return results[1:2] == ["running"]


def _cancel(instance: Instance, job_id: int) -> None:
    OpenqaApi(instance.url, instance.operator).post(f"jobs/{job_id}/cancel")


def _wait(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {LONGEST:.0f} s")
        time.sleep(1)
