from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pseudoworker.openqa.errors import Garbage, NotFound, Refused, ServerFailed, Unauthorized
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.retry import POLL
from pseudoworker.slave import jobs as slave_jobs
from pseudoworker.slave.jobs import NewJob, SearchTooWide, SlaveJobs
from pseudoworker.slave.posting import UnpostableJob
from tests.protocol.rooms.site import Answer, Asked, Said, Site, client_of, serving
from tests.recordings.rooms import recorded

JOBS = "GET /api/v1/jobs"
CREATE = "POST /api/v1/jobs"
BY_VALUE = "GET /api/v1/job_settings/jobs"
REPORT = "https://openqa.example/tests/42"
SETTINGS = {
    "TEST": "plain",
    "DISTRI": "lab",
    "VERSION": "1",
    "FLAVOR": "tiny",
    "ARCH": "x86_64",
    "MACHINE": "",
    "FEDERATED_REPORT": REPORT,
}
OLD = Said(recorded("settings-by-value"), 400)


@asynccontextmanager
async def jobs_on(routes: dict[str, Answer | list[Answer]]) -> AsyncIterator[tuple[SlaveJobs, Site]]:
    async with serving(routes) as site:
        with client_of(site) as client:
            yield SlaveJobs(client), site


def shown(number: int, report: str = "", **more: Json) -> dict[str, Json]:
    settings: dict[str, Json] = {"TEST": "plain"}
    if report:
        settings["FEDERATED_REPORT"] = report
    return {"id": number, "state": "running", "result": "none", "settings": settings, **more}


def one(number: int, report: str = "", **more: Json) -> Said:
    return Said({"job": shown(number, report, **more)})


def listing(*jobs: dict[str, Json]) -> Said:
    return Said({"jobs": list(jobs)})


class Database:
    """Answers the list of jobs as openQA does: filtered, the newest first, at most `most` of them."""

    def __init__(self, *jobs: dict[str, Json], most: int = 100_000) -> None:
        self.jobs = {int(str(job["id"])): job for job in jobs}
        self.most = most

    def __call__(self, asked: Asked) -> Said:
        ids = asked.one("ids")
        wanted = set(self.jobs) if ids is None else set(map(int, ids.split(",")))
        low, high = int(asked.one("after") or 0), int(asked.one("before") or 10**9)
        found = sorted((number for number in wanted & self.jobs.keys() if low < number < high), reverse=True)
        limit = min(self.most, int(asked.one("limit") or 10_000))
        return listing(*(self.jobs[number] for number in sorted(found[:limit], key=str)))


async def test_a_job_is_created_plainly() -> None:
    async with jobs_on({CREATE: Said({"id": 7})}) as (jobs, site):
        new = NewJob("a", {"TEST": "t", "TEXT": "zwei\nZeilen & ∑=%", "EMPTY": ""})
        assert await jobs.create([new], group="Federated", group_id=3) == {"a": 7}
        assert site.asked[0].form == [
            ("is_clone_job", "1"),
            ("_GROUP", "Federated"),
            ("_GROUP_ID", "3"),
            ("TEST", "t"),
            ("TEXT", "zwei\nZeilen & ∑=%"),
            ("EMPTY", ""),
        ]


async def test_a_cluster_is_created_in_one_request() -> None:
    async with jobs_on({CREATE: Said({"ids": {"a": 7, "b": 8}})}) as (jobs, site):
        new = [NewJob("a", {"TEST": "t"}), NewJob("b", {"TEST": "t"}, parallel=("a",))]
        assert await jobs.create(new) == {"a": 7, "b": 8}
        assert ("_PARALLEL:b", "a") in site.asked[0].form
        assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Said({"error": "WORKER_CLASS missing"}, 400), Refused),
        (Said({"error": "x"}, 500), ServerFailed),
        (Said({"error": "busy"}, 503), Exception),
        (Said({}), Garbage),
        (Said({"id": "x"}), Garbage),
        (Said([1]), Garbage),
        (Said(b"<html>login</html>"), Garbage),
    ],
)
async def test_creating_is_never_repeated(answer: Said, error: type[Exception]) -> None:
    async with jobs_on({CREATE: answer}) as (jobs, site):
        with pytest.raises(error):
            await jobs.create([NewJob("a", {"TEST": "t"})])
        assert len(site.asked) == 1


