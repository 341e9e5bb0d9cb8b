"""Files of steps, read while the slave's worker may still be uploading them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pseudoworker.bridge import transfer
from pseudoworker.bridge.step_files import MOST_MISSES, StepFiles
from pseudoworker.bridge.transfer import Transfers
from pseudoworker.master.job import MasterJob
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.slave.results import SlaveResults, digest_of_texts
from pseudoworker.slave.steps import ModuleReport
from tests.fakes.script import picture
from tests.protocol.rooms.site import Answer, Said, Site, client_of, serving

ARTEFACT = "POST /api/v1/jobs/42/artefact"
IMAGE, THUMB = "GET /tests/7/images/boot-1.png", "GET /tests/7/images/thumb/boot-1.png"
SOUND = "GET /tests/7/file/boot-3.wav"
PICTURE = picture("boot-1", 600)
SCREENSHOT = ModuleReport(document={}, images={PICTURE.md5: "boot-1.png"})
TEXT = ModuleReport(document={}, texts={"boot-2.txt": None})


def said(content: bytes, status: int = 200) -> Said:
    return Said(content, status, content_type="image/png")


@dataclass
class Bringing:
    files: StepFiles
    transfers: Transfers
    site: Site
    complete: dict[str, str] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)
    whole: asyncio.Event = field(default_factory=asyncio.Event)

    async def arrived(self) -> None:
        async with asyncio.timeout(20):
            await self.whole.wait()

    @property
    def uploaded(self) -> list[tuple[str, bytes]]:
        return [asked.file for asked in self.site.asked_of(ARTEFACT) if asked.file is not None]


@asynccontextmanager
async def bringing(
    monkeypatch: pytest.MonkeyPatch, routes: dict[str, Answer | list[Answer]]
) -> AsyncIterator[Bringing]:
    monkeypatch.setattr(transfer, "PAUSE", 0.05)
    complete: dict[str, str] = {}
    given_up: list[str] = []
    whole = asyncio.Event()

    def arrived(module: str, digest: str) -> None:
        complete[module] = digest
        whole.set()

    def gave_up(name: str, _error: OpenQAError) -> None:
        given_up.append(name)

    def failed(error: Exception) -> None:
        raise error

    async with serving({ARTEFACT: Said(b"OK", content_type="text/plain"), **routes}) as site:
        with client_of(site) as client:
            transfers = Transfers(2, gave_up=gave_up, failed=failed)
            files = StepFiles(
                master=MasterJob(client, 42, 3, worker_hostname="bridge.example", cmd_srv_url=""),
                slave=SlaveResults(client),
                transfers=transfers,
                scrub=lambda content: content.replace(b"secret", b"******"),
                relayed=lambda _size: None,
                arrived=arrived,
            )
            yield Bringing(files, transfers, site, complete, given_up, whole)


async def test_a_screenshot_that_is_not_whole_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    halves: list[Answer] = [said(PICTURE.content[:300]), said(b""), said(PICTURE.content)]
    async with bringing(monkeypatch, {IMAGE: halves, THUMB: said(PICTURE.thumb)}) as job:
        job.files.bring(7, "boot", SCREENSHOT, set(), {})
        assert job.files.are_coming("boot")
        await job.arrived()
        assert sorted(job.uploaded) == sorted(
            [("boot-1.png", PICTURE.content), ("boot-1.png", PICTURE.thumb)]
        )
        assert not job.files.are_coming("boot")


async def test_what_is_not_whole_in_the_end_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cut, riff = PICTURE.content[:300], b"RIFF\xff\xff\xff\xffWAVE"
    report = ModuleReport(document={}, images=SCREENSHOT.images, audio=("boot-3.wav",))
    async with bringing(monkeypatch, {IMAGE: said(cut), SOUND: said(riff)}) as job:
        job.files.bring(7, "boot", report, set(), {})
        await job.transfers.finish()
        assert sorted(job.uploaded) == [("boot-1.png", cut), ("boot-3.wav", riff)]
        assert job.given_up == ["thumbnail of boot-1.png"]
        assert "boot" in job.complete


async def test_images_that_the_master_knows_are_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bringing(monkeypatch, {}) as job:
        job.files.bring(7, "boot", SCREENSHOT, {PICTURE.md5}, {})
        assert job.complete == {"boot": ""}
        assert job.site.asked == []


async def test_a_text_that_is_at_hand_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bringing(monkeypatch, {}) as job:
        job.files.bring(7, "boot", TEXT, set(), {"boot-2.txt": b"a secret"})
        await job.arrived()
        assert job.uploaded == [("boot-2.txt", b"a ******")]
        # What is compared later is what the slave has.
        assert job.complete == {"boot": digest_of_texts({"boot-2.txt": b"a secret"})}
        assert job.site.log == [ARTEFACT]


async def test_a_text_is_sent_once_unless_it_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bringing(monkeypatch, {}) as job:
        job.files.bring(7, "boot", TEXT, set(), {"boot-2.txt": b""})
        await job.arrived()
        job.files.bring(7, "boot", TEXT, set(), {"boot-2.txt": b"whole"})
        job.files.bring_texts(7, "boot", {"boot-2.txt": b"whole"})
        await job.transfers.finish()
        assert job.uploaded == [("boot-2.txt", b""), ("boot-2.txt", b"whole")]


async def test_a_restarted_job_sends_everything_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bringing(monkeypatch, {}) as job:
        job.files.bring(7, "boot", TEXT, set(), {"boot-2.txt": b"first run"})
        await job.arrived()
        job.files.forget()
        job.files.bring(8, "boot", TEXT, set(), {"boot-2.txt": b"second run"})
        await job.transfers.finish()
        assert [content for _, content in job.uploaded] == [b"first run", b"second run"]


async def test_texts_that_nothing_names_are_found_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = (1, 2, 2 + MOST_MISSES, 3 + 2 * MOST_MISSES)
    routes: dict[str, Answer | list[Answer]] = {
        f"GET /tests/7/file/part-{number}.txt": said(b"a secret") for number in numbers
    }
    async with bringing(monkeypatch, routes) as job:
        job.files.bring_unlisted(7, "part")
        job.files.bring_unlisted(7, "../part")
        await job.transfers.finish()
        # after the third text come as many numbers without one as are tried, so the fourth is not found
        assert [name for name, _ in job.uploaded] == [f"part-{number}.txt" for number in numbers[:3]]
        assert {content for _, content in job.uploaded} == {b"a ******"}
        assert not job.given_up
