import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pseudoworker.master.job import LeaseLost, MasterJob
from pseudoworker.openqa.errors import Busy, Garbage, OpenQAError, Refused, ServerFailed
from pseudoworker.openqa.json import Json
from tests.protocol.rooms.site import Answer, Said, Site, client_of, serving

STATUS = "POST /api/v1/jobs/42/status"
ARTEFACT = "POST /api/v1/jobs/42/artefact"
DONE = "POST /api/v1/jobs/42/set_done"
DUPLICATE = "POST /api/v1/jobs/42/duplicate"
OK = Said(b"OK", content_type="text/plain")
MD5 = "0123456789abcdef0123456789abcdef"


@asynccontextmanager
async def job_on(routes: dict[str, Answer | list[Answer]]) -> AsyncIterator[tuple[MasterJob, Site]]:
    async with serving(routes) as site:
        with client_of(site) as client:
            yield MasterJob(client, 42, 3, worker_hostname="bridge.example", cmd_srv_url="http://x:1/t"), site


async def test_a_status_says_what_a_stock_workers_says() -> None:
    answer: Json = {"result": 1, "known_images": [MD5], "known_files": ["a-1.txt"], "job_result": "passed"}
    async with job_on({STATUS: Said(answer)}) as (job, site):
        told = await job.post_status({"result": {"boot": {"result": "running"}}})
        assert site.asked[0].document == {
            "status": {
                "worker_id": 3,
                "worker_hostname": "bridge.example",
                "cmd_srv_url": "http://x:1/t",
                "test_execution_paused": 0,
                "result": {"boot": {"result": "running"}},
            }
        }
    assert told.accepted
    assert told.known_images == {MD5}
    assert told.known_files == {"a-1.txt"}
    assert told.job_result == "passed"


async def test_a_status_may_say_more_but_never_be_anothers() -> None:
    async with job_on({STATUS: Said({"result": 1})}) as (job, site):
        await job.post_status({"test_execution_paused": "reason", "cmd_srv_url": "y", "worker_id": 99})
        document = site.asked[0].document
        assert isinstance(document, dict)
        status = document["status"]
        assert isinstance(status, dict)
        assert (status["test_execution_paused"], status["cmd_srv_url"], status["worker_id"]) == (
            "reason",
            "y",
            3,
        )


async def test_a_cancelled_job_takes_no_status_in_2023() -> None:
    async with job_on({STATUS: Said({"result": 0})}) as (job, _):
        assert not (await job.post_status()).accepted


@pytest.mark.parametrize("answer", [[], "OK", None])
async def test_a_status_needs_a_sensible_answer(answer: Json) -> None:
    async with job_on({STATUS: Said(answer)}) as (job, _):
        with pytest.raises(Garbage):
            await job.post_status()


async def test_strange_lists_in_the_answer_are_no_names() -> None:
    async with job_on({STATUS: Said({"result": 1, "known_images": [1, None], "known_files": {}})}) as (
        job,
        _,
    ):
        told = await job.post_status()
        assert not told.known_images
        assert not told.known_files


async def test_uploading_is_announced_alone() -> None:
    async with job_on({STATUS: Said({"result": ""})}) as (job, site):
        await job.announce_uploading()
        assert site.asked[0].document == {"status": {"uploading": 1, "worker_id": 3}}


async def test_490_is_tried_again() -> None:
    unknown = Said({"error": "Failed modules: boot"}, 490)
    async with job_on({STATUS: [unknown, Said({"result": 1})]}) as (job, site):
        assert (await job.post_status()).accepted
        assert site.log == [STATUS, STATUS]


Call = Callable[[MasterJob], Awaitable[object]]


def status(job: MasterJob) -> Awaitable[object]:
    return job.post_status()


def uploading(job: MasterJob) -> Awaitable[object]:
    return job.announce_uploading()


def image(job: MasterJob) -> Awaitable[object]:
    return job.upload_image(MD5, "a-1.png", b"png")