async def test_an_answer_that_lacks_a_job_is_garbage() -> None:
    async with jobs_on({CREATE: Said({"ids": {"a": 7}})}) as (jobs, _):
        with pytest.raises(Garbage, match="without an id for b"):
            await jobs.create([NewJob("a", {"TEST": "t"}), NewJob("b", {"TEST": "t"})])


async def test_what_cannot_be_posted_is_not_sent() -> None:
    async with jobs_on({}) as (jobs, site):
        with pytest.raises(UnpostableJob):
            await jobs.create([NewJob("a", {})])
        assert not site.asked


async def test_a_job_is_found_by_its_setting_on_newer_releases() -> None:
    async with jobs_on({BY_VALUE: Said({"jobs": [8, 9, 7, 7]}), "GET /api/v1/jobs/9": one(9, REPORT)}) as (
        jobs,
        site,
    ):
        found = await jobs.find(REPORT, SETTINGS)
        assert found is not None
        assert found.id == 9
        assert site.log == [BY_VALUE, "GET /api/v1/jobs/9"]
        assert (site.asked[0].one("key"), site.asked[0].one("value")) == ("FEDERATED_REPORT", REPORT)


async def test_no_job_on_newer_releases_is_certain_at_once() -> None:
    async with jobs_on({BY_VALUE: Said({"jobs": []})}) as (jobs, site):
        assert await jobs.find(REPORT, SETTINGS) is None
        assert site.log == [BY_VALUE]


async def test_jobs_up_to_a_known_one_do_not_count() -> None:
    async with jobs_on({BY_VALUE: Said({"jobs": [7, 8]})}) as (jobs, _):
        assert await jobs.find(REPORT, SETTINGS, after=8) is None


async def test_a_job_that_was_deleted_meanwhile_does_not_hide_an_older_one() -> None:
    async with jobs_on(
        {
            BY_VALUE: Said({"jobs": [9, 8]}),
            "GET /api/v1/jobs/9": Said({"error_status": 404}, 404),
            "GET /api/v1/jobs/8": one(8, REPORT),
        }
    ) as (jobs, _):
        found = await jobs.find(REPORT, SETTINGS)
        assert found is not None
        assert found.id == 8


@pytest.mark.parametrize(
    "cannot",
    [
        OLD,
        Said(b"<html><title>Page not found</title></html>", 404),
        Said({"jobs": [3]}),  # the value was ignored
    ],
)
async def test_older_releases_are_looked_through(cannot: Said) -> None:
    database = Database(*(shown(number) for number in (2, 3, 10)), shown(5, REPORT), shown(4, REPORT))
    async with jobs_on({BY_VALUE: cannot, "GET /api/v1/jobs/3": one(3), JOBS: database}) as (jobs, site):
        found = await jobs.find(REPORT, SETTINGS, after=1)
        assert found is not None
        assert found.id == 5
        asked = site.asked_of(JOBS)[0]
        assert dict(asked.query) == {
            "test": "plain",
            "distri": "lab",
            "version": "1",
            "flavor": "tiny",
            "arch": "x86_64",
            "limit": "100",
            "after": "1",
        }


async def test_many_pages_are_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slave_jobs, "_PAGE", 7)
    database = Database(*(shown(number) for number in range(2, 60)), shown(1, REPORT))
    async with jobs_on({BY_VALUE: OLD, JOBS: database}) as (jobs, site):
        found = await jobs.find(REPORT, SETTINGS)
        assert found is not None
        assert found.id == 1
        assert len(site.asked_of(JOBS)) == 9
        assert await jobs.find("https://openqa.example/tests/4", SETTINGS) is None


