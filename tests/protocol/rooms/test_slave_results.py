from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pseudoworker.openqa.errors import Garbage, NotFound, UnsafeName
from pseudoworker.openqa.json import Json
from pseudoworker.slave.capacity import capacity, workers
from pseudoworker.slave.results import SlaveResults, digest_of_texts, parse_details
from tests.protocol.rooms.site import Answer, Asked, Said, Site, client_of, serving
from tests.recordings.rooms import recorded

DETAILS = "GET /api/v1/jobs/7/details"
WORKERS = "GET /api/v1/workers"


@asynccontextmanager
async def results_on(routes: dict[str, Answer | list[Answer]]) -> AsyncIterator[tuple[SlaveResults, Site]]:
    async with serving(routes) as site:
        with client_of(site) as client:
            yield SlaveResults(client), site


async def test_recorded_details() -> None:
    async with results_on({DETAILS: Said(recorded("details"))}) as (results, _):
        details = await results.details(7)
    assert [(module.name, module.result, module.steps) for module in details.modules] == [
        ("boot", "passed", 3),
        ("texts", "passed", 5),
        ("shutdown", "passed", 1),
    ]
    assert details.md5_of.keys() == {"boot-2.png", "boot-4.png", "shutdown-2.png"}
    assert all(len(md5) == 32 for md5 in details.md5_of.values())
    assert "vars.json" in details.logs
    assert "uploads-dmesg.txt" in details.ulogs
    names = [file.name for file in details.result_files().files]
    assert len(names) == len(set(names))
    assert {"video.ogv", "video_time.vtt", "uploads-dmesg.txt"} <= set(names)


async def test_a_recorded_module_becomes_what_its_worker_had_posted() -> None:
    route = "GET /tests/7/file/details-boot.json"
    details = parse_details(recorded("details"))
    async with results_on({route: Said(recorded("details-boot"))}) as (results, _):
        made = await results.module_report(7, "boot", details.md5_of)
    assert made is not None
    assert not made.missing_md5
    assert not made.problems
    assert set(made.images.values()) <= {"boot-2.png", "boot-4.png"}
    assert made.texts.keys() == {"boot-3.txt"}
    steps = made.document["details"]
    assert isinstance(steps, list)
    assert steps[1] == {"result": "ok", "text": "boot-3.txt", "title": "wait_serial"}
    assert made.document["result"] == "ok"


async def test_recorded_texts_are_brought_along() -> None:
    route = "GET /tests/7/file/details-texts.json"
    async with results_on({route: Said(recorded("details-texts"))}) as (results, _):
        made = await results.module_report(7, "texts", {})
    assert made is not None
    assert made.texts["texts-2.txt"] == b""
    assert all(content is not None for content in made.texts.values())


async def test_a_module_that_was_not_reached() -> None:
    async with results_on({}) as (results, _):
        assert await results.module_report(7, "boot", {}) is None


async def test_module_names_are_encoded_and_checked() -> None:
    route = "GET /tests/7/file/details-boot#1.json"
    async with results_on({route: Said({"result": "running"})}) as (results, site):
        made = await results.module_report(7, "boot#1", {})
        assert made is not None
        assert made.running
        with pytest.raises(UnsafeName):
            await results.module_report(7, "../../secret", {})
        assert len(site.asked) == 1


async def test_a_text_file_that_is_still_there() -> None:
    route = "GET /tests/7/file/boot-3.txt"
    async with results_on({route: Said(b"text", content_type="text/plain")}) as (results, site):
        assert await results.text(7, "boot", "boot-3.txt") == b"text"
        assert site.log == [route]


async def test_a_text_file_that_was_moved_into_the_details_meanwhile() -> None:
    route = "GET /tests/7/file/details-boot.json"
    async with results_on({route: Said(recorded("details-boot"))}) as (results, site):
        text = await results.text(7, "boot", "boot-3.txt")
        assert text.startswith(b'# wait_serial expected: "openQA lab guest is ready"\n')
        assert site.log == ["GET /tests/7/file/boot-3.txt", route]
        with pytest.raises(NotFound):
            await results.text(7, "boot", "boot-9.txt")


async def test_a_text_file_of_a_module_that_is_gone() -> None:
    async with results_on({}) as (results, _):
        with pytest.raises(NotFound):
            await results.text(7, "boot", "boot-3.txt")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Said({"JOBTOKEN": "abc", "TEST": "plain"}), {"abc"}),
        (Said({"TEST": "plain"}), set()),
        (Said({"JOBTOKEN": ["abc"]}), set()),
        (Said([]), set()),
        (Said(b"no JSON", content_type="text/plain"), set()),
        (Said({"error_status": 404}, 404), set()),
    ],
)
async def test_secrets_of_a_job(answer: Said, found: set[str]) -> None:
    async with results_on({"GET /tests/7/file/vars.json": answer}) as (results, _):
        assert await results.secrets(7) == found