def file(job: MasterJob) -> Awaitable[object]:
    return job.upload_file("vars.json", b"{}")


def done(job: MasterJob) -> Awaitable[object]:
    return job.set_done("passed")


def view(job: MasterJob) -> Awaitable[object]:
    return job.view()


@pytest.mark.parametrize(
    ("route", "call", "answer", "words"),
    [
        (
            STATUS,
            status,
            Said(
                {
                    "error": "Got status update for job 42 with unexpected worker ID 3"
                    " (expected no updates anymore, job is done with result incomplete)"
                },
                400,
            ),
            "unexpected worker ID 3",
        ),
        (
            STATUS,
            uploading,
            Said(
                {
                    "error": "Got status update for job 42 and worker 3 but there is not even a worker"
                    " assigned to this job (job is scheduled)"
                },
                400,
            ),
            "not even",
        ),
        (STATUS, status, Said({"error": "Got status update for non-existing job: 42"}, 400), "non-existing"),
        (ARTEFACT, image, Said({"error": "No worker assigned"}, 404), "No worker"),
        (ARTEFACT, file, Said({"error": "Specified job 42 does not exist"}, 404), "Specified job"),
        (
            DONE,
            done,
            Said({"error": "Refusing to set result because job is currently assigned to worker 4)."}, 400),
            "Refusing",
        ),
        (
            DONE,
            done,
            Said({"error": "Refusing to set result because job has already been re-scheduled."}, 400),
            "Refusing",
        ),
        (DONE, done, Said({"error_status": 404}, 404), "Not Found"),
        (DONE, done, Said({"error_status": 404, "error": "Job does not exist"}, 404), "does not exist"),
        ("GET /api/v1/jobs/42", view, Said({"error_status": 404}, 404), "Not Found"),
    ],
)
async def test_a_lost_job_is_told_from_other_refusals(
    route: str, call: Call, answer: Said, words: str
) -> None:
    async with job_on({route: answer}) as (job, site):
        with pytest.raises(LeaseLost, match="job 42 is not ours any more") as lost:
            await call(job)
        assert words in lost.value.text
        assert isinstance(lost.value.__cause__, Refused)
        assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("route", "call", "answer"),
    [
        (STATUS, status, Said({"error": 'DBD::Pg::st execute failed: relation "x" does not exist'}, 400)),
        (
            STATUS,
            status,
            Said({"error": "Got status update for job 42 but does not contain a worker id!"}, 400),
        ),
        (STATUS, status, Said(b"<html><title>404 page of a proxy</title></html>", 404)),
        (ARTEFACT, file, Said({"error": "Erroneous parameters (file missing)"}, 400)),
        (DONE, done, Said({"error": "Erroneous parameters (result invalid)"}, 400)),
        (DONE, done, Said(b"<html><title>Page not found</title></html>", 404)),
        (DONE, done, Said({"error": "no api key"}, 403)),
    ],
)
async def test_other_refusals_stay_what_they_are(route: str, call: Call, answer: Said) -> None:
    async with job_on({route: answer}) as (job, _):
        with pytest.raises(Refused) as refused:
            await call(job)
        assert refused.value.status == answer.status


async def test_images_and_thumbnails() -> None:
    async with job_on({ARTEFACT: OK}) as (job, site):
        await job.upload_image(MD5, "a-1.png", b"\x89PNG\0\xff")
        await job.upload_image(MD5, "a-1.png", b"thumb", thumb=True)
        big, small = site.asked
    assert big.file == ("a-1.png", b"\x89PNG\0\xff")
    assert (big.one("image"), big.one("thumb"), big.one("md5")) == ("1", "0", MD5)
    assert small.file == ("a-1.png", b"thumb")
    assert (small.one("image"), small.one("thumb"), small.one("md5")) == ("1", "1", MD5)


async def test_files_and_logs_of_the_test() -> None:
    async with job_on({ARTEFACT: OK}) as (job, site):
        await job.upload_file("vars.json", b"{}")
        await job.upload_file("boot-messages.txt", b"", ulog=True)
        plain, ulog = site.asked
    assert plain.file == ("vars.json", b"{}")
    assert plain.query + plain.form == []
    assert ulog.file == ("boot-messages.txt", b"")
    assert ulog.one("ulog") == "1"