async def test_a_server_may_have_a_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(*(shown(number) for number in range(2, 60)), shown(1, REPORT), most=10)
    async with jobs_on({BY_VALUE: OLD, JOBS: database}) as (jobs, _):
        found = await jobs.find(REPORT, SETTINGS)
        assert found is not None
        assert found.id == 1


async def test_too_many_jobs_are_no_certainty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slave_jobs, "_PAGE", 2)
    monkeypatch.setattr(slave_jobs, "_MOST_PAGES", 3)
    database = Database(*(shown(number) for number in range(1, 60)))
    async with jobs_on({BY_VALUE: OLD, JOBS: database}) as (jobs, _):
        with pytest.raises(SearchTooWide, match=r"more than 6 jobs of the scenario.*tests/42"):
            await jobs.find(REPORT, SETTINGS)


@pytest.mark.parametrize(
    ("routes", "error"),
    [
        ({BY_VALUE: Said({"error": "no api key"}, 403)}, Unauthorized),
        ({BY_VALUE: Said({"jobs": None})}, Garbage),
        (
            {
                BY_VALUE: Said(b"<html>"),
            },
            Garbage,
        ),
        ({BY_VALUE: OLD, JOBS: Said({"error": "x"}, 403)}, Unauthorized),
        ({BY_VALUE: OLD, JOBS: Said({"jobs": [{"id": 5, "state": []}]})}, Garbage),
        ({BY_VALUE: OLD, JOBS: Said({"jobs": [{"state": "running"}]})}, Garbage),
        ({BY_VALUE: OLD, JOBS: listing(shown(5))}, Garbage),  # `before` is ignored
    ],
)
async def test_an_error_is_never_taken_for_absence(
    routes: dict[str, Answer | list[Answer]], error: type[Exception]
) -> None:
    async with jobs_on(routes) as (jobs, _):
        with pytest.raises(error):
            await jobs.find(REPORT, SETTINGS)


async def test_restarts_are_followed() -> None:
    async with jobs_on(
        {
            BY_VALUE: Said({"jobs": [5]}),
            "GET /api/v1/jobs/5": one(5, REPORT, clone_id=6),
            "GET /api/v1/jobs/6": one(6, REPORT, clone_id=9),
            "GET /api/v1/jobs/9": one(9, REPORT),
        }
    ) as (jobs, _):
        found = await jobs.find(REPORT, SETTINGS)
        assert found is not None
        assert found.id == 9


async def test_a_deleted_restart_does_not_count() -> None:
    async with jobs_on(
        {
            "GET /api/v1/jobs/5": one(5, REPORT, clone_id=6),
            "GET /api/v1/jobs/6": Said({"error_status": 404}, 404),
        }
    ) as (jobs, _):
        assert (await jobs.latest_clone(await jobs.view(5))).id == 5


async def test_restarts_in_a_circle_are_garbage() -> None:
    async with jobs_on(
        {"GET /api/v1/jobs/5": one(5, clone_id=6), "GET /api/v1/jobs/6": one(6, clone_id=5)}
    ) as (jobs, _):
        with pytest.raises(Garbage, match="in a circle"):
            await jobs.latest_clone(await jobs.view(5))


async def test_the_newest_id() -> None:
    async with jobs_on({JOBS: [listing(shown(77)), listing()]}) as (jobs, site):
        assert await jobs.newest_id() == 77
        assert await jobs.newest_id() == 0
        assert site.asked[0].query == [("limit", "1")]


async def test_one_job() -> None:
    async with jobs_on(
        {
            "GET /api/v1/jobs/7": Said(recorded("job")),
            "GET /api/v1/jobs/8": Said(recorded("missing-job"), 404),
            "GET /api/v1/jobs/9": Said(recorded("job")),
        }
    ) as (jobs, _):
        job = await jobs.view(7)
        assert (job.id, job.state, job.result, job.test) == (7, "done", "passed", "plain")
        with pytest.raises(NotFound):
            await jobs.view(8)
        with pytest.raises(Garbage, match="answered with job 7"):
            await jobs.view(9)


