"""The turns of the links of one process, on a loop whose time is the real one but short."""

from __future__ import annotations

import asyncio

from pseudoworker.master.turns import Turns

LIMIT = 10.0


async def test_turns_come_one_after_the_other() -> None:
    loop = asyncio.get_running_loop()
    turns = Turns(200, jitter=lambda: 0.5)
    began = loop.time()
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(turns.turn() for _ in range(21)))
    assert loop.time() - began >= 20 / 200 - 0.01


async def test_jitter_changes_the_distance_by_half_at_most() -> None:
    loop = asyncio.get_running_loop()
    for jitter, distance in ((0.0, 0.5), (1.0, 1.5)):
        turns = Turns(10, jitter=iter([jitter] * 2).__next__)
        began = loop.time()
        async with asyncio.timeout(LIMIT):
            await turns.turn()
            await turns.turn()
        assert loop.time() - began >= distance / 10 - 0.01


async def test_pauses_end_when_one_has_reached_the_master() -> None:
    turns = Turns(1000)
    pauses = [asyncio.ensure_future(turns.pause(3600)) for _ in range(3)]
    await asyncio.sleep(0)
    turns.reached()
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*pauses)


async def test_a_pause_ends_by_itself_and_reaching_the_master_in_peace_wakes_nobody() -> None:
    turns = Turns(1000)
    async with asyncio.timeout(LIMIT):
        await turns.pause(0.01)
        turns.reached()
        turns.reached()
    pause = asyncio.ensure_future(turns.pause(3600))
    done, _ = await asyncio.wait([pause], timeout=0.05)
    assert not done
    pause.cancel()
