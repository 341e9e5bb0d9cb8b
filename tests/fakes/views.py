"""Jobs, workers and assets as the JSON of the API shows them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Final

from tests.fakes.flavour import Flavour
from tests.fakes.model import FLAGS, MAIN_SETTINGS, OK, Asset, Document, Edge, Job, Module, Worker

_SECRET: Final = re.compile(r"^_SECRET_|_PASSWORD")
_COMMON_FILES: Final = (
    "vars.json",
    "autoinst-log.txt",
    "worker-log.txt",
    "worker_packages.txt",
    "backend.json",
    "serial0.txt",
)
_VIDEO: Final = re.compile(r"^video\.\w+$")


def job_view(jobs: Mapping[int, Job], job: Job, flavour: Flavour, group: str | None) -> Document:
    """A job as `GET jobs/<id>` shows it (Schema::Result::Jobs::to_hash)."""
    view: Document = {
        "id": job.id,
        "name": job.name,
        "priority": job.priority,
        "state": job.state,
        "result": job.result,
        "clone_id": job.clone_id,
        "t_started": stamp(job.t_started),
        "t_finished": stamp(job.t_finished),
        "group_id": job.group_id,
        "blocked_by_id": job.blocked_by_id,
        "settings": settings_view(job, redacted=flavour.redacts),
        "test": job.settings["TEST"],
        "parents": {edge.value: list(job.parents[edge]) for edge in Edge},
        "children": {edge.value: list(job.children[edge]) for edge in Edge},
        "has_parents": int(any(job.parents.values())),
        "parents_ok": 1 if _parents_ok(jobs, job) else flavour.parents_not_ok,
    }
    if group is not None:
        view["group"] = group
    if job.assigned is not None:
        view["assigned_worker_id"] = job.assigned.id
    if job.origin_id is not None:
        view["origin_id"] = job.origin_id
    if job.reason:
        view["reason"] = job.reason
    if job.assets:
        view["assets"] = {}
        for kind, name in job.assets:
            view["assets"].setdefault(kind, []).append(name)
    return view


def list_view(jobs: Mapping[int, Job], job: Job, flavour: Flavour, group: str | None) -> bytes:
    """A job as the list shows it, rendered, from the cache where nothing changed."""
    if (known := job.cache.get("list")) is not None:
        return known
    view = job_view(jobs, job, flavour, group)
    view["modules"] = [
        {
            "name": module.name,
            "category": module.category,
            "result": module.result,
            "flags": [
                flag
                for flag in FLAGS
                if flag in module.flags and (flag != "always_run" or flavour.always_run)
            ],
        }
        for module in job.modules.values()
    ]
    job.cache["list"] = rendered = json.dumps(view).encode()
    return rendered


def show_view(jobs: Mapping[int, Job], job: Job, flavour: Flavour, group: str | None) -> bytes:
    """The answer to `GET jobs/<id>`, rendered."""
    if (known := job.cache.get("show")) is not None:
        return known
    job.cache["show"] = rendered = json.dumps({"job": job_view(jobs, job, flavour, group)}).encode()
    return rendered


def details_view(jobs: Mapping[int, Job], job: Job, flavour: Flavour, group: str | None) -> bytes:
    """The answer to `GET jobs/<id>/details`, rendered."""
    if (known := job.cache.get("details")) is not None:
        return known
    view = job_view(jobs, job, flavour, group)
    view["testresults"], category = [], None
    for module in job.modules.values():
        entry = _module_view(job, module, flavour)
        if module.category != category or flavour.every_category:
            entry["category"] = category = module.category
        view["testresults"].append(entry)
    view["logs"] = [name for name in job.files if _VIDEO.match(name)]
    view["logs"] += [name for name in _COMMON_FILES if name in job.files]
    view["logs"] += [
        name for name in ("serial_terminal.txt", "serial_terminal_user.txt") if job.files.get(name)
    ]
    view["ulogs"] = sorted(job.ulogs)
    job.cache["details"] = rendered = json.dumps({"job": view}).encode()
    return rendered


def _module_view(job: Job, module: Module, flavour: Flavour) -> Document:
    document = module.details or {}
    steps = document.get("details")
    entry: Document = {
        "name": module.name,
        "result": module.result,
        "details": [_step_view(job, step, number) for number, step in enumerate(steps, 1)]
        if isinstance(steps, list)
        else [],
        "has_parser_text_result": 0,
        "execution_time": _words(document.get("execution_time")),
    }
    for flag in FLAGS[:4] + (("always_run",) if flavour.always_run else ()):
        entry[flag] = int(flag in module.flags)
    return entry


def _step_view(job: Job, step: Document, number: int) -> Document:
    view = dict(step)
    text = step.get("text")
    if text and step.get("text_data") is None:
        content = job.files.get(text)
        view["text_data"] = (
            f"Unable to read {text}." if content is None else content.decode("utf-8", "replace")
        )
    md5 = job.screenshots.get(step.get("screenshot") or "")
    if md5 is not None:
        view["md5_dirname"], view["md5_basename"] = f"{md5[:3]}/{md5[3:6]}", f"{md5[6:]}.png"
    result = step.get("result")
    view["num"] = number
    view["display_title"] = (step.get("title") if text else step.get("name")) or ""
    view["is_parser_text_result"] = 0
    view["resborder"] = f"resborder_{result if isinstance(result, str) and result else 'unk'}"
    return view


def settings_view(job: Job, *, redacted: bool = False) -> dict[str, str]:
    """All settings of a job, its key words and NAME among them."""
    settings = {key: value for key, value in job.settings.items() if value or key not in MAIN_SETTINGS}
    settings["NAME"] = f"{job.id:08d}-{job.name}"
    if redacted:
        settings = {key: "[redacted]" if _SECRET.search(key) else value for key, value in settings.items()}
    return settings


def grab_view(job: Job, group: str | None, updated: Mapping[str, str], *, alone: bool) -> Document:
    """A job as a worker gets it (prepare_for_work), `alone` or as one of several directly chained ones."""
    worker_id = job.assigned.id if job.assigned else None
    view: Document = {
        "id": job.id,
        "name": job.name,
        "priority": job.priority,
        "state": job.state,
        "result": job.result,
        "clone_id": job.clone_id,
        "t_started": None,
        "t_finished": None,
        "group_id": job.group_id,
        "blocked_by_id": job.blocked_by_id,
        "assigned_worker_id": worker_id if alone else str(worker_id),
        "settings": {**settings_view(job), **updated, "JOBTOKEN": job.token},
        "test": job.settings["TEST"],
    }
    if group is not None:
        view["group"] = group
    if job.origin_id is not None:
        view["origin_id"] = job.origin_id
    if job.assets:
        view["assets"] = {}
        for kind, name in job.assets:
            view["assets"].setdefault(kind, []).append(name)
    return view


def worker_view(worker: Worker, timeout: float, *, live: bool) -> Document:
    """A worker as `GET workers` shows it (Schema::Result::Workers::info)."""
    dead = is_dead(worker, timeout)
    if dead:
        status = "dead"
    elif worker.error:
        status = "broken"
    else:
        status = "running" if worker.job is not None else "idle"
    view: Document = {
        "id": worker.id,
        "host": worker.host,
        "instance": worker.instance,
        "status": status,
        "error": worker.error,
        "properties": dict(worker.properties),
        "alive": int(not dead),
        "connected": int(not dead),
        "websocket": int(live and not dead),
    }
    if worker.job is not None:
        view["jobid"] = worker.job.id
        running = [module.name for module in worker.job.modules.values() if module.result == "running"]
        if running:
            view["currentstep"] = running[-1]
    return view


def asset_view(asset: Asset) -> Document:
    """An asset as `GET assets` shows it: the row of the table."""
    return {
        "id": asset.id,
        "type": asset.type,
        "name": asset.name,
        "size": asset.size,
        "checksum": None,
        "fixed": 0,
        "last_use_job_id": None,
        "t_created": (stamp(asset.modified) or "").replace("T", " "),
        "t_updated": (stamp(asset.modified) or "").replace("T", " "),
    }


def is_dead(worker: Worker, timeout: float) -> bool:
    """Whether nothing was heard of a worker for too long."""
    return worker.t_seen is None or time.monotonic() - worker.t_seen > timeout


def stamp(seconds: float | None) -> str | None:
    """A time as the API writes it: UTC without a zone."""
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _parents_ok(jobs: Mapping[int, Job], job: Job) -> bool:
    good = job.result not in ("skipped", "parallel_failed", "parallel_restarted")
    if good and job.final:
        parents = (jobs[parent] for edge in Edge for parent in job.parents[edge] if parent in jobs)
        good = all(parent.result in OK for parent in parents)
    return good


def _words(seconds: object) -> str | None:
    if not seconds or not str(seconds).isdigit():
        return None
    rest, words = int(str(seconds)), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if rest // size:
            words.append(f"{rest // size}{unit}")
        rest %= size
    return " ".join(words)
