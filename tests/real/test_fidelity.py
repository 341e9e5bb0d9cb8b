"""What a master holds of a job that ran on a slave: all that the slave holds, and nothing that would tell it
from a job of a stock worker."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from examples.lab.layout import Lab, current_lab
from tests.real.fidelity.compare import compare
from tests.real.fidelity.leaks import leaks
from tests.real.fidelity.scenarios import SCENARIOS, Runs
from tests.real.fidelity.shape import compare_shapes
from tests.real.live_bridge import Bridge, bridge

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

each = pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])


@pytest.fixture(scope="module")
def lab() -> Lab:
    return current_lab()


@pytest.fixture(scope="module")
def process(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    # A name of its own, so that jobs of a session that was killed are not taken up, and slots that are free
    # while somebody else uses the slave.
    location = f"fidelity-{secrets.token_hex(3)}"
    limits = "\n[limits]\nqueue_allowance = 8\n"
    directory = tmp_path_factory.mktemp("fidelity")
    with bridge(lab, directory, slots=4, location=location, toml=limits) as running:
        yield running


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, lab: Lab, process: Bridge) -> Iterator[Runs]:
    """All jobs that the tests of this session need, running at once."""
    pairs: dict[str, None] = {}
    natives: list[str] = []
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path and hasattr(item, "callspec"):
            name = str(item.callspec.params["name"])
            pairs[name] = None
            if item.function is test_a_federated_job_looks_like_one_of_a_stock_worker:
                natives.append(name)
    runs = Runs(lab, f":{process.location}:qemu_x86_64", pairs, natives)
    yield runs
    runs.close()


@each
def test_the_master_holds_what_the_slave_holds(name: str, runs: Runs) -> None:
    pair = runs.pair(name)
    points = compare(pair.slave, pair.master, stopped_on_master=name == "cancelled-on-master")
    print(f"\n{name}: {points}")
    assert not points.differences, str(points)


@each
def test_a_federated_job_looks_like_one_of_a_stock_worker(name: str, runs: Runs) -> None:
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    points = compare_shapes(
        runs.native(name),
        runs.pair(name).master,
        steady=scenario.steady,
        explained=scenario.cancel_on == "slave",
    )
    print(f"\n{name}: {points}")
    assert not points.differences, str(points)


def test_no_jobtoken_of_the_slave_is_on_the_master(lab: Lab, runs: Runs, process: Bridge) -> None:
    tokens = {pair.slave.token for pair in runs.pairs()} - {b""}
    found = leaks(lab.master, tokens, process.log)
    print(f"\n{len(tokens)} tokens looked for")
    assert not found
