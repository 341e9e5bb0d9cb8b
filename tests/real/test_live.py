"""The live view of a federated job, on real instances."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

from examples.lab.api import OpenqaApi
from examples.lab.layout import Lab, current_lab
from tests.real.live_bridge import Bridge, Viewer, bridge, wait_for
from tests.real.recorder import Recorder

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def lab() -> Lab:
    return current_lab()


@pytest.fixture(scope="module")
def slave_side(lab: Lab) -> Iterator[Recorder]:
    """Between the process and the slave."""
    with Recorder(lab.slave.base_port) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def process(lab: Lab, slave_side: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    with bridge(lab, tmp_path_factory.mktemp("live"), slave_url=slave_side.url) as running:
        yield running


@pytest.fixture(scope="module")
def jobs(process: Bridge) -> Iterator[tuple[int, int]]:
    """A long job on both sides, with no viewer yet."""
    master_job = process.post("long", DURATION=300)
    yield master_job, process.running(master_job)
    process.cancel(master_job)


def pool_directory(lab: Lab, slave_job: int) -> Path:
    """Where the slave's worker runs the job; it keeps a file `live_log` there while it is asked for live
    data."""
    api = OpenqaApi(lab.slave.url)
    worker = api.get(f"jobs/{slave_job}")["job"]["assigned_worker_id"]
    return lab.slave.pool_directory / str(api.get(f"workers/{worker}")["worker"]["instance"])


def percentiles(values: list[float]) -> str:
    return f"p50 {median(values):.2f} s, p95 {quantiles(values, n=20)[-1]:.2f} s, {len(values)} seen"


@pytest.mark.timeout(400)
def test_a_viewer_on_the_master_sees_what_the_slave_shows_within_two_seconds(
    lab: Lab, process: Bridge, jobs: tuple[int, int]
) -> None:
    master_job, slave_job = jobs
    seconds = 60
    with (
        Viewer(lab.slave, f"/tests/{slave_job}/livelog") as slave_log,
        Viewer(lab.slave, f"/tests/{slave_job}/streaming") as slave_screen,
        Viewer(lab.master, f"/tests/{master_job}/livelog") as master_log,
        Viewer(lab.master, f"/tests/{master_job}/liveterminal") as master_terminal,
        Viewer(lab.master, f"/tests/{master_job}/streaming") as master_screen,
    ):
        wait_for("a live log and screen", lambda: master_log.events and master_screen.events, 60)
        begin = time.monotonic()
        wait_for("a minute", lambda: time.monotonic() > begin + seconds, seconds + 10, every=1)
        end = time.monotonic() - 10
        shown = {line: when for line, when in slave_log.lines().items() if begin < when < end and line}
        arrived = master_log.lines()
        late = [arrived[line] - when for line, when in shown.items() if line in arrived]
        pictures = {picture: when for picture, when in slave_screen.pictures().items() if begin < when < end}
        seen = master_screen.pictures()
        screens = [seen[picture] - when for picture, when in pictures.items() if picture in seen]
        print(f"\nlog lines: {percentiles(late)}; screens: {percentiles(screens)} of {len(pictures)}")
        assert len(late) == len(shown), "a line that the slave showed never came"
        assert len(screens) >= len(pictures) / 2
        assert median(late) < 2
        assert median(screens) < 2
        assert master_terminal.text
    text, source = master_log.text, slave_log.text
    assert "[pseudoworker:" not in text.partition("\n")[2]
    common = text[text.index(source[:200]) :]
    assert common in source or source in common or source.startswith(common[: len(source)]), (
        "repeated or lost"
    )


@pytest.mark.timeout(200)
def test_the_last_viewer_closes_the_slaves_streams_within_five_seconds(
    lab: Lab, process: Bridge, slave_side: Recorder, jobs: tuple[int, int]
) -> None:
    master_job, slave_job = jobs
    streams = [f"/tests/{slave_job}/{route}" for route in ("livelog", "liveterminal", "streaming")]

    flag = pool_directory(lab, slave_job) / "live_log"
    wait_for("nobody to watch", lambda: not flag.exists(), 30)
    with Viewer(lab.master, f"/tests/{master_job}/streaming"):
        wait_for("the slave's worker at its fast pace", flag.exists, 30)
        with Viewer(lab.master, f"/tests/{master_job}/streaming") as second:
            wait_for("a second viewer's screen", lambda: second.events, 30)
        assert sorted(slave_side.streams) == streams
    left = time.monotonic()
    wait_for("the streams to be closed", lambda: not slave_side.streams, 30)
    closed = time.monotonic() - left
    wait_for("the slave's worker at its slow pace", lambda: not flag.exists(), 30)
    print(
        f"\nclosed {closed:.1f} s after the last viewer left, slow pace after {time.monotonic() - left:.1f} s"
    )
    assert closed < 5
    assert "Traceback" not in process.log.read_text()
