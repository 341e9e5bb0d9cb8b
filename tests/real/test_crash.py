"""On two real instances: killed at points spread over a job's life, and with both sides' daemons restarted
under it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from examples.lab.layout import Lab, current_lab
from tests.real.crashing import crash

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

AT_ONCE = 4
POINTS = (
    "before journal claim #1",
    "after journal claim #1",
    "after sending accepted #1",
    "before slave POST jobs #1",
    "after slave POST jobs #1",
    "after journal record running #1",
    "after master POST jobs/N/status #1",
    "after journal acknowledge module report #1",
    "after master POST jobs/N/artefact image #1",
    "amid master POST jobs/N/artefact #1",
    "before master POST jobs/N/set_done #1",
    "after master POST jobs/N/set_done #1",
)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return current_lab()


@pytest.fixture(scope="module")
def outcomes(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """All points, a few at a time."""
    directory = tmp_path_factory.mktemp("crash")

    def one(number: int, point: str) -> list[str]:
        try:
            return crash(lab, directory / f"{number:02d}", point)
        except AssertionError as error:
            return [str(error)]

    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield dict(zip(POINTS, threads.map(one, range(len(POINTS)), POINTS), strict=True))


@pytest.mark.parametrize("point", POINTS)
def test_a_kill(point: str, outcomes: dict[str, list[str]]) -> None:
    assert outcomes[point] == []
