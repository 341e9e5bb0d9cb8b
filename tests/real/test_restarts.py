"""The daemons of both instances are restarted under a running job, in a lab that nobody else uses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.lab.layout import Lab, current_lab
from tests.real.crashing import Site
from tests.real.fidelity.execution import slave_jobs
from tests.real.live_bridge import ROOT, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

PLACE = {
    "LAB_DIR": "/var/tmp/openqa-lab-restarts",
    "LAB_MASTER_PORT": "17000",
    "LAB_SLAVE_PORT": "18000",
    "LAB_SLAVE_WORKERS": "1",
    "LAB_NATIVE_WORKERS": "1",
    "LAB_SLAVE_FIRST_WORKER": "51",
    "LAB_NATIVE_FIRST_WORKER": "71",
}
RESTARTS = (
    ("master", "websockets"),
    ("master", "webui"),
    ("slave", "webui"),
    ("slave", "postgres"),
    ("master", "postgres"),
)


def lab_command(*arguments: str) -> None:
    subprocess.run(
        [str(ROOT / "examples" / "lab" / "lab"), *arguments],
        check=True,
        env={**os.environ, **PLACE},
        timeout=300,
    )


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab_command("up")
    try:
        yield current_lab({**os.environ, **PLACE})
    finally:
        lab_command("down")


def test_a_job_outlives_its_servers(lab: Lab, tmp_path: Path) -> None:
    site = Site.make(lab, tmp_path)
    job_id = site.post("long", DURATION="60")
    with site.running() as process:
        wait_for("a running job", lambda: site.job(job_id)["state"] == "running", 180)
        worker = site.job(job_id)["assigned_worker_id"]
        for instance, daemon in RESTARTS:
            lab_command("restart", instance, daemon)
            assert process.poll() is None
        for instance in ("slave", "master"):
            lab_command("restart", instance, "gru")  # openQA's own hangs after its database was away
        wait_for("the end of the job", lambda: site.job(job_id)["state"] == "done", 300)
        assert site.problems(job_id) == []
        assert site.job(job_id)["assigned_worker_id"] == worker
        assert len(slave_jobs(lab.slave, f"{lab.master.url}/tests/{job_id}")) == 1
