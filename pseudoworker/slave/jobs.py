"""Jobs on the slave: create them, find them again, look at them, stop them."""

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import Garbage, NotFound, Refused
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.retry import CANCEL, CREATE, POLL, READ, Policy
from pseudoworker.openqa.states import FINAL_STATES
from pseudoworker.openqa.values import positive_int
from pseudoworker.openqa.views import JobView, Known, parse_job, parse_jobs
from pseudoworker.slave.posting import NewJob, form_fields

__all__ = ["FEDERATED_REPORT", "NewJob", "SearchTooWide", "SlaveJobs"]

log = logging.getLogger(__name__)

FEDERATED_REPORT = "FEDERATED_REPORT"
"""The setting of a slave job that names the master job it runs: its URL."""

_JOBS = "/api/v1/jobs"

# The columns of a job that `GET jobs` filters by (`ResultSet/Jobs.pm`, `_prepare_complex_query_search_args`).
_SCENARIO = ("TEST", "DISTRI", "VERSION", "FLAVOR", "ARCH", "MACHINE", "BUILD")

_LONGEST_IDS = 4000
"""Characters of ids in one URL; web servers refuse request lines of 8 kB. That is about 360 ids of eight
digits."""
_MOST_IDS = 400
_PAGE = 100
_MOST_PAGES = 100
_MOST_CLONES = 100


class SearchTooWide(PseudoworkerError):
    """The slave has so many jobs of the same scenario that not all were looked at: whether ours exists is not
    known."""


class _CannotSearchSettings(PseudoworkerError):
    """This release of openQA does not find jobs by the value of a setting."""


@dataclass(frozen=True)
class _Answer:
    """What one request for several jobs brought."""

    jobs: Mapping[int, JobView]
    broken: Mapping[int, Garbage] = field(default_factory=dict)


