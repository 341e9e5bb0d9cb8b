"""The live view of a job, from a slave's live routes to what the master is posted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pseudoworker.bridge.live import LiveRelay
from pseudoworker.bridge.watched import WatchedJobs
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.transport import tls_context
from pseudoworker.slave.live import LiveSource
from tests.protocol.live.streams import Handler, LiveServer, Viewer, live_server, png

LOG, TERMINAL, SCREEN = "/tests/7/livelog", "/tests/7/liveterminal", "/tests/7/streaming"
ALL = [LOG, TERMINAL, SCREEN]


async def quick_sleep(_: float) -> None:
    """Pauses are what other tests are for."""
    await asyncio.sleep(0.01)


@dataclass
class Master:
    """Posts what the relay has, as the driver of a job does, and keeps it."""

    relay: LiveRelay
    woken: asyncio.Event
    notes: list[str]
    texts: dict[str, str] = field(default_factory=dict)
    screens: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def post(self) -> None:
        for name, value in self.relay.take().items():
            assert isinstance(value, dict)
            if name == "screen":
                self.screens.append(str(value["png"]))
                self.names.append(str(value["name"]))
            else:
                so_far = self.texts.get(name, "")
                assert value["offset"] == len(so_far)
                self.texts[name] = so_far + str(value["data"])

    async def until(self, condition: Callable[[], bool], limit: float = 15.0) -> None:
        """Post whenever something is new, until what was posted fulfils a condition."""
        async with asyncio.timeout(limit):
            self.post()
            while not condition():
                self.woken.clear()
                await self.woken.wait()
                self.post()

    @property
    def log(self) -> str:
        return self.texts.get("log", "")


def make(
    live: LiveServer, watched: WatchedJobs | None = None, slave_job: int | None = 7, port_delta: int = 0
) -> Master:
    woken, notes = asyncio.Event(), list[str]()
    relay = LiveRelay(
        LiveSource(live.url, tls=tls_context(None), port_delta=port_delta),
        watched if watched is not None else WatchedJobs(),
        wake=woken.set,
        note=notes.append,
        log=logging.getLogger("test"),
        sleep=quick_sleep,
    )
    relay.follow(slave_job)
    return Master(relay, woken, notes)


@asynccontextmanager
async def relayed(routes: dict[str, Handler]) -> AsyncIterator[tuple[LiveServer, Master]]:
    async with live_server(routes) as live:
        master = make(live)
        try:
            yield live, master
        finally:
            await master.relay.close()


def says(*lines: str) -> Handler:
    async def text(viewer: Viewer) -> None:
        await viewer.head()
        await viewer.text(*lines)
        await viewer.wait()

    return text


async def shows(viewer: Viewer) -> None:
    await viewer.head()
    for number in range(3):
        await viewer.screen(number)
    await viewer.wait()


HEALTHY: dict[str, Handler] = {LOG: says("log\n"), TERMINAL: says("# ls\n"), SCREEN: shows}


async def test_a_viewer_is_shown_log_terminal_and_screen() -> None:
    async with relayed(HEALTHY) as (_, master):
        master.relay.viewers(+1)
        assert master.relay.watched
        await master.until(lambda: len(master.texts) == 2 and png(2) in master.screens)
        assert master.texts == {"log": "log\n", "serial_terminal": "# ls\n"}
        assert not master.notes


async def test_nobody_watches_nothing_is_asked_for() -> None:
    async with relayed(HEALTHY) as (live, master):
        assert not master.relay.watched
        master.relay.viewers(-1)
        assert not master.relay.watched
        assert master.relay.take() == {}
        assert live.seen == []
        master.relay.viewers(+1)
        assert master.relay.watched, "a viewer who never came cannot leave"


async def test_the_last_viewer_closes_the_streams_within_five_seconds() -> None:
    async with relayed(HEALTHY) as (live, master):
        master.relay.viewers(+1)
        master.relay.viewers(+1)
        await live.until(lambda: sorted(live.open) == sorted(ALL))
        master.relay.viewers(-1)
        await master.until(lambda: len(master.texts) == 2)
        assert sorted(live.open) == sorted(ALL)
        left = time.monotonic()
        master.relay.viewers(-1)
        assert not master.relay.watched
        await live.until(lambda: not live.open, limit=5)
        assert time.monotonic() - left < 1
        assert len(live.seen) == 3
        assert master.relay.take() == {}


async def test_a_second_viewing_goes_on_where_the_first_ended() -> None:
    async with relayed(HEALTHY) as (live, master):
        master.relay.viewers(+1)
        await master.until(lambda: master.log == "log\n")
        master.relay.viewers(-1)
        await live.until(lambda: not live.open)
        live.routes[LOG] = says("log\n", "more\n")
        master.relay.viewers(+1)
        await master.until(lambda: "more" in master.log)
        assert master.log == "log\nmore\n"


async def test_a_dropped_stream_goes_on_where_it_was() -> None:
    lines = [f"line {number}\n" for number in range(40)]
    connections = 0

    async def log(viewer: Viewer) -> None:
        nonlocal connections
        connections += 1
        await viewer.head()
        await viewer.text(*lines[: 10 * connections])  # then the connection is closed, until all is told
        if connections >= 4:
            await viewer.wait()

    async with relayed({**HEALTHY, LOG: log}) as (_, master):
        master.relay.viewers(+1)
        await master.until(lambda: lines[-1] in master.log)
        assert master.log == "".join(lines)


async def test_a_gap_that_could_not_be_avoided_is_told() -> None:
    connections = 0

    async def log(viewer: Viewer) -> None:
        nonlocal connections
        connections += 1
        await viewer.head()
        await viewer.text(*(f"connection {connections}, line {number}\n" for number in range(500)))
        if connections > 1:
            await viewer.wait()

    async with relayed({**HEALTHY, LOG: log}) as (_, master):
        master.relay.viewers(+1)
        await master.until(lambda: "connection 2, line 499\n" in master.log)
        first, notice, second = master.log.partition(
            "[pseudoworker: a part of the live log is missing here]\n"
        )
        assert first.endswith("connection 1, line 499\n")
        assert notice
        assert second.startswith("connection 2, line 0\n")


async def test_garbage_costs_one_stream_a_moment_and_the_others_nothing() -> None:
    connections = 0

    async def log(viewer: Viewer) -> None:
        nonlocal connections
        connections += 1
        await viewer.head()
        await viewer.text("one\n")
        if connections == 1:
            await viewer.send("data: <html>oops</html>\n\n")
        elif connections == 2:
            await viewer.send("data: [" + 5_000_000 * "x")
        else:
            await viewer.text("two\n")
        await viewer.wait()

    async with relayed({**HEALTHY, LOG: log}) as (live, master):
        master.relay.viewers(+1)
        await master.until(lambda: "two" in master.log)
        assert master.log == "one\ntwo\n"
        assert live.seen.count(SCREEN) == live.seen.count(TERMINAL) == 1


async def test_a_post_that_failed_is_made_up_for() -> None:
    async with relayed(HEALTHY) as (_, master):
        master.relay.viewers(+1)
        taken: dict[str, Json] = {}
        async with asyncio.timeout(10):
            while len(taken) < 3:
                master.woken.clear()
                taken |= master.relay.take()
                master.relay.put_back()
                if len(taken) < 3:
                    await master.woken.wait()
        await master.until(lambda: len(master.texts) == 2 and png(2) in master.screens)
        assert master.texts == {"log": "log\n", "serial_terminal": "# ls\n"}
        master.relay.put_back()
        assert master.relay.take().keys() <= {"log", "serial_terminal", "screen"}


async def test_a_picture_seen_before_the_stream_was_reopened_is_not_sent_again() -> None:
    connections = 0

    async def screen(viewer: Viewer) -> None:
        nonlocal connections
        connections += 1
        await viewer.head()
        await viewer.screen(1)
        if connections > 2:
            await viewer.screen(2)
            await viewer.wait()

    async with relayed({**HEALTHY, SCREEN: screen}) as (_, master):
        master.relay.viewers(+1)
        await master.until(lambda: png(2) in master.screens)
        assert master.screens in ([png(1), png(2)], [png(2)])
        assert len(set(master.names)) == len(master.names)


async def test_a_job_without_a_worker_is_waited_for_without_a_word() -> None:
    async with relayed({}) as (live, master):
        master.relay.viewers(+1)
        await live.until(lambda: min(live.seen.count(path) for path in ALL) >= 5)
        live.routes = HEALTHY
        await master.until(lambda: bool(master.texts and master.screens))
        assert not master.notes


@pytest.mark.parametrize("status", [403, 302, 404])
async def test_a_slave_without_a_live_screen_loses_only_that_and_says_so_once(status: int) -> None:
    async def no(viewer: Viewer) -> None:
        await viewer.head(status, "text/html", "Location: /login")

    async with relayed({**HEALTHY, SCREEN: no}) as (live, master):
        master.relay.viewers(+1)
        await master.until(lambda: len(master.texts) == 2)
        await live.until(lambda: live.seen.count(SCREEN) >= 5)
        assert len(master.notes) == 1
        assert "live screen is not available" in master.notes[0]
        assert live.url in master.notes[0]
        master.relay.viewers(-1)
        master.relay.viewers(+1)
        await live.until(lambda: live.seen.count(SCREEN) >= 8)
        assert len(master.notes) == 1


async def test_a_live_handler_that_is_down_is_said_once() -> None:
    async with live_server() as gone:
        pass
    async with live_server({LOG: says("log\n"), TERMINAL: says()}) as live:
        master = make(live, port_delta=gone.port - live.port)
        try:
            master.relay.viewers(+1)
            await live.until(lambda: live.seen.count(SCREEN) >= 8)
            await master.until(lambda: master.log == "log\n")
            assert len(master.notes) == 1
            assert str(gone.port) in master.notes[0]
        finally:
            await master.relay.close()


async def test_a_slave_that_asks_for_a_login_everywhere_is_told_for_each_stream_once() -> None:
    async def no(viewer: Viewer) -> None:
        await viewer.head(403, "text/html")

    async with relayed(dict.fromkeys(ALL, no)) as (live, master):
        master.relay.viewers(+1)
        await live.until(lambda: min(live.seen.count(path) for path in ALL) >= 5)
        assert len(master.notes) == 3


async def test_a_slave_that_is_down_for_a_while_is_no_news() -> None:
    async with live_server(HEALTHY) as live:
        master = make(live)
        master.relay.viewers(+1)
        await master.until(lambda: master.log == "log\n")
    async with live_server({**HEALTHY, LOG: says("log\n", "more\n")}, live.port):
        await master.until(lambda: "more\n" in master.log)
        assert master.log == "log\nmore\n"
        assert not master.notes
        await master.relay.close()


async def test_the_job_is_restarted_on_the_slave() -> None:
    routes = {**HEALTHY, "/tests/8/livelog": says("log\n", "of job 8\n"), "/tests/8/streaming": shows}
    async with relayed(routes) as (live, master):
        master.relay.viewers(+1)
        await master.until(lambda: master.log == "log\n")
        master.relay.follow(None)
        await live.until(lambda: not live.open)
        master.relay.follow(8)
        await master.until(lambda: "of job 8\n" in master.log)
        assert master.log == "log\n[pseudoworker: the live log of slave job 8 begins]\nlog\nof job 8\n"


async def test_those_watched_longest_give_way_when_too_many_are_watched() -> None:
    watched = WatchedJobs(most=2)
    async with live_server({path.replace("7", str(job)): shows for path in ALL for job in (1, 2, 3)}) as live:
        masters = [make(live, watched, job) for job in (1, 2, 3)]

        def open_jobs() -> list[int]:
            return sorted({int(path.split("/")[2]) for path in live.open})

        for master in masters[:2]:
            master.relay.viewers(+1)
        await live.until(lambda: open_jobs() == [1, 2])
        masters[2].relay.viewers(+1)
        await live.until(lambda: open_jobs() == [2, 3])
        assert "too many" in masters[0].notes[0]
        assert masters[0].relay.watched
        masters[1].relay.viewers(-1)
        await live.until(lambda: open_jobs() == [1, 3])
        masters[0].relay.viewers(-1)
        await live.until(lambda: open_jobs() == [3])
        for master in masters:
            await master.relay.close()
        assert len(watched) == 0
        await live.until(lambda: not live.open)


async def test_closing_waits_until_all_is_closed() -> None:
    async with relayed(HEALTHY) as (live, master):
        master.relay.viewers(+2)
        await live.until(lambda: len(live.open) == 3)
        await master.relay.close()
        await master.relay.close()
        await live.until(lambda: not live.open)
        assert not master.relay.watched
        assert not [task for task in asyncio.all_tasks() if "_relay" in repr(task.get_coro())]