async def test_a_large_file_goes_through_in_pieces() -> None:
    pieces = [bytes([number]) * 100_000 for number in range(20)]
    async with serving({ARTEFACT: OK}) as site:
        with client_of(site) as client:
            job = MasterJob(client, 42, 3)

            def send() -> None:
                job.upload_file_stream("video.ogv", 2_000_000, iter(pieces), timeout=30)

            await asyncio.to_thread(send)
        assert site.asked[0].file == ("video.ogv", b"".join(pieces))


async def test_a_large_file_of_a_lost_job() -> None:
    async with serving({ARTEFACT: Said({"error": "No worker assigned"}, 404)}) as site:
        with client_of(site) as client:
            job = MasterJob(client, 42, 3)

            def send() -> None:
                job.upload_file_stream("video.ogv", 3, iter([b"abc"]), timeout=30)

            with pytest.raises(LeaseLost):
                await asyncio.to_thread(send)


async def test_the_end() -> None:
    async with job_on({DONE: Said({"result": "user_cancelled", "reason": None})}) as (job, site):
        assert await job.set_done("incomplete", "slave failure: ü", newbuild=True) == "user_cancelled"
        asked = site.asked[0]
        assert dict(asked.query + asked.form) == {
            "worker_id": "3",
            "result": "incomplete",
            "reason": "slave failure: ü",
            "newbuild": "1",
        }


async def test_an_end_without_result_lets_the_master_compute_it() -> None:
    async with job_on({DONE: Said({"result": "failed", "reason": None})}) as (job, site):
        assert await job.set_done() == "failed"
        assert dict(site.asked[0].query + site.asked[0].form) == {"worker_id": "3"}


@pytest.mark.parametrize(("status", "error"), [(503, Busy), (500, ServerFailed)])
async def test_the_end_is_not_repeated_without_a_look(status: int, error: type[OpenQAError]) -> None:
    async with job_on({DONE: Said({"error": "x"}, status)}) as (job, site):
        with pytest.raises(error):
            await job.set_done("passed")
        assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("answer", "new"), [({"id": 43, "result": [{"42": 43}]}, 43), ({"result": [], "errors": ["x"]}, None)]
)
async def test_a_duplicate(answer: Json, new: int | None) -> None:
    async with job_on({DUPLICATE: Said(answer)}) as (job, site):
        assert await job.duplicate() == new
        assert site.asked[0].one("dup_type_auto") == "1"


async def test_the_masters_view() -> None:
    document: Json = {
        "job": {
            "id": 42,
            "state": "running",
            "result": "none",
            "clone_id": 50,
            "parents": {"Chained": [40], "Parallel": [], "Directly chained": []},
            "children": {"Chained": [], "Parallel": [41], "Directly chained": []},
        }
    }
    async with job_on({"GET /api/v1/jobs/42": Said(document)}) as (job, _):
        seen = await job.view()
        assert (seen.state, seen.clone_id, seen.parents.chained, seen.children.parallel) == (
            "running",
            50,
            (40,),
            (41,),
        )


async def test_upload_progress_goes_to_the_live_handler_and_may_fail() -> None:
    route = "POST /liveviewhandler/api/v1/jobs/42/upload_progress"
    async with serving({route: [Said({"broadcast_count": 0}), Said({"error": "x"}, 400)]}) as site:
        with client_of(site) as client:
            job = MasterJob(client, 42, 3, port_delta=0)
            progress: dict[str, Json] = {"upload_up_to": "boot", "outstanding_images": 2}
            assert await job.upload_progress(progress)
            assert site.asked[0].document == progress
            assert not await job.upload_progress(progress)


def test_errors_can_be_caught_by_their_root() -> None:
    assert not issubclass(LeaseLost, OpenQAError)  # a decision of the master, not a failed request
