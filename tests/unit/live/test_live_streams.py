"""One stream: what floods, ends, fails and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pseudoworker.bridge.live_streams import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    REFUSED_PAUSE,
    ScreenStream,
    TextStream,
    keep_open,
)
from pseudoworker.bridge.snippets import SNIPPET
from pseudoworker.openqa.errors import OpenQAError, Unreachable
from pseudoworker.slave.live import TextRoute


class Scripted:
    """A source that has everything at once."""

    def __init__(self, *events: str) -> None:
        self.events = events

    async def read_text(
        self, job_id: int, route: TextRoute, opened: Callable[[], None], text: Callable[[str], None]
    ) -> None:
        opened()
        for event in self.events:
            text(event)

    async def read_screen(
        self, job_id: int, opened: Callable[[], None], screen: Callable[[str], None]
    ) -> None:
        opened()
        for event in self.events:
            screen(event)


def ignore() -> None:
    return None


async def test_a_flood_is_bounded_and_says_so() -> None:
    stream = TextStream("livelog", "the live log", ignore)
    await stream.read(Scripted(*(f"{number:09} {990 * 'x'}\n" for number in range(50_000))), 7, ignore)
    log, sizes = "", list[int]()
    while (snippet := stream.take()) is not None:
        log += str(snippet["data"])
        sizes.append(len(str(snippet["data"])))
    assert log.startswith("[pseudoworker: ")
    assert log.partition("\n")[0].endswith("bytes of the live log skipped, more came than is relayed]")
    assert log.endswith(f"{49_999:09} {990 * 'x'}\n")
    assert max(sizes) <= SNIPPET
    assert sum(sizes) <= 2 * SNIPPET + 100


async def test_a_replay_that_brings_nothing_new_is_settled_by_quiet() -> None:
    stream = TextStream("livelog", "the live log", ignore)
    woken = asyncio.Event()
    stream = TextStream("livelog", "the live log", woken.set)
    await stream.read(Scripted("one\ntwo\n"), 7, ignore)
    stream.take()

    class Reopened(Scripted):
        async def read_text(
            self, job_id: int, route: TextRoute, opened: Callable[[], None], text: Callable[[str], None]
        ) -> None:
            opened()
            text("two\n")  # less than was known: only the quiet afterwards shows that no more of it comes
            text("x\n")
            await asyncio.Event().wait()

    woken.clear()
    task = asyncio.create_task(stream.read(Reopened(), 7, ignore))
    async with asyncio.timeout(10):
        await woken.wait()
    assert stream.take() == {"offset": 8, "data": "x\n"}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_only_the_newest_picture_is_sent() -> None:
    wakes: list[None] = []
    stream = ScreenStream(lambda: wakes.append(None))
    await stream.read(Scripted("a", "a", "b"), 7, ignore)
    assert len(wakes) == 2
    first = stream.take()
    assert first is not None
    assert first["png"] == "b"
    assert stream.take() is None
    stream.put_back()
    assert stream.take() is None, "nothing was under way"
    await stream.read(Scripted("b", "c"), 7, ignore)
    second = stream.take()
    stream.put_back()
    third = stream.take()
    assert second is not None
    assert third is not None
    assert second["png"] == third["png"] == "c"
    assert len({str(picture["name"]) for picture in (first, second, third)}) == 3


async def pauses_of(reads: list[Exception | None], *, refused: bool = False) -> list[float]:
    pauses: list[float] = []
    failures: list[int] = []

    async def read() -> None:
        outcome = reads.pop(0)
        if outcome is not None:
            raise outcome

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if not reads:
            raise asyncio.CancelledError

    def failed(error: OpenQAError, count: int) -> bool:
        failures.append(count)
        return refused

    task = asyncio.create_task(keep_open(read, failed=failed, sleep=sleep))
    await asyncio.gather(task, return_exceptions=True)
    assert failures == sorted(failures)
    return pauses


async def test_pauses_grow_to_a_limit() -> None:
    error = Unreachable("gone")
    pauses = await pauses_of([error] * 8)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


async def test_what_the_slave_does_not_have_is_asked_for_seldom() -> None:
    assert await pauses_of([Unreachable("gone")], refused=True) == [REFUSED_PAUSE]


async def test_streams_that_end_at_once_are_not_opened_in_a_hurry() -> None:
    assert sum(await pauses_of([None] * 8)) > 60
