"""What the fakes say is wrong, when it is: a judge that never objects would be worth nothing."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.fakes.compare import differences
from tests.fakes.invariants import violations
from tests.fakes.master import FakeMaster
from tests.fakes.model import Job
from tests.fakes.pair import until
from tests.fakes.slave import FakeSlave

SCRIPT = json.dumps({"modules": 1, "screens": 1, "texts": 1})


async def ran(slave: FakeSlave) -> Job:
    settings = {"TEST": "t", "FAKE_SCRIPT": SCRIPT, "FEDERATED_REPORT": "http://m/tests/1"}
    job = slave.db.jobs[slave.db.create(settings.items())["id"]]
    await until(lambda: job.state == "done" and job.finalized)
    return job


def change_module(job: Job) -> None:
    job.modules["boot"].result = "failed"


def change_flag(job: Job) -> None:
    job.modules["boot"].flags = frozenset()


def lose_text(job: Job) -> None:
    assert job.modules["boot"].details is not None
    del job.modules["boot"].details["details"][1]["text_data"]


def change_step(job: Job) -> None:
    assert job.modules["boot"].details is not None
    job.modules["boot"].details["details"][0]["result"] = "fail"


def lose_file(job: Job) -> None:
    del job.files["video.ogv"]


def lose_ulog(job: Job) -> None:
    job.ulogs.clear()


def add_file(job: Job) -> None:
    job.files["more.txt"] = b"more"


def lose_variables(job: Job) -> None:
    del job.files["vars.json"]


def leak_token(job: Job) -> None:
    job.files["autoinst-log.txt"] = b"token " + job.tokens[0].encode()


def lose_module(job: Job) -> None:
    job.modules.clear()


@pytest.mark.parametrize(
    "spoil",
    [
        change_module, change_flag, lose_text, change_step, lose_file, lose_ulog, add_file, lose_variables,
        leak_token, lose_module,
    ],
)  # fmt: skip
async def test_each_difference_is_seen(spoil: Callable[[Job], None]) -> None:
    async with FakeSlave() as slave, FakeSlave() as other:
        job, copy = await ran(slave), await ran(other)
        copy.files |= {"vars.json": b"{}", "autoinst-log.txt": job.files["autoinst-log.txt"]}
        assert differences(slave, job, other, copy) == []
        copy.tokens = job.tokens
        spoil(copy)
        assert differences(slave, job, other, copy)


async def test_a_missing_image_is_seen() -> None:
    async with FakeSlave() as slave, FakeSlave() as other:
        job, copy = await ran(slave), await ran(other)
        other.db.thumbs.clear()
        assert any("thumbs" in wrong for wrong in differences(slave, job, other, copy))


async def test_violations_are_named() -> None:
    async with FakeMaster() as master:
        job = master.post()
        assert violations(master) == []
        job.report.ends += [{}, {}]
        job.state = "done"
        job.files["../x"] = b""
        job.report.late.append("status")
        assert violations(master) == [
            "job 1: 2 set_done",
            "job 1: unsafe file name '../x'",
            "job 1: after its end came status",
        ]


async def test_two_jobs_for_one_are_seen() -> None:
    async with FakeSlave() as slave:
        for _ in range(2):
            slave.db.create({"TEST": "t", "FEDERATED_REPORT": "http://m/tests/1"}.items())
        assert violations(slave) == ["2 jobs for http://m/tests/1"]


async def test_a_step_without_its_picture_or_text_is_seen() -> None:
    async with FakeSlave() as slave:
        job = await ran(slave)
        job.report.ends.append({})
        slave.db.images.clear()
        assert job.modules["boot"].details is not None
        del job.modules["boot"].details["details"][1]["text_data"]
        assert violations(slave) == ["job 1: no image for boot-1.png", "job 1: no file boot-2.txt"]
