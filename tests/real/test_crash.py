"""On two real instances: killed at points spread over a job's life."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from examples.lab.layout import Lab, current_lab
from tests.real.choice import chosen, long
from tests.real.crashing import crash

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

AT_ONCE = 4
POINTS = (
    "before journal claim #1",
    "after slave POST jobs #1",
    "amid master POST jobs/N/artefact #1",
    "before master POST jobs/N/set_done #1",
)
MORE = (
    "after journal claim #1",
    "after sending accepted #1",
    "before slave POST jobs #1",
    "after journal record running #1",
    "after master POST jobs/N/status #1",
    "after journal acknowledge module report #1",
    "after master POST jobs/N/artefact image #1",
    "after master POST jobs/N/set_done #1",
)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return current_lab()


@pytest.fixture(scope="module")
def lives(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[list[str]]]]:
    """What will have come of each point that the chosen tests need; a few of them are lived at a time."""
    directory = tmp_path_factory.mktemp("crash")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield {
            point: threads.submit(crash, lab, directory / f"{number:02d}", point)
            for number, point in enumerate(chosen(request, "point", str))
        }
        threads.shutdown(cancel_futures=True)


@pytest.mark.parametrize("point", [*POINTS, *long(MORE)])
def test_a_kill(point: str, lives: dict[str, Future[list[str]]]) -> None:
    assert lives[point].result() == []
