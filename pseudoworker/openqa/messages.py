"""The messages of the worker websocket, both ways (OpenQA::WebSockets, OpenQA::Worker::CommandHandler).

`parse` reads what a master sends and never raises: whatever it cannot use becomes `InvalidGrab` (jobs that
have to be rejected, so that the master schedules them anew) or `Ignored` (to be logged). The builders make
what a worker sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pseudoworker.openqa.json import Json, NotJson, decode
from pseudoworker.openqa.values import flat_settings, positive_int

StopKind = Literal["cancel", "obsolete", "abort", "quit"]
Sequence = tuple["int | Sequence", ...]
"""Ids of directly chained jobs in order; a nested tuple is a sub-chain, skipped when its first job fails."""

_STOPS: dict[str, StopKind] = {"cancel": "cancel", "obsolete": "obsolete", "abort": "abort", "quit": "quit"}
_DEEPEST = 64


@dataclass(frozen=True)
class Grabbed:
    """A job that the master hands over."""

    id: int
    settings: Mapping[str, str] = field(repr=False)
    """All settings as text, JOBTOKEN and secrets included: never log them."""
    raw: Mapping[str, Json] = field(repr=False)
    """The job as received, to be sent back in `working`."""


@dataclass(frozen=True)
class GrabJob:
    """Take this job. The same id may come twice."""

    job: Grabbed


@dataclass(frozen=True)
class GrabJobs:
    """Take these directly chained jobs and run them in this order."""

    jobs: Mapping[int, Grabbed]
    sequence: Sequence


@dataclass(frozen=True)
class InvalidGrab:
    """A grab message that cannot be obeyed; the ids that could be read have to be rejected with the
    reason.
    """

    ids: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Stop:
    """Stop a job; `kind` says how (OpenQA::Constants WORKER_STOP_COMMANDS).

    `cancel` and `obsolete` upload logs and results, `abort` and `quit` nothing; `quit` also ends the worker.
    """

    kind: StopKind
    job_id: int | None
    """None when the master named no job; the stock worker then ignores the message."""


@dataclass(frozen=True)
class LiveLog:
    """Someone began (`start`) or stopped to watch the job."""

    start: bool
    job_id: int | None


@dataclass(frozen=True)
class DeveloperSession:
    """Someone opened a developer session for the job."""

    job_id: int | None


@dataclass(frozen=True)
class Info:
    """The master heard our status. Nothing has to be done."""


@dataclass(frozen=True)
class Incompatible:
    """The master refuses our websocket protocol version: stop."""


@dataclass(frozen=True)
class Ignored:
    """Nothing that a worker reacts to; `reason` says why."""

    reason: str


ServerMessage = (
    GrabJob | GrabJobs | InvalidGrab | Stop | LiveLog | DeveloperSession | Info | Incompatible | Ignored
)


def parse(text: str | bytes) -> ServerMessage:
    """What the master wants, from one websocket message. Never raises."""
    try:
        message = decode(text)
    except NotJson as error:
        return Ignored(f"no JSON: {error}")
    if not isinstance(message, dict):
        return Ignored("no JSON object")
    if message.get("result") is not None:
        return Ignored("answer to a message of ours")
    kind = message.get("type")
    job_id = positive_int(message.get("jobid"))
    if not isinstance(kind, str):
        return Ignored("no type")
    if kind in _STOPS:
        return Stop(_STOPS[kind], job_id)
    match kind:
        case "grab_job":
            return _grab_job(message.get("job"))
        case "grab_jobs":
            return _grab_jobs(message.get("job_info"))
        case "livelog_start" | "livelog_stop":
            return LiveLog(kind == "livelog_start", job_id)
        case "developer_session_start":
            return DeveloperSession(job_id)
        case "info":
            return Info()
        case "incompatible":
            return Incompatible()
    return Ignored(f"unknown type {kind[:40]!a}")


def free() -> dict[str, Json]:
    """The status of a worker that takes a job."""
    return {"type": "worker_status", "status": "free"}


def broken(reason: str) -> dict[str, Json]:
    """The status of a worker that takes no job now; the master's worker page shows the reason."""
    return {"type": "worker_status", "status": "broken", "reason": reason}


def working(host: str, job: Mapping[str, Json], pending_ids: Iterable[int] = ()) -> dict[str, Json]:
    """The status of a worker that has a job.

    `host` is the master as the worker knows it, `job` is `Grabbed.raw` (the master compares its id and its
    JOBTOKEN), `pending_ids` are jobs of the same `grab_jobs` that wait for their turn.
    """
    status: dict[str, Json] = {
        "type": "worker_status",
        "status": "working",
        "current_webui_host": host,
        "job": dict(job),
    }
    pending: dict[str, Json] = {str(job_id): 1 for job_id in pending_ids}
    if pending:
        status["pending_job_ids"] = pending
    return status


def accepted(job_id: int) -> dict[str, Json]:
    """We take the job: it goes from assigned to setup."""
    return {"type": "accepted", "jobid": job_id}


def rejected(job_ids: Iterable[int], reason: str) -> dict[str, Json]:
    """We do not take the jobs: the master schedules them anew."""
    return {"type": "rejected", "job_ids": list(job_ids), "reason": reason}


def quit_() -> dict[str, Json]:
    """We go away on purpose: the master sees us offline at once and schedules assigned jobs anew."""
    return {"type": "quit"}


def _grab_job(job: Json) -> ServerMessage:
    grabbed = _grabbed(job)
    if grabbed is None:
        job_id = positive_int(job.get("id")) if isinstance(job, dict) else None
        return InvalidGrab(() if job_id is None else (job_id,), "the provided job is invalid")
    return GrabJob(grabbed)


def _grab_jobs(job_info: Json) -> ServerMessage:
    data = job_info.get("data") if isinstance(job_info, dict) else None
    if not isinstance(job_info, dict) or not isinstance(data, dict):
        return InvalidGrab((), "the provided job info lacks job data")
    ids = tuple(job_id for job_id in map(positive_int, data) if job_id is not None)
    jobs: dict[int, Grabbed] = {}
    for key, job in data.items():
        grabbed = _grabbed(job)
        if grabbed is None or positive_int(key) != grabbed.id:
            return InvalidGrab(ids, "the provided job is invalid")
        jobs[grabbed.id] = grabbed
    sequence = _sequence(job_info.get("sequence"), jobs, set(), 0)
    if isinstance(sequence, str):
        return InvalidGrab(ids, sequence)
    return GrabJobs(jobs, sequence)


def _grabbed(job: Json) -> Grabbed | None:
    if not isinstance(job, dict):
        return None
    job_id = positive_int(job.get("id"))
    settings = flat_settings(job.get("settings"))
    if job_id is None or not settings:
        return None
    return Grabbed(job_id, settings, job)


def _sequence(items: Json, jobs: Mapping[int, Grabbed], seen: set[int], depth: int) -> Sequence | str:
    """The nested tuple, or what is wrong with it."""
    if not isinstance(items, list) or not items:
        return "job info lacks execution sequence"
    if depth > _DEEPEST:
        return f"execution sequence is nested deeper than {_DEEPEST}"
    sequence: list[int | Sequence] = []
    for item in items:
        if isinstance(item, list):
            nested = _sequence(item, jobs, seen, depth + 1)
            if isinstance(nested, str):
                return nested
            sequence.append(nested)
            continue
        job_id = positive_int(item)
        if job_id is None or job_id not in jobs:
            return f"job data for job {str(item)[:40]} is missing"
        if job_id in seen:
            return f"job {job_id} is in the execution sequence twice"
        seen.add(job_id)
        sequence.append(job_id)
    return tuple(sequence)
