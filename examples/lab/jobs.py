"""Posting the lab's jobs, and waiting for their end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Any

from examples.lab.api import ApiError, OpenqaApi
from examples.lab.errors import LabError
from examples.lab.layout import Instance
from examples.lab.variants import VARIANTS

FINAL_STATES = ("done", "cancelled")


def post(instance: Instance, variant: str, **settings: object) -> dict[str, int]:
    """Posts a variant's jobs and returns their ids by suffix, a single job's under "".

    `settings` are added to all of its jobs, or to the one named after a colon (`**{"TEST:child": "x"}`).
    Raises LabError for an unknown variant and ApiError when the instance refuses.
    """
    if variant not in VARIANTS:
        raise LabError(f"there is no variant {variant!r}, only {', '.join(VARIANTS)}")
    own = {key: str(value) for key, value in settings.items()}
    parameters = VARIANTS[variant].parameters(own, secrets.token_hex(4))
    answer = OpenqaApi(instance.url, instance.operator).post("jobs", parameters)
    if "ids" in answer:
        return {suffix: int(job_id) for suffix, job_id in answer["ids"].items()}
    return {"": int(answer["id"])}


def wait_until_done(instance: Instance, job_ids: Iterable[int], limit: float = 600.0) -> dict[int, Any]:
    """Waits until the jobs have ended; returns what GET jobs says of each, by id.

    A web UI that does not answer for a while, as in tests of faults, does not end the waiting. Raises
    LabError, naming the states, when a job has not ended within `limit` seconds, and ApiError when the
    instance refuses the question.
    """
    wanted = list(job_ids)
    api = OpenqaApi(instance.url)
    end = time.monotonic() + limit
    jobs: dict[int, Any] = {}
    trouble = ""
    while True:
        try:
            listed = api.get("jobs", ids=",".join(map(str, wanted)))["jobs"]
        except ApiError as error:
            if error.status:
                raise
            trouble = f" ({error})"
        else:
            trouble = ""
            jobs = {int(job["id"]): job for job in listed}
        if len(jobs) == len(wanted) and all(job["state"] in FINAL_STATES for job in jobs.values()):
            return jobs
        if time.monotonic() > end:
            states = ", ".join(f"{job_id} {jobs[job_id]['state']}" for job_id in wanted if job_id in jobs)
            raise LabError(f"not ended after {limit:.0f} s on {instance.name}: {states}{trouble}")
        time.sleep(0.5)
