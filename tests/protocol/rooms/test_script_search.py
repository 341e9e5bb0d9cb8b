import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import NotFound, OpenQAError
from pseudoworker.openqa.views import JobView, ModuleView
from pseudoworker.slave.live import LiveSource
from pseudoworker.slave.script_search import ScriptSearch
from tests.protocol.rooms.site import Answer, Said, Site, client_of, serving
from tests.recordings.rooms import recorded_bytes

LOG = recorded_bytes("autoinst-log.txt")
LOG_ROUTE = "GET /tests/7/file/autoinst-log.txt"
PAGE = Said(recorded_bytes("source.html"))


class FakeLive(LiveSource):
    """A live view that brings the log once the screen is open, as openQA's does."""

    def __init__(self, pieces: list[str], trouble: OpenQAError | None = None) -> None:
        self.pieces = pieces
        self.trouble = trouble
        self.open = 0
        self.most_open = 0
        self.calls: list[str] = []
        self._watched = asyncio.Event()

    async def read_text(
        self, job_id: int, route: str, opened: Callable[[], None], text: Callable[[str], None]
    ) -> None:
        self.calls.append(route)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            await self._watched.wait()
            opened()
            for piece in self.pieces:
                text(piece)
            await asyncio.Event().wait()
        finally:
            self.open -= 1

    async def read_screen(
        self, job_id: int, opened: Callable[[], None], screen: Callable[[str], None]
    ) -> None:
        self.calls.append("streaming")
        if self.trouble:
            raise self.trouble
        self._watched.set()
        await asyncio.Event().wait()


def job(state: str = "running", casedir: str = "", *names: str) -> JobView:
    modules = tuple(ModuleView(name, "tests", "none") for name in names or ("boot", "texts"))
    return JobView(
        7,
        "job",
        state,
        "none",
        modules=modules,
        settings={"DISTRI": "lab", "VERSION": "1", "CASEDIR": casedir},
    )


@asynccontextmanager
async def search_on(
    routes: dict[str, Answer | list[Answer]], live: LiveSource | None = None, seconds: float = 0.2
) -> AsyncIterator[tuple[ScriptSearch, Site]]:
    async with serving(routes) as site:
        with client_of(site) as client:
            yield ScriptSearch(client, live, live_seconds=seconds), site


def source(name: str) -> str:
    return f"GET /tests/7/modules/{name}/steps/1/src"


async def test_of_an_ended_job_the_log_is_read_in_one_request() -> None:
    async with search_on({LOG_ROUTE: Said(LOG, content_type="text/plain")}) as (search, site):
        assert await search.find(job("done")) == {"boot": "tests/boot.pm", "texts": "tests/texts.pm"}
        assert site.log == [LOG_ROUTE]
        assert site.asked[0].headers["Range"] == "bytes=0-4194303"


async def test_of_a_running_job_the_source_pages_are_read() -> None:
    async with search_on({source("boot"): PAGE}, None) as (search, site):
        found = await search.find(job("running", "", "boot", "odd/name", "texts"))
        assert found["boot"] == "tests/boot.pm"
        assert found["texts"] == "tests/texts.pm"  # by the rule: its page is missing
        assert sorted(site.log) == [source("boot"), source("texts")]


async def test_what_is_known_is_not_asked_for() -> None:
    async with search_on({}, None) as (search, site):
        known = {"boot": "a.pm", "texts": "b.pm", "more": "c.pm"}
        assert await search.find(job(), known) == {"boot": "a.pm", "texts": "b.pm"}
        assert not site.asked


async def test_pages_would_lead_elsewhere_when_the_tests_come_from_git() -> None:
    live = FakeLive([LOG.decode()])
    async with search_on({}, live, 10) as (search, site):
        found = await search.find(job("running", "https://git.example/tests.git"))
        assert found == {"boot": "tests/boot.pm", "texts": "tests/texts.pm"}
        assert not site.asked
        assert live.calls == ["livelog", "streaming"]
        assert live.open == 0


async def test_text_of_the_live_view_comes_as_bytes() -> None:
    line = "[a] [debug] scheduling bööt tests/bööt.pm\n".encode().decode("latin-1")
    live = FakeLive([line[:30], line[30:]])
    async with search_on({}, live, 10) as (search, _):
        found = await search.find(job("running", "https://git.example/x", "bööt"))
        assert found == {"bööt": "tests/bööt.pm"}


async def test_a_live_log_that_says_nothing_is_not_waited_for_long() -> None:
    live = FakeLive(["nothing\n"])
    async with search_on({}, live) as (search, _):
        async with asyncio.timeout(5):
            assert await search.find(job()) == {"boot": "tests/boot.pm", "texts": "tests/texts.pm"}
        assert live.open == 0


async def test_a_slave_without_live_view_is_no_trouble() -> None:
    live = FakeLive([], NotFound("no screen", status=404))
    async with search_on({}, live, 1.0) as (search, _):
        assert (await search.find(job()))["boot"] == "tests/boot.pm"


async def test_jobs_that_start_together_use_one_live_view_at_a_time() -> None:
    live = FakeLive([LOG.decode()])
    async with search_on({}, live, 10) as (search, _):
        git = job("running", "https://git.example/tests.git")
        found = await asyncio.gather(*(search.find(git) for _ in range(5)))
        assert all(scripts["boot"] == "tests/boot.pm" for scripts in found)
        assert live.most_open == 1


async def test_nobody_waits_for_ever_for_the_others() -> None:
    live = FakeLive([])
    async with search_on({}, live, 0.05) as (search, _):
        git = job("running", "https://git.example/tests.git")
        async with asyncio.timeout(10):
            found = await asyncio.gather(*(search.find(git) for _ in range(20)))
        assert len(found) == 20
        assert len([call for call in live.calls if call == "livelog"]) < 20


async def test_an_ended_job_without_log_has_source_pages() -> None:
    async with search_on({source("boot"): PAGE}) as (search, site):
        assert (await search.find(job("done", "", "boot"))) == {"boot": "tests/boot.pm"}
        assert site.log == [LOG_ROUTE, source("boot")]


async def test_slow_source_pages_are_not_waited_for() -> None:
    never = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with ThreadPoolExecutor(2) as executor:
        client = Client(f"http://127.0.0.1:{port}", "", "", executor=executor, in_flight=2)
        search = ScriptSearch(client, None, pages_seconds=0.1)
        async with asyncio.timeout(5):
            assert (await search.find(job()))["boot"] == "tests/boot.pm"
        never.set()
        client.close()
    server.close()
    await server.wait_closed()


async def test_a_page_without_a_path_tells_nothing() -> None:
    page = Said(b"<html><code>odd</code></html>")
    async with search_on({source("boot"): page}) as (search, _):
        assert await search.find(job("running", "", "boot")) == {"boot": "tests/boot.pm"}


async def test_a_mistake_of_ours_is_not_hidden() -> None:
    class Broken(FakeLive):
        async def read_screen(
            self, job_id: int, opened: Callable[[], None], screen: Callable[[str], None]
        ) -> None:
            raise ZeroDivisionError

    async with search_on({}, Broken([]), 1.0) as (search, _):
        with pytest.raises(ZeroDivisionError):
            await search.find(job("running", "https://git.example/tests.git"))


async def test_characters_that_are_no_bytes_are_kept() -> None:
    live = FakeLive(["[a] scheduling ∑ tests/∑.pm\n"])
    async with search_on({}, live, 10) as (search, _):
        found = await search.find(job("running", "https://git.example/x", "∑"))
        assert found == {"∑": "tests/∑.pm"}
