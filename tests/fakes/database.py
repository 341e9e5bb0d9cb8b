"""The tables of one instance, and the changes of a job that several routes share (Schema::Result::Jobs)."""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.fakes import clusters
from tests.fakes.flavour import Flavour
from tests.fakes.model import EXECUTION, OK, PRISTINE, RESULTS, Asset, Document, Edge, Job, Worker

_DEPENDENCY_SETTINGS: Final = {
    "_START_AFTER": Edge.CHAINED,
    "_START_DIRECTLY_AFTER": Edge.DIRECTLY_CHAINED,
    "_PARALLEL": Edge.PARALLEL,
}
_ASSET_SETTING: Final = re.compile(
    r"^(ISO(_\d+)?|HDD_\d+|UEFI_PFLASH_(CODE|VARS)|REPO_\d+|ASSET_\d+|KERNEL|INITRD)$"
)
_AUTO_CLONE: Final = re.compile(
    r"^(cache failure: |terminated prematurely: |backend died: .*VNC.*(timeout|refused))"
)


class BadRequest(Exception):
    """What the API answers with 400; the text is the error."""


@dataclass(eq=False)
class Database:
    """Jobs, workers and assets of one instance, in memory."""

    flavour: Flavour
    auto_clone: re.Pattern[str] = _AUTO_CLONE
    """Reasons of incomplete jobs that make the instance clone them by itself."""
    finalize_after: float | None = 0.2
    """Seconds from a job's end until its text files move into the details; None keeps them as they are."""
    jobs: dict[int, Job] = field(default_factory=dict)
    scheduled: dict[int, Job] = field(default_factory=dict)
    """The jobs in state `scheduled`, by id."""
    workers: dict[int, Worker] = field(default_factory=dict)
    assets: dict[tuple[str, str], Asset] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)
    thumbs: dict[str, bytes] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=lambda: {1: "fake"})
    gone: set[int] = field(default_factory=set)
    """Ids of jobs that were deleted."""
    wake: Callable[[], None] = lambda: None
    """Tells the scheduler that something changed."""
    on_end: list[Callable[[Job], None]] = field(default_factory=list)
    _next_job: int = 1
    _next_asset: int = 1

    def create(self, parameters: Iterable[tuple[str, str]]) -> Document:
        """Create jobs from the parameters of `POST jobs`; the answer is its JSON. Raises `BadRequest`."""
        common: dict[str, str] = {}
        grouped: dict[str, dict[str, str]] = {}
        for key, value in parameters:
            name, colon, suffix = key.rpartition(":")
            target = grouped.setdefault(suffix, {}) if colon else common
            target[(name if colon else key).upper()] = value.replace("%2F", "/")
        common.pop("IS_CLONE_JOB", None)
        wanted = {suffix: common | own for suffix, own in grouped.items()} or {"": common}
        self._check(wanted)
        # Perl's hashes have no order: whoever relies on one of the ids is wrong.
        order = sorted(wanted)
        random.Random(self._next_job).shuffle(order)
        jobs = {suffix: self._insert(wanted[suffix]) for suffix in order}
        for suffix, settings in wanted.items():
            for name, edge in _DEPENDENCY_SETTINGS.items():
                for parent in _listed(settings.get(name) if grouped else None):
                    self.link(jobs[parent], jobs[suffix], edge)
        for job in jobs.values():
            self.block(job)
        self.wake()
        if grouped:
            return {"ids": {suffix: job.id for suffix, job in jobs.items()}}
        return {"id": jobs[""].id}

    def _check(self, wanted: Mapping[str, Mapping[str, str]]) -> None:
        for settings in wanted.values():
            if not settings.get("TEST"):
                raise BadRequest("TEST field mandatory")
            for name in _DEPENDENCY_SETTINGS:
                for parent in _listed(settings.get(name)):
                    if parent not in wanted and "" not in wanted:
                        raise BadRequest(
                            f"Specified dependency '{parent}' does not relate to a present job-suffix."
                        )

    def _insert(self, settings: Mapping[str, str]) -> Job:
        kept = {key: value for key, value in settings.items() if key not in _DEPENDENCY_SETTINGS}
        job = Job(self._next_job, kept)
        self._next_job += 1
        group = kept.pop("_GROUP_ID", None) or self._group_id(kept.pop("_GROUP", None))
        if group and int(group) in self.groups:
            job.group_id = int(group)
        kept.setdefault("WORKER_CLASS", f"qemu_{kept.get('ARCH', 'x86_64')}")
        self.jobs[job.id] = self.scheduled[job.id] = job
        for name, edge in _DEPENDENCY_SETTINGS.items():
            for parent in _listed(kept.pop(f"{name}_JOBS", None)):
                self.link(self.jobs[int(parent)], job, edge)
        self.register_assets(job)
        return job

    def _group_id(self, name: str | None) -> str | None:
        return next((str(group) for group, known in self.groups.items() if known == name), None)

    def link(self, parent: Job, child: Job, edge: Edge) -> None:
        """Make one job depend on another."""
        parent.children[edge].append(child.id)
        child.parents[edge].append(parent.id)
        parent.touch()
        child.touch()

    def block(self, job: Job) -> None:
        """Work out which unfinished parent a job waits for (calculate_blocked_by)."""
        job.blocked_by_id = clusters.blocked_by(self.jobs, job)
        job.touch()

    def reschedule(self, job: Job) -> bool:
        """Put a job back that was only assigned (reschedule_state)."""
        if job.state not in PRISTINE:
            return False
        if job.assigned is not None:
            job.assigned.jobs.pop(job.id, None)
        job.result, job.t_started, job.assigned, job.token = "none", None, None, ""
        if job.worker is not None:
            job.worker.tie(None)
        job.enter("scheduled")
        self.scheduled[job.id] = job
        self.wake()
        return True

    def enter(self, job: Job, state: str) -> None:
        """Change the state, keeping the list of scheduled jobs and those who wait for this one right."""
        job.enter(state)
        if state != "scheduled":
            self.scheduled.pop(job.id, None)
        if job.final:
            for child in self._children(job):
                child.touch()
            self.wake()

    def _children(self, job: Job) -> list[Job]:
        ids = (child for edge in Edge for child in job.children[edge])
        return [self.jobs[child] for child in ids if child in self.jobs]

    def _unblock(self, job: Job) -> None:
        """Look again at those who wait for this one: its children and what starts together with them."""
        for child in self._children(job):
            for waiting in clusters.parallel(self.jobs, child):
                if waiting.blocked_by_id == job.id:
                    self.block(waiting)

    def done(
        self, job: Job, result: str | None = None, reason: str | None = None, *, newbuild: bool = False
    ) -> str:
        """End a job (Schema::Result::Jobs::done); answers its result. Raises `BadRequest`."""
        if newbuild:
            result = "obsoleted"
        elif result:
            result = result.lower()
            if result not in RESULTS:
                raise BadRequest("Erroneous parameters (result invalid)\n")
        else:
            result = job.calculate_result()
        job.token = ""
        if job.worker is not None:
            job.worker.tie(None)
        decided, restart = job.result == "none", False
        if (decided or not job.reason) and reason is not None:
            restart = result == "incomplete" and bool(self.auto_clone.search(reason))
            job.reason = reason if len(reason) <= 300 else reason[:300] + "\N{HORIZONTAL ELLIPSIS}"
            if restart and self.flavour.late_clone:
                job.reason += ' [Auto-restarting because reason matches the configured "auto_clone_regex".]'
        elif not job.reason and reason is None and result == "incomplete":
            job.reason = "no test modules scheduled/uploaded"
        if decided:
            job.result = result
        self.enter(job, "done")
        self._unblock(job)
        if restart:
            self.restart_soon(job)
        if decided and result not in OK:
            self.stop_cluster(job)
        self._ended(job)
        return job.result

    def restart_soon(self, job: Job) -> None:
        """Clone a job as the server does by itself: within the request, or a little later by gru."""
        if self.flavour.late_clone:
            asyncio.get_running_loop().call_later(0.05, self.auto_duplicate, job)
        else:
            self.auto_duplicate(job)

    def cancel(self, job: Job, result: str = "user_cancelled", reason: str | None = None) -> int | None:
        """Cancel a job and its cluster (Schema::Result::Jobs::cancel); the number of jobs, None for none."""
        if job.result != "none":
            return None
        job.result = result
        job.reason = reason or job.reason
        self.enter(job, "cancelled")
        self.command(job, "cancel")
        self._ended(job)
        return 1 + self.stop_cluster(job)

    def stop_cluster(self, job: Job) -> int:
        """Stop what depends on a job that failed (_job_stop_cluster)."""
        count = 0
        for other_id in sorted(clusters.cluster(self.jobs, job, cancelling=True)):
            other = self.jobs[other_id]
            if other is job or other.result != "none":
                continue
            if other.state in PRISTINE:
                other.result = "skipped"
                self.enter(other, "cancelled")
            else:
                other.result = "parallel_failed"
                other.touch()
            self.command(other, "cancel")
            count += 1
        return count

    def duplicate(self, job: Job, settings: Mapping[str, str] | None = None) -> dict[int, Job] | str:
        """Clone a job and its cluster; the clones by old id, or the reason why not."""
        if job.state in PRISTINE:
            return f"Job {job.id} is still {job.state}"
        if job.clone_id is not None:
            return f"Specified job {job.id} has already been cloned as {job.clone_id}"
        members = [self.jobs[member] for member in sorted(clusters.cluster(self.jobs, job))]
        if taken := [member for member in members if member.clone_id is not None]:
            return f"Job {taken[0].id} already has clone {taken[0].clone_id}"
        clones: dict[int, Job] = {}
        for member in members:
            kept = member.settings | (dict(settings or {}) if member is job else {})
            clone = self._insert(kept)
            clone.priority, clone.group_id = member.priority, member.group_id
            clone.origin_id, member.clone_id = member.id, clone.id
            member.touch()
            clones[member.id] = clone
        for member in members:
            for edge in Edge:
                for parent in member.parents[edge]:
                    self.link(clones.get(parent, self.jobs[parent]), clones[member.id], edge)
        for clone in clones.values():
            self.block(clone)
        self.wake()
        return clones

    def auto_duplicate(self, job: Job, settings: Mapping[str, str] | None = None) -> dict[int, Job] | str:
        """Clone a cluster and stop its old members but the job itself (auto_duplicate)."""
        clones = self.duplicate(job, settings)
        if isinstance(clones, str):
            return clones
        for member in (self.jobs[old] for old in clones if old != job.id):
            if member.final:
                continue
            pristine = member.state in PRISTINE and self.flavour.skips_restarted
            if member.result == "none":
                member.result = "skipped" if pristine else "parallel_restarted"
                member.touch()
            if member.worker is not None:
                self.command(member, "abort")
            elif member.state in PRISTINE:
                self.enter(member, "cancelled")
        return clones

    def restart(self, job: Job, settings: Mapping[str, str] | None = None) -> dict[int, Job] | str:
        """What the restart button does (Resource::Jobs::job_restart)."""
        clones = self.auto_duplicate(job, settings)
        if not isinstance(clones, str) and job.state in EXECUTION:
            if job.result == "none":
                job.result = "user_restarted"
                job.touch()
            self.command(job, "abort")
        return clones

    def delete(self, job: Job) -> None:
        """Remove a job with all it has."""
        self.command(job, "abort")
        del self.jobs[job.id]
        self.scheduled.pop(job.id, None)
        self.gone.add(job.id)
        if job.worker is not None:
            job.worker.tie(None)
        if job.assigned is not None:
            job.assigned.jobs.pop(job.id, None)
        for edge in Edge:
            for parent in job.parents[edge]:
                if parent in self.jobs:
                    self.jobs[parent].children[edge].remove(job.id)
                    self.jobs[parent].touch()
            for child in job.children[edge]:
                if child in self.jobs:
                    self.jobs[child].parents[edge].remove(job.id)
                    self.block(self.jobs[child])
        if job.origin_id in self.jobs:
            self.jobs[job.origin_id].clone_id = None

    def command(self, job: Job, command: str) -> None:
        """Send a command about a job to its worker, if it has one."""
        if job.assigned is not None and job.assigned.channel is not None:
            job.assigned.channel.send({"type": command, "jobid": job.id})

    def assign(self, jobs: Sequence[Job], worker: Worker) -> None:
        """Give jobs to a worker, the first one first; each gets the token that its test will use."""
        token = secrets.token_hex(8)
        for job in jobs:
            job.assigned, job.t_started, job.token, job.reason = worker, None, token, None
            job.tokens.append(token)
            worker.jobs[job.id] = job
            self.enter(job, "assigned")
            self.register_assets(job)
        worker.properties["JOBTOKEN"] = token
        worker.tie(jobs[0])

    def register(self, kind: str, name: str, content: bytes, created_by: int | None = None) -> Asset:
        """Put an asset in place, replacing one of the same name."""
        known = self.assets.get((kind, name))
        asset = Asset(known.id if known else self._next_asset, kind, name, content, created_by)
        asset.size = None if created_by is None else len(content)
        self._next_asset += 0 if known else 1
        self.assets[kind, name] = asset
        return asset

    def register_assets(self, job: Job) -> dict[str, str]:
        """Tie the assets of the settings to a job; the settings, with names that a parent's id changed."""
        updated = {}
        parents = [*job.parents[Edge.CHAINED], *job.parents[Edge.DIRECTLY_CHAINED]]
        assets = []
        for key, name in job.settings.items():
            kind = asset_type(key)
            if kind is None or not name or "/" in name:
                continue
            private = [f"{parent:08d}-{name}" for parent in parents]
            updated[key] = next((other for other in private if (kind, other) in self.assets), name)
            assets.append((kind, updated[key]))
        job.assets = assets
        job.touch()
        return updated

    def _ended(self, job: Job) -> None:
        for callback in self.on_end:
            callback(job)
        if self.finalize_after is not None:
            asyncio.get_running_loop().call_later(self.finalize_after, finalize, job)


def finalize(job: Job) -> None:
    """Move text results into the details and delete their files (JobModules::finalize_results)."""
    for module in job.modules.values():
        steps = (module.details or {}).get("details")
        for step in steps if isinstance(steps, list) else []:
            content = job.files.pop(step.get("text") or "", None)
            if content is not None:
                step["text_data"] = content.decode("utf-8", "replace")
    job.finalized = True
    job.touch()


def asset_type(setting: str) -> str | None:
    """The kind of asset that a setting names, None when none (OpenQA::Utils::asset_type_from_setting)."""
    if not _ASSET_SETTING.match(setting):
        return None
    if setting.startswith("ISO"):
        return "iso"
    if setting.startswith(("HDD", "UEFI")):
        return "hdd"
    return "repo" if setting.startswith("REPO") else "other"


def _listed(value: str | None) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()] if value else []
