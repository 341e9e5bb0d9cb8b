"""The real process between two fakes, over real sockets."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.pair import FakePair, pseudoworker


async def test_a_plain_job_comes_back_whole(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        job = pair.master.post(TEST="plain", WORKER_CLASS=":lab:qemu_x86_64", DISTRI="d", VERSION="1")
        async with pseudoworker(config):
            await pair.done(job)
        assert pair.differences(job) == []
        assert pair.violations() == []
