"""The form in which jobs are posted to openQA, one or several with their dependencies: pure, no network.

`OpenQA::WebAPI::Controller::API::V1::Job`, `create`: a parameter `KEY:<suffix>=value` belongs to the job with
that suffix (split at the *last* colon, `_eval_param_grouping`), a parameter without colon to all;
`_PARALLEL:b=a` and its like name other suffixes of the same request (`_eval_dependency`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pseudoworker.errors import PseudoworkerError


class UnpostableJob(PseudoworkerError):
    """A job's settings cannot be posted to openQA such that the job gets just these settings."""


@dataclass(frozen=True)
class NewJob:
    """A job to be created."""

    key: str
    """Names the job within the request and in its answer; letters, digits, `_` and `-`."""
    settings: Mapping[str, str]
    parallel: tuple[str, ...] = ()
    """Keys of its parallel parents within the request."""
    start_after: tuple[str, ...] = ()
    """Keys of the jobs within the request that must have passed before it starts (chained)."""
    start_directly_after: tuple[str, ...] = ()
    """Keys of the jobs within the request that it follows on the same worker (directly chained)."""
    start_after_jobs: tuple[int, ...] = ()
    """Ids of existing jobs that must have passed before it starts."""


_KEY = re.compile(r"[A-Za-z0-9_-]+")

# Parameters that openQA reads as instructions when a job is posted; as settings of a job they would change
# other things.
_INSTRUCTIONS = frozenset(
    {
        "IS_CLONE_JOB",
        "_PARALLEL",
        "_PARALLEL_JOBS",
        "_START_AFTER",
        "_START_AFTER_JOBS",
        "_START_DIRECTLY_AFTER",
        "_START_DIRECTLY_AFTER_JOBS",
        "_GROUP",
        "_GROUP_ID",
        "GROUP_ID",
    }
)


def form_fields(
    jobs: Sequence[NewJob], *, group: str = "", group_id: int | None = None
) -> tuple[list[tuple[str, str]], bool]:
    """Return the form fields that create these jobs, and whether the plain form is used, which is answered
    with one `id`.

    `is_clone_job` makes openQA take the settings as they are. One job alone is posted plainly, unless a
    setting's name holds a colon, which only the form with suffixes can carry.

    :raises UnpostableJob: naming the job and the setting.
    """
    keys = [job.key for job in jobs]
    if not jobs or len(set(keys)) != len(keys):
        raise UnpostableJob(f"jobs to create need one key each, not {keys}")
    for job in jobs:
        _check(job, frozenset(keys))
    single = len(jobs) == 1 and not any(":" in name for name in jobs[0].settings)
    fields = [("is_clone_job", "1")]
    fields += [("_GROUP", group)] if group else []
    fields += [("_GROUP_ID", str(group_id))] if group_id is not None else []
    for job in jobs:
        suffix = "" if single else f":{job.key}"
        fields += [(f"{name}{suffix}", value) for name, value in {**job.settings, **_edges(job)}.items()]
    return fields, single


def _edges(job: NewJob) -> dict[str, str]:
    edges = {
        "_PARALLEL": ",".join(job.parallel),
        "_START_AFTER": ",".join(job.start_after),
        "_START_DIRECTLY_AFTER": ",".join(job.start_directly_after),
        "_START_AFTER_JOBS": ",".join(map(str, job.start_after_jobs)),
    }
    return {name: value for name, value in edges.items() if value}


def _check(job: NewJob, keys: frozenset[str]) -> None:
    if not _KEY.fullmatch(job.key):
        raise UnpostableJob(f"{job.key!r} cannot name a job in a request: use letters, digits, _ and -")
    for other in (*job.parallel, *job.start_after, *job.start_directly_after):
        if other not in keys or other == job.key:
            raise UnpostableJob(
                f"job {job.key} depends on {other!r}, which is no other job of the same request"
            )
    if not job.settings.get("TEST"):
        raise UnpostableJob(f"job {job.key} has no setting TEST, without which openQA creates no job")
    upper: dict[str, str] = {}
    for name in job.settings:
        if not name or name.upper() in _INSTRUCTIONS:
            raise UnpostableJob(
                f"job {job.key} has the setting {name!r}, which openQA would take for an instruction"
            )
        # openQA makes names upper case (`_create_job`), so of two that differ in case only one would survive.
        if name.upper() in upper:
            raise UnpostableJob(f"job {job.key} has both settings {upper[name.upper()]!r} and {name!r}")
        upper[name.upper()] = name
