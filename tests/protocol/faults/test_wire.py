"""Whole jobs over a bad network and past failing servers: all of them end right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.faultproxy import FaultProxy
from tests.fakes.faults import Action
from tests.fakes.model import Job
from tests.fakes.pair import FakePair, pseudoworker, until
from tests.fakes.websocket import _ONE_ONLY, Connection

SCRIPT = json.dumps({"modules": 2, "screens": 1, "assets": {"disk.qcow2": {"size": 30_000}}})
HOLD = json.dumps({"hold": ["login"]})
FAST = "\n[limits]\npoll_interval = 0.2\n"
LIMIT = 90.0

MASTER_KINDS = ("register", "ws", "workers", "status", "file", "image", "thumb", "ulog", "chunk", "set_done")
SLAVE_KINDS = (
    "jobs",
    "job",
    "create",
    "workers",
    "details",
    "get_file",
    "get_image",
    "get_thumb",
    "src",
    "job_settings",
)


@dataclass
class Link:
    """One side behind a proxy."""

    pair: FakePair
    proxy: FaultProxy
    config: Path


@asynccontextmanager
async def behind_a_proxy(side: str, directory: Path) -> AsyncIterator[Link]:
    async with FakePair() as pair:
        server = pair.master if side == "master" else pair.slave
        async with FaultProxy(server.port, count=3) as proxy:
            server.public_port = proxy.port
            urls = {f"{side}_url": proxy.url}
            config = pair.write_config(directory, instances=2, toml=FAST, **urls)
            yield Link(pair, proxy, config)


async def whole_job(link: Link, job: Job) -> None:
    await link.pair.done(job, limit=LIMIT)
    judge(link.pair, job)


def judge(pair: FakePair, job: Job) -> None:
    assert (job.result, job.reason) == ("passed", None)
    assert pair.differences(job) == []
    assert pair.violations() == []
    assert len([one for one in pair.slave.db.jobs.values() if "FEDERATED_REPORT" in one.settings]) == 1


def slow(proxy: FaultProxy) -> None:
    proxy.shape(0.15, None)


def narrow(proxy: FaultProxy) -> None:
    proxy.shape(0.0, 60_000)


def torn(proxy: FaultProxy) -> None:
    for size in (50, 700, 1500, 3000, 9000):
        proxy.cut_after(size, "down", times=2)
        proxy.cut_after(size, "up", times=2)


def half_closed(proxy: FaultProxy) -> None:
    for size in (100, 2000):
        proxy.half_close_after(size, "down", times=2)
        proxy.half_close_after(size, "up", times=2)


@pytest.mark.parametrize("side", ["master", "slave"])
@pytest.mark.parametrize("fault", [slow, narrow, torn, half_closed])
async def test_a_bad_line(tmp_path: Path, side: str, fault: Callable[[FaultProxy], None]) -> None:
    async with behind_a_proxy(side, tmp_path) as link:
        fault(link.proxy)
        job = link.pair.master.post(TEST="plain", FAKE_SCRIPT=SCRIPT)
        async with pseudoworker(link.config, "run", "--instance", "1-2"):
            await whole_job(link, job)


@pytest.mark.parametrize("side", ["master", "slave"])
@pytest.mark.parametrize("how", ["refused", "reset", "black hole", "frozen"])
async def test_an_outage_while_the_job_runs(tmp_path: Path, side: str, how: str) -> None:
    """It costs no more than a delay, and all that the slave did meanwhile is there in the end."""
    async with behind_a_proxy(side, tmp_path) as link:
        job = link.pair.master.post(TEST="plain", FAKE_SCRIPT=HOLD)
        async with pseudoworker(link.config, "run", "--instance", "1-2"):
            await until(lambda: job.state == "running", LIMIT, lambda: link.pair.story(job))
            slave_job = link.pair.slave.job_for(job.id)
            if how == "refused":
                await link.proxy.deafen()
            elif how == "frozen":
                link.proxy.freeze()
            else:
                link.proxy.mode = "reset" if how == "reset" else "blackhole"
                link.proxy.break_all()
            link.pair.slave.run_of(slave_job).open("*")
            await until(lambda: slave_job.state == "done", LIMIT)
            await asyncio.sleep(3)  # the outage is to last for some tries
            assert job.state != "done"
            if how == "refused":
                await link.proxy.listen()
            link.proxy.mode = "pass"
            link.proxy.thaw()
            if how == "black hole":
                link.proxy.break_all()
            await whole_job(link, job)


@pytest.mark.parametrize("retry_after", [None, "1"])
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_every_request_meets_a_server_that_fails_once(
    tmp_path: Path, status: int, retry_after: str | None
) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)
        for server, kinds in ((pair.master, MASTER_KINDS), (pair.slave, SLAVE_KINDS)):
            for kind in kinds:
                server.traffic.add(kind, "status", status=status, retry_after=retry_after)
        job = pair.master.post(TEST="plain", FAKE_SCRIPT=SCRIPT)
        async with pseudoworker(config, "run", "--instance", "1"):
            await pair.done(job, limit=LIMIT)
        judge(pair, job)
        met = {fault.kind for fault in pair.master.traffic.faults if fault.struck}
        assert met == set(MASTER_KINDS)
        met = {fault.kind for fault in pair.slave.traffic.faults if fault.struck}
        assert met >= set(SLAVE_KINDS) - {"job_settings", "src"}


@pytest.mark.parametrize("action", ["lost", "drop", "half"])
async def test_every_answer_is_lost_once(tmp_path: Path, action: Action) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)
        for server, kinds in ((pair.master, MASTER_KINDS), (pair.slave, SLAVE_KINDS)):
            for kind in kinds:
                if kind not in ("ws", "chunk"):
                    server.traffic.add(kind, action)
        job = pair.master.post(TEST="plain", FAKE_SCRIPT=SCRIPT)
        async with pseudoworker(config, "run", "--instance", "1"):
            await pair.done(job, limit=LIMIT)
        judge(pair, job)


@pytest.mark.parametrize("code", [1001, 1006, 1008, 1011])
async def test_a_websocket_that_is_closed(tmp_path: Path, code: int) -> None:
    """The slot comes back with its job, and the job never notices."""
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)
        job = pair.master.post(TEST="plain", FAKE_SCRIPT=HOLD)
        async with pseudoworker(config, "run", "--instance", "1"):
            await until(lambda: job.state == "running", LIMIT, lambda: pair.story(job))
            worker = pair.master.worker(1)
            before = worker.channel
            await pair.master.workers.close(worker, code)
            await until(
                lambda: worker.channel is not None and worker.channel is not before,
                LIMIT,
                lambda: pair.story(job),
            )
            pair.slave.run_of(pair.slave.job_for(job.id)).open("*")
            await pair.done(job, limit=LIMIT)
        judge(pair, job)
        assert job.assigned is worker


async def test_another_owner_of_our_name_is_not_fought(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)
        async with pseudoworker(config, "run", "--instance", "1"):
            await until(lambda: bool(pair.master.db.workers), LIMIT)
            worker = pair.master.worker(1)
            await until(lambda: isinstance(worker.channel, Connection), LIMIT)
            assert isinstance(worker.channel, Connection)
            registrations = worker.registrations
            await worker.channel.close(1008, _ONE_ONLY)
            log = tmp_path / "pseudoworker.log"
            await until(lambda: "another worker uses the same host name" in log.read_text(), LIMIT)
            await asyncio.sleep(5)  # longer than any pause but this one
            assert worker.registrations == registrations
        (line,) = [line for line in log.read_text().splitlines() if "another worker" in line]
        assert "[error]" in line
        assert "Trying again in 300 s" in line


@pytest.mark.parametrize("kind", ["jobs", "workers", "get_image", "get_file", "job"])
async def test_redirects_in_a_circle_on_the_slave(tmp_path: Path, kind: str) -> None:
    """The job ends, with what happened in its reason where something is missing; the next one passes."""
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)
        pair.slave.traffic.add(kind, "redirect", times=20, nth=3)
        job = pair.master.post(TEST="plain", FAKE_SCRIPT=SCRIPT)
        async with pseudoworker(config, "run", "--instance", "1"):
            await pair.done(job, limit=LIMIT)
            assert job.result in ("passed", "incomplete"), job.reason
            assert (job.result == "passed") == (job.reason is None), job.reason
            pair.slave.traffic.clear()
            later = pair.master.post(TEST="later", FAKE_SCRIPT=SCRIPT)
            await pair.done(later, limit=LIMIT)
        assert later.result == "passed"
        assert pair.differences(later) == []
