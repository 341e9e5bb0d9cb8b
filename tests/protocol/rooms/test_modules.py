"""Modules of a job, read while the slave is writing them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pseudoworker.bridge.journal import Journal
from pseudoworker.bridge.modules import ModuleRelay
from pseudoworker.bridge.transfer import Transfers
from pseudoworker.master.job import MasterJob
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.views import JobView, ModuleView
from pseudoworker.slave.results import Details, SlaveResults, parse_details
from tests.protocol.rooms.site import Answer, Said, Site, client_of, serving

STATUS = "POST /api/v1/jobs/42/status"
DETAILS = "GET /api/v1/jobs/7/details"
DOCUMENT = "GET /tests/7/file/details-boot.json"

STEPS: list[Any] = [{"result": "ok", "text": "boot-1.txt", "title": "a"}]
RUNNING = Said({"result": "running"})
WHOLE = Said({"result": "ok", "details": STEPS, "execution_time": 3, "dents": 0})


def details(steps: list[Any], result: str = "passed", text: str = "text") -> Said:
    shown: Any = [{**step, "text_data": text, "num": 1} for step in steps]
    module: Any = {"name": "boot", "result": result, "details": shown, "execution_time": "3 s"}
    return Said({"job": {"testresults": [module], "logs": [], "ulogs": []}})


def view(result: str = "passed") -> JobView:
    return JobView(7, "job", "running", "none", modules=(ModuleView("boot", "tests", result),))


def parsed(answer: Said) -> Details:
    assert not isinstance(answer.body, bytes)
    return parse_details(answer.body)


async def scripts(_view: JobView, modules: Iterable[ModuleView]) -> Mapping[str, str]:
    return {module.name: f"tests/{module.name}.pm" for module in modules}


@asynccontextmanager
async def relay_on(
    tmp_path: Path, routes: dict[str, Answer | list[Answer]]
) -> AsyncIterator[tuple[ModuleRelay, Site]]:
    ok = {
        STATUS: Said({"result": 1}),
        "POST /api/v1/jobs/42/artefact": Said(b"OK", content_type="text/plain"),
    }

    def gave_up(_name: str, error: OpenQAError) -> None:
        raise error

    def failed(error: Exception) -> None:
        raise error

    async with serving({**ok, **routes}) as site:
        with client_of(site) as client:
            journal = Journal(tmp_path / "journal.db", master_url=site.url, slave_url=site.url)
            await journal.open()
            transfers = Transfers(2, gave_up=gave_up, failed=failed)
            relay = ModuleRelay(
                master=MasterJob(client, 42, 3, worker_hostname="bridge.example", cmd_srv_url=""),
                slave=SlaveResults(client),
                journal=journal,
                transfers=transfers,
                scripts=scripts,
                scrub=lambda content: content.replace(b"slavetoken", b"mastertokn"),
                note=lambda _text: None,
                relayed=lambda _size: None,
                completed=lambda _module, _digest: None,
            )
            await relay.load()
            yield relay, site
            await transfers.finish()
            await journal.close()


def results(site: Site) -> list[Any]:
    documents: list[Any] = [asked.document for asked in site.asked_of(STATUS)]
    statuses = [document["status"] for document in documents]
    return [status["result"]["boot"] for status in statuses if "result" in status]


@pytest.mark.parametrize(
    ("listed", "documents"),
    [
        # The slave has set the module's result, but its document is still the one of the running module …
        ([details([]), details(STEPS)], [RUNNING, WHOLE]),
        # … or it is written between both requests.
        ([details([]), details(STEPS)], [WHOLE, WHOLE]),
    ],
)
async def test_a_module_that_is_being_written_is_left_for_a_moment(
    tmp_path: Path, listed: list[Answer], documents: list[Answer]
) -> None:
    async with relay_on(tmp_path, {DETAILS: listed, DOCUMENT: documents}) as (relay, site):
        assert not await relay.update(view())
        assert not results(site)
        assert await relay.update(view())
        assert [result["result"] for result in results(site)] == ["ok"]
        await relay.update(view(), ended=parsed(details(STEPS)))
        assert len(results(site)) == 1


async def test_details_that_always_look_other_than_the_document_are_no_obstacle(tmp_path: Path) -> None:
    other = details([{**STEPS[0], "shown_otherwise": True}])
    async with relay_on(tmp_path, {DETAILS: other, DOCUMENT: WHOLE}) as (relay, site):
        assert not await relay.update(view())
        assert await relay.update(view())
        assert len(results(site)) == 1


async def test_in_the_end_everything_is_taken_as_it_is(tmp_path: Path) -> None:
    text = {"GET /tests/7/file/boot-1.txt": Said(b"text", content_type="text/plain")}
    async with relay_on(tmp_path, {DOCUMENT: WHOLE, **text}) as (relay, site):
        await relay.update(view(), ended=parsed(details([])))
        assert len(results(site)) == 1


async def test_what_the_details_of_the_ended_job_hold_is_not_waited_for(tmp_path: Path) -> None:
    """The file itself is nowhere to be found."""
    unread = details(STEPS, text="Unable to read boot-1.txt.")
    async with relay_on(tmp_path, {DETAILS: unread, DOCUMENT: WHOLE}) as (relay, site):
        assert await relay.update(view())
        await relay.update(view(), ended=parsed(details(STEPS)))
    (sent,) = site.asked_of("POST /api/v1/jobs/42/artefact")
    assert sent.file == ("boot-1.txt", b"text")


async def test_the_module_that_was_interrupted_is_shown_with_its_texts(tmp_path: Path) -> None:
    names = {"boot": "passed", "part": "none", "shutdown": "none"}
    modules = tuple(ModuleView(name, "tests", result) for name, result in names.items())
    ended = JobView(7, "job", "done", "user_cancelled", modules=modules)
    routes: dict[str, Answer | list[Answer]] = {
        DOCUMENT: WHOLE,
        "GET /tests/7/file/details-part.json": RUNNING,
        "GET /tests/7/file/part-2.txt": Said(b"left behind", content_type="text/plain"),
    }
    async with relay_on(tmp_path, routes) as (relay, site):
        await relay.update(ended, ended=parsed(details(STEPS)))
    (status,) = [asked.document for asked in site.asked_of(STATUS)]
    assert isinstance(status, dict)
    assert isinstance(posted := status["status"], dict)
    assert isinstance(result := posted["result"], dict)
    assert result["part"] == {"result": "running"}
    assert result.keys() == {"boot", "part"}
    assert ("part-2.txt", b"left behind") in [asked.file for asked in site.asked]


async def test_a_secret_in_the_title_of_a_step_does_not_pass(tmp_path: Path) -> None:
    steps: Any = [{**STEPS[0], "title": "curl http://10.0.2.2/slavetoken/x"}]
    document = Said({"result": "ok", "details": steps})
    async with relay_on(tmp_path, {DETAILS: details(steps), DOCUMENT: document}) as (relay, site):
        assert await relay.update(view())
        (result,) = results(site)
        assert result["details"][0]["title"] == "curl http://10.0.2.2/mastertokn/x"


@pytest.mark.parametrize("known", [["boot"], []])
async def test_a_restart_takes_back_only_what_the_master_knows(tmp_path: Path, known: list[str]) -> None:
    """The post that told of another module was cut off, and the master refuses results of unknown ones."""
    modules: Any = [{"name": name, "category": "tests", "flags": [], "result": "running"} for name in known]
    job: Any = {"id": 42, "name": "job", "state": "running", "result": "none", "modules": modules}
    async with relay_on(tmp_path, {"GET /api/v1/jobs": Said({"jobs": [job]})}) as (relay, site):
        for name in ("boot", "login"):
            running = (ModuleView(name, "tests", "running"),)
            seen = JobView(7, "job", "running", "none", modules=running)
            await relay.post(seen, {}, listed=[name])
        before = len(site.asked_of(STATUS))
        await relay.start_over(8)
        posted: list[Any] = [asked.document for asked in site.asked_of(STATUS)[before:]]
    assert [one["status"]["result"] for one in posted] == ([{"boot": {"result": "na"}}] if known else [])