async def test_images_and_their_thumbnails() -> None:
    async with results_on(
        {
            "GET /tests/7/images/a 1.png": Said(b"\x89PNG", content_type="image/png"),
            "GET /tests/7/images/thumb/a 1.png": Said(b"small", content_type="image/png"),
            "GET /tests/7/file/a.wav": Said(b"RIFF", content_type="audio/wav"),
        }
    ) as (results, _):
        assert await results.image(7, "a 1.png") == b"\x89PNG"
        assert await results.thumbnail(7, "a 1.png") == b"small"
        assert await results.step_file(7, "a.wav") == b"RIFF"
        with pytest.raises(NotFound):
            await results.image(7, "b.png")


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"job": []},
        {"job": {"testresults": {}}},
        {"job": {"testresults": [1]}},
        {"job": {"testresults": [{"result": "passed"}]}},
        {"job": {"testresults": [{"name": ["x"]}]}},
    ],
)
def test_details_without_sense(document: Json) -> None:
    with pytest.raises(Garbage):
        parse_details(document, url="http://slave/x")


def test_odd_parts_of_details_are_nothing() -> None:
    details = parse_details(
        {
            "job": {
                "testresults": [
                    {"name": "a", "result": None, "details": 7},
                    {
                        "name": "b",
                        "result": "passed",
                        "details": [
                            1,
                            {"screenshot": "b-1.png"},
                            {
                                "screenshot": "b-2.png",
                                "md5_dirname": "012/345",
                                "md5_basename": "../../x.png",
                            },
                            {"screenshot": ["b-3.png"], "md5_dirname": "012", "md5_basename": "3"},
                            {"screenshot": "b-4.png", "md5_dirname": 1, "md5_basename": None},
                        ],
                    },
                ],
                "logs": ["vars.json", 7],
                "ulogs": "x",
            }
        }
    )
    assert [(module.name, module.result, module.steps) for module in details.modules] == [
        ("a", "none", 0),
        ("b", "passed", 5),
    ]
    assert not details.md5_of
    assert details.logs == ("vars.json",)
    assert details.ulogs == ()


def test_texts_of_details_but_not_notes_in_their_place() -> None:
    details = parse_details(
        {
            "job": {
                "testresults": [
                    {
                        "name": "a",
                        "result": "passed",
                        "details": [
                            {"text": "a-1.txt", "text_data": "gr\u00fc\u00dfe"},
                            {"text": "a-2.txt", "text_data": ""},
                            {"text": "a-3.txt", "text_data": "Unable to read a-3.txt."},
                            {"text": "a-4.txt", "text_data": "Unable to decode a-4.txt."},
                            {"text": "a-5.txt"},
                            {"text": ["a-6.txt"], "text_data": "x"},
                        ],
                    }
                ]
            }
        }
    )
    (module,) = details.modules
    assert module.texts == {"a-1.txt": "gr\u00fc\u00dfe".encode(), "a-2.txt": b""}


def test_the_digest_of_texts_tells_names_and_contents_apart() -> None:
    texts = [{}, {"a": b""}, {"a": b"1"}, {"b": b"1"}, {"a": b"1", "b": b""}, {"a": b"", "b": b"1"}]
    assert len({digest_of_texts(some) for some in texts}) == len(texts)
    assert digest_of_texts({"a": b"1", "b": b"2"}) == digest_of_texts({"b": b"2", "a": b"1"})


async def test_recorded_workers() -> None:
    async with serving({WORKERS: Said(recorded("workers"))}) as site:
        with client_of(site) as client:
            found = await capacity(client)
        assert found.total(["qemu_x86_64"]) == 4
        assert found.total(["qemu_x86_64", "lab2"]) == 2
        assert len(site.asked) == 2  # a second page, since the first may have been cut


async def test_workers_are_paged_where_the_release_pages() -> None:
    everyone: list[Json] = [
        {"id": number, "host": "h", "instance": number, "status": "idle", "properties": {"WORKER_CLASS": "a"}}
        for number in range(1, 26)
    ]

    def page(asked: Asked) -> Said:
        start = int(asked.one("offset") or 0)
        return Said({"workers": everyone[start : start + 10]})

    async with serving({WORKERS: page}) as site:
        with client_of(site) as client:
            assert len(await workers(client)) == 25
        assert [asked.one("offset") for asked in site.asked] == [None, "10", "20", "25"]


async def test_a_worker_that_makes_no_sense_is_not_counted() -> None:
    good: Json = {
        "id": 1,
        "host": "h",
        "instance": 1,
        "status": "idle",
        "properties": {"WORKER_CLASS": "a,b"},
    }
    async with serving({WORKERS: Said({"workers": [good, {"id": 2}, "x"]})}) as site:
        with client_of(site) as client:
            assert (await capacity(client)).idle(["a", "b"]) == 1


async def test_no_number_of_pages_is_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pseudoworker.slave.capacity._MOST_PAGES", 3)

    def next_one(asked: Asked) -> Said:
        number = int(asked.one("offset") or 0) + 1
        return Said({"workers": [{"id": number, "host": "h", "instance": 1, "status": "idle"}]})

    async with serving({WORKERS: next_one}) as site:
        with client_of(site) as client:
            assert len(await workers(client)) == 3


async def test_workers_without_sense() -> None:
    async with serving({WORKERS: Said({"workers": None})}) as site:
        with client_of(site) as client, pytest.raises(Garbage):
            await capacity(client)
