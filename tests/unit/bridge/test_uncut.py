"""What is under way goes on without whoever waited for it."""

from __future__ import annotations

import asyncio

import pytest

from pseudoworker.bridge.uncut import Uncut


async def test_the_result_and_the_error_come_to_whoever_waits() -> None:
    async def work(fail: bool) -> str:
        if fail:
            raise ValueError("no")
        return "done"

    uncut = Uncut()
    assert await uncut.run(work(fail=False)) == "done"
    with pytest.raises(ValueError, match="no"):
        await uncut.run(work(fail=True))
    await uncut.arrival()


async def test_it_goes_on_without_whoever_waited(caplog: pytest.LogCaptureFixture) -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        begun.set()
        await go_on.wait()
        ended.append("work")
        raise ValueError("nobody waits for it")

    uncut = Uncut()
    waiting = asyncio.create_task(uncut.run(work()))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    arrival = asyncio.create_task(uncut.arrival())
    await asyncio.sleep(0)
    assert not arrival.done()
    go_on.set()
    await arrival
    assert ended == ["work"]
    assert caplog.records == []


async def test_it_is_cut_off_when_that_is_asked_for() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    uncut = Uncut()
    waiting = asyncio.create_task(uncut.run(work()))
    await begun.wait()
    await uncut.cut_off()
    with pytest.raises(asyncio.CancelledError):
        await waiting