async def test_many_jobs_in_one_request() -> None:
    async with jobs_on({JOBS: Said(recorded("jobs"))}) as (jobs, site):
        found = await jobs.views([7, 5])
        assert found.keys() == {5, 7}
        assert found[5].result == "user_cancelled"
        assert [module.result for module in found[5].modules].count("none") == 5
        assert found[7].modules[0].flags == {"fatal", "important"}
        assert site.asked[0].query == [("ids", "5,7"), ("limit", "2")]
        assert len(site.asked) == 1


async def test_no_jobs_no_request() -> None:
    async with jobs_on({}) as (jobs, site):
        assert await jobs.views([]) == {}
        assert not site.asked


async def test_several_hundred_jobs_in_few_requests() -> None:
    ids = range(12_345_000, 12_345_900)
    database = Database(*(shown(number) for number in ids))
    async with jobs_on({JOBS: database}) as (jobs, site):
        assert (await jobs.views(ids)).keys() == set(ids)
        assert len(site.asked) == 3
        for asked in site.asked:
            assert len(asked.one("ids") or "") < 6000


async def test_a_server_may_answer_less_than_was_asked_for() -> None:
    database = Database(*(shown(number) for number in range(1, 26)), most=10)
    async with jobs_on({JOBS: database}) as (jobs, site):
        assert len(await jobs.views(range(1, 26))) == 25
        assert len(site.asked) == 3


async def test_jobs_that_do_not_exist_are_left_out() -> None:
    async with jobs_on({JOBS: Database(shown(1))}) as (jobs, site):
        assert (await jobs.views([1, 2])).keys() == {1}
        assert [asked.one("ids") for asked in site.asked] == ["1,2", "2"]


async def test_a_job_that_makes_no_sense_hides_no_other() -> None:
    async with jobs_on({JOBS: listing(shown(1), {"id": 2, "state": {}})}) as (jobs, site):
        assert (await jobs.views([1, 2], policy=POLL)).keys() == {1}
        assert len(site.asked) == 1


async def test_jobs_nobody_asked_for_are_ignored() -> None:
    async with jobs_on({JOBS: listing(shown(1), shown(3))}) as (jobs, _):
        assert (await jobs.views([1])).keys() == {1}


async def test_cancelling() -> None:
    async with jobs_on(
        {
            "POST /api/v1/jobs/7/cancel": [Said({"error": "x"}, 500), Said({"result": None})],
            "POST /api/v1/jobs/8/cancel": Said({"error_status": 404}, 404),
            "POST /api/v1/jobs/9/cancel": Said({"error": "no api key"}, 403),
        }
    ) as (jobs, _):
        assert await jobs.cancel(7)
        assert not await jobs.cancel(8)
        with pytest.raises(Unauthorized):
            await jobs.cancel(9)


async def test_all_that_was_posted_for_a_master_job_and_can_still_run() -> None:
    ours = [
        shown(3, REPORT),
        shown(4, REPORT, state="scheduled"),
        shown(5, REPORT, state="done", result="passed"),
        shown(6, REPORT, origin_id=5),
        shown(7, "https://openqa.example/tests/43"),
    ]
    old = Database(*ours)
    async with jobs_on({BY_VALUE: OLD, JOBS: old}) as (jobs, site):
        assert await jobs.posted(REPORT, SETTINGS) == {3, 4}
        assert site.asked[-1].query[:2] == [("test", "plain"), ("distri", "lab")]
    by_value: dict[str, Answer | list[Answer]] = {BY_VALUE: Said({"jobs": [3, 4, 5, 6]})}
    singly: dict[str, Answer | list[Answer]] = {
        f"{JOBS}/{number}": Said({"job": job}) for number, job in zip((3, 4, 5, 6), ours, strict=False)
    }
    async with jobs_on({**by_value, **singly}) as (jobs, site):
        assert await jobs.posted(REPORT, SETTINGS) == {3, 4}