class SlaveJobs:
    """The slave's jobs, as an API client with operator rights sees them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._polled: Known = {}
        """What the last poll brought: most of it comes again unchanged each time."""

    async def create(
        self, jobs: Sequence[NewJob], *, group: str = "", group_id: int | None = None
    ) -> dict[str, int]:
        """Create jobs with their dependencies in one transaction: all of them or none.

        Never repeated. After any `OpenQAError` other than `Refused` the jobs may exist nevertheless: look
        with `find`.

        :param group: name of a job group; a group that does not exist is ignored by openQA.
        :return: the new job's id by the key of each.
        :raises UnpostableJob: a job cannot be expressed as a request; nothing was sent.
        :raises Refused: the slave did not accept a job, and created none.
        """
        fields, single = form_fields(jobs, group=group, group_id=group_id)
        answer = await self._client.post_form(_JOBS, fields, policy=CREATE)
        ids = _created(answer, jobs[0].key if single else None)
        missing = [job.key for job in jobs if job.key not in ids]
        if missing:
            raise Garbage(
                f"answered without an id for {', '.join(missing)}", method="POST", url=self._url(_JOBS)
            )
        return ids

    async def find(self, report_url: str, settings: Mapping[str, str], *, after: int = 0) -> JobView | None:
        """Return the newest job made for a master job, or None when it is certain that there is none.

        Newer releases (September 2025) are asked by the setting itself. Older ones can search settings by
        bare words only (`API/V1/JobSettings.pm`), so there all jobs of the same scenario are looked through,
        newest first.

        :param report_url: the exact value of FEDERATED_REPORT that the job was created with.
        :param settings: the settings it was created with.
        :param after: only jobs with a greater id, to bound the search (see `newest_id`).
        :raises SearchTooWide: there were too many to look at all.
        """
        try:
            job = await self._find_by_setting(report_url, after)
        except _CannotSearchSettings as reason:
            log.debug(
                "%s cannot search jobs by a setting's value (%s): looking through them",
                self._client.url,
                reason,
            )
            job = await self._scan(report_url, settings, after)
        return None if job is None else await self.latest_clone(job)

    async def posted(self, report_url: str, settings: Mapping[str, str]) -> frozenset[int]:
        """The ids of the jobs that were posted for a master job and can still be run, restarts not counted.

        Where settings can not be searched only the newest hundred jobs of the scenario are looked at.
        """
        try:
            jobs = [job async for job in self._by_setting(report_url)]
        except _CannotSearchSettings:
            answer = await self._list([*_scenario(settings), ("limit", str(_PAGE))], READ)
            jobs = [job for job in answer.jobs.values() if job.settings.get(FEDERATED_REPORT) == report_url]
        return frozenset(job.id for job in jobs if job.origin_id is None and job.state not in FINAL_STATES)

    async def newest_id(self) -> int:
        """Return the id of the slave's newest job, 0 when it has none. A job created later has a greater
        one."""
        answer = await self._client.get_json(_JOBS, policy=READ, params=[("limit", "1")])
        return max((job.id for job in parse_jobs(answer, url=self._url(_JOBS))), default=0)

    async def latest_clone(self, job: JobView) -> JobView:
        """Follow restarts of a job to the one that counts; a clone that was deleted again does not."""
        seen = {job.id}
        while job.clone_id is not None:
            if job.clone_id in seen or len(seen) > _MOST_CLONES:
                raise Garbage(
                    f"job {job.id} was restarted as {job.clone_id} in a circle or too often",
                    url=self._url(_JOBS),
                )
            seen.add(job.clone_id)
            try:
                job = await self.view(job.clone_id)
            except NotFound:
                break
        return job

    async def view(self, job_id: int, *, policy: Policy = READ) -> JobView:
        """Fetch one job, without its modules (`GET jobs/<id>` has none). Raises `NotFound` when it does not
        exist."""
        path = f"{_JOBS}/{job_id}"
        job = parse_job(await self._client.get_json(path, policy=policy), url=self._url(path))
        if job.id != job_id:
            raise Garbage(f"answered with job {job.id}", method="GET", url=self._url(path))
        return job

    async def views(self, job_ids: Iterable[int], *, policy: Policy = POLL) -> dict[int, JobView]:
        """Fetch many jobs, modules included, in as few requests as URLs allow; jobs that do not exist are
        left out.

        A job whose description makes no sense is left out too; `view` of it raises `Garbage`.
        """
        found: dict[int, JobView] = {}
        known = self._polled if policy is POLL else None
        for part in _parts(sorted(set(job_ids))):
            wanted = list(part)
            while wanted:
                answer = await self._list(
                    [("ids", ",".join(map(str, wanted))), ("limit", str(len(wanted)))], policy, known
                )
                new = {job_id: job for job_id, job in answer.jobs.items() if job_id in wanted}
                for job_id, error in answer.broken.items():
                    log.debug("job %d of the slave makes no sense: %s", job_id, error)
                found.update(new)
                wanted = [job_id for job_id in wanted if job_id not in new and job_id not in answer.broken]
                # A limit of the server's own may have cut the answer; as long as jobs come, there may be
                # more.
                if not new:
                    break
        if known is not None:
            self._polled = {job_id: known[job_id] for job_id in found if job_id in known}
        return found

    async def cancel(self, job_id: int, *, policy: Policy = CANCEL) -> bool:
        """Cancel a job, and with it its parallel cluster. Doing it twice, or to a finished job, changes
        nothing.

        :return: False when the job does not exist (any more).
        """
        try:
            await self._client.post_form(f"{_JOBS}/{job_id}/cancel", [], policy=policy)
        except NotFound:
            return False
        return True

    async def _find_by_setting(self, report_url: str, after: int) -> JobView | None:
        """Ask for the setting itself."""
        async for job in self._by_setting(report_url, after):
            return job
        return None

    async def _by_setting(self, report_url: str, after: int = 0) -> AsyncIterator[JobView]:
        """All jobs with the setting, newest first."""
        path = "/api/v1/job_settings/jobs"
        params = [("key", FEDERATED_REPORT), ("value", report_url)]
        try:
            answer = await self._client.get_json(path, policy=READ, params=params)
        except Refused as error:
            # 400: `list_value` is required (until September 2025). 404: no such route (before 2022).
            if error.status in (400, 404):
                raise _CannotSearchSettings(str(error)) from error
            raise
        listed = answer.get("jobs") if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise Garbage("answered without a list of jobs", method="GET", url=self._url(path))
        ids = {job_id for job_id in map(positive_int, listed) if job_id is not None and job_id > after}
        for job_id in sorted(ids, reverse=True):
            try:
                job = await self.view(job_id)
            except NotFound:
                continue  # deleted meanwhile
            if job.settings.get(FEDERATED_REPORT) != report_url:
                raise _CannotSearchSettings("it ignored the value")
            yield job

    async def _scan(self, report_url: str, settings: Mapping[str, str], after: int) -> JobView | None:
        """Look through the jobs of the scenario, page by page, from the newest down to `after`."""
        scenario = _scenario(settings)
        before: int | None = None
        for _ in range(_MOST_PAGES):
            params = [*scenario, ("limit", str(_PAGE))]
            params += [("after", str(after))] if after else []
            params += [("before", str(before))] if before is not None else []
            answer = await self._list(params, READ)
            if answer.broken:
                raise next(iter(answer.broken.values()))
            ours = [job for job in answer.jobs.values() if job.settings.get(FEDERATED_REPORT) == report_url]
            if ours:
                return max(ours, key=lambda job: job.id)
            if not answer.jobs:
                return None
            lowest = min(answer.jobs)
            if before is not None and lowest >= before:
                raise Garbage("ignores `before`", method="GET", url=self._url(_JOBS))
            before = lowest
        raise SearchTooWide(
            f"{self._url(_JOBS)} has more than {_MOST_PAGES * _PAGE} jobs of the scenario {scenario};"
            f" none of the newest was made for {report_url}"
        )

    async def _list(
        self, params: list[tuple[str, str]], policy: Policy, known: Known | None = None
    ) -> _Answer:
        broken: dict[int, Garbage] = {}
        url = self._url(_JOBS)

        def note(job_id: int | None, error: Garbage) -> None:
            if job_id is None:
                raise error
            broken[job_id] = error

        answer = await self._client.get_json(_JOBS, policy=policy, params=params)
        jobs = parse_jobs(answer, url=url, broken=note, known=known)
        return _Answer({job.id: job for job in jobs}, broken)

    def _url(self, path: str) -> str:
        return self._client.url_of(path)


def _scenario(settings: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(key.lower(), settings[key]) for key in _SCENARIO if settings.get(key)]


def _created(answer: Json, single_key: str | None) -> dict[str, int]:
    """Read the ids of new jobs: `{"id": 1}` for a plain post, `{"ids": {"a": 1}}` for one with suffixes."""
    if not isinstance(answer, dict):
        return {}
    if single_key is not None:
        listed: Json = {single_key: answer.get("id")}
    else:
        listed = answer.get("ids")
    ids = {key: positive_int(value) for key, value in listed.items()} if isinstance(listed, dict) else {}
    return {key: job_id for key, job_id in ids.items() if job_id is not None}


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut ids into parts that fit into one URL each, a comma there taking three characters (`%2C`)."""
    part: list[int] = []
    length = 0
    for job_id in ids:
        size = len(str(job_id)) + 3
        if part and (length + size > _LONGEST_IDS or len(part) >= _MOST_IDS):
            yield part
            part, length = [], 0
        part.append(job_id)
        length += size
    if part:
        yield part
