"""Which jobs belong together (Schema::Result::Jobs::cluster_jobs and what is built on it)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.fakes.model import OK, PENDING, Edge, Job

Jobs = Mapping[int, Job]


def cluster(jobs: Jobs, job: Job, *, cancelling: bool = False) -> set[int]:
    """The ids of the jobs that are restarted, or cancelled, together with a job."""
    members: set[int] = set()
    skipped: set[int] = set()
    _visit(jobs, job, members, skipped, cancelling, with_children=True)
    return members


def _visit(
    jobs: Jobs, job: Job, members: set[int], skipped: set[int], cancelling: bool, *, with_children: bool
) -> None:
    if job.id in members:
        if with_children and job.id in skipped:
            skipped.discard(job.id)
            _visit_children(jobs, job, members, skipped, cancelling)
        return
    members.add(job.id)
    for parent in _present(jobs, job.parents[Edge.CHAINED]):
        if not cancelling and parent.result not in OK:
            _visit(jobs, parent, members, skipped, cancelling, with_children=False)
    for parent in _present(jobs, job.parents[Edge.DIRECTLY_CHAINED]):
        if not cancelling:
            _visit(jobs, parent, members, skipped, cancelling, with_children=False)
    for parent in _present(jobs, job.parents[Edge.PARALLEL]):
        if not (cancelling and _goes_on_without(jobs, parent, members)):
            _visit(jobs, parent, members, skipped, cancelling, with_children=True)
    if with_children:
        _visit_children(jobs, job, members, skipped, cancelling)
    else:
        skipped.add(job.id)


def _visit_children(jobs: Jobs, job: Job, members: set[int], skipped: set[int], cancelling: bool) -> None:
    for edge in Edge:
        for child in _present(jobs, job.children[edge]):
            if child.clone_id is None:
                _visit(jobs, child, members, skipped, cancelling, with_children=True)


def _goes_on_without(jobs: Jobs, parent: Job, members: set[int]) -> bool:
    whole = parent.settings.get("PARALLEL_CANCEL_WHOLE_CLUSTER")
    if whole not in ("", "0"):
        return False
    children = (child for edge in Edge for child in _present(jobs, parent.children[edge]))
    return any(child.state in PENDING and child.id not in members for child in children)


def parallel(jobs: Jobs, job: Job) -> list[Job]:
    """The job and all that must start together with it, by id."""
    found = {job.id}
    queue = [job]
    while queue:
        current = queue.pop()
        for other in _present(jobs, (*current.parents[Edge.PARALLEL], *current.children[Edge.PARALLEL])):
            if other.id not in found:
                found.add(other.id)
                queue.append(other)
    return [jobs[member] for member in sorted(found)]


def blocked_by(jobs: Jobs, job: Job) -> int | None:
    """The first unfinished chained parent of a job or of one that must start with it."""
    mates = (*job.parents[Edge.PARALLEL], *job.children[Edge.PARALLEL])
    parents = {
        parent.id
        for mate in (job, *_present(jobs, mates))
        for edge in (Edge.CHAINED, Edge.DIRECTLY_CHAINED)
        for parent in _present(jobs, mate.parents[edge])
        if not parent.final
    }
    return min(parents, default=None)


Sequenced = list["int | Sequenced"]


def direct_sequence(jobs: Jobs, first: Job) -> Sequenced:
    """The nested order of directly chained jobs behind `first` (_serialize_directly_chained_job_sequence)."""
    output: Sequenced = [first.id]
    children = sorted(
        _present(jobs, first.children[Edge.DIRECTLY_CHAINED]), key=lambda job: job.settings["TEST"]
    )
    for child in children:
        if child.state == "scheduled":
            sequence = direct_sequence(jobs, child)
            output.append(sequence if len(sequence) > 1 else sequence[0])
    return output


def flat(sequence: Sequenced) -> list[int]:
    """All ids of a nested sequence, in order."""
    ids: list[int] = []
    for entry in sequence:
        ids += flat(entry) if isinstance(entry, list) else [entry]
    return ids


def _present(jobs: Jobs, ids: Sequence[int]) -> Iterator[Job]:
    return (jobs[job_id] for job_id in ids if job_id in jobs)
