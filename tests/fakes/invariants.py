"""What must never happen, however the bridge was killed or cut off in between."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.fakes.model import Job

if TYPE_CHECKING:
    from tests.fakes.server import FakeOpenQA


def violations(server: FakeOpenQA) -> list[str]:
    """All that is wrong with what arrived, in words; empty when every promise was kept."""
    found = []
    reports: Counter[str] = Counter()
    for job in server.db.jobs.values():
        found += _of_job(server, job)
        report_url = job.settings.get("FEDERATED_REPORT")
        if report_url and job.origin_id is None:
            reports[report_url] += 1
    found += [f"{count} jobs for {url}" for url, count in reports.items() if count > 1]
    return found


def _of_job(server: FakeOpenQA, job: Job) -> list[str]:
    report, found = job.report, []
    if len(report.ends) > 1:
        found.append(f"job {job.id}: {len(report.ends)} set_done")
    names = (*job.files, *job.ulogs, *(name for _, name in job.assets))
    found += [
        f"job {job.id}: unsafe file name {name!r}" for name in names if "/" in name or name in (".", "..")
    ]
    if job.state != "done" or not report.ends:
        return found
    if report.late:
        found.append(f"job {job.id}: after its end came {', '.join(report.late)}")
    found += [f"job {job.id}: {missing}" for missing in missing_contents(server, job)]
    return found


def missing_contents(server: FakeOpenQA, job: Job) -> list[str]:
    """What the details of a job's modules name, and the instance does not have."""
    found = []
    for module in job.modules.values():
        steps = (module.details or {}).get("details")
        for step in steps if isinstance(steps, list) else []:
            shot = step.get("screenshot")
            if isinstance(shot, str):
                md5 = job.screenshots.get(shot, "")
                found += [f"no image for {shot}"] if md5 not in server.db.images else []
                found += [f"no thumbnail for {shot}"] if md5 not in server.db.thumbs else []
            for kind in ("text", "audio"):
                name = step.get(kind)
                if name and name not in job.files and step.get("text_data") is None:
                    found.append(f"no file {name}")
    return found
