"""Jobs that belong together are created together: one request to the slave, with all edges, or none.

A cluster is every job that can be reached over parallel or directly chained dependencies and has not ended.
Each of its jobs is handed to a slot of its own (or stands in a slot's queue), so its runs arrive here one by
one:

* `gather` waits until every member has arrived, and says early when that can not come to pass;
* `ready` waits until every member has what it needs on the slave;
* `create` posts them all at once, the first time it is called for any of them.

A member that runs in parallel with one that directly follows another is late: the master does not hand it out
before that other one has ended. Nobody waits for it; it is posted with the rest, for which `lend` brings its
settings, and finds its slave job when it comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa import states
from pseudoworker.openqa.views import JobView

MAX_MEMBERS = 256
"""A bound on what a master can make us look up for one job."""


OVERDUE = 10.0
"""Seconds in which a master hands out all jobs of a cluster, unless one of them was turned away."""


class ClusterFailed(PseudoworkerError):
    """The cluster can not be complete; the message names the member that is missing and why."""


@dataclass(frozen=True)
class Edge:
    """One dependency between two jobs of the master that is to hold on the slave as well."""

    kind: str
    """`_PARALLEL` or `_START_DIRECTLY_AFTER`, as `POST jobs` names it."""
    child: int
    parent: int


@dataclass(frozen=True)
class Cluster:
    """The members' master ids, and what ties them."""

    members: frozenset[int]
    edges: frozenset[Edge] = frozenset()
    late: frozenset[int] = frozenset()
    """Members that the master hands out only when others of the cluster have ended."""
    posted: bool = False
    """Whether it was created on the slave before this job came."""

    @property
    def prompt(self) -> frozenset[int]:
        """The members that are handed out together."""
        return self.members - self.late

    @property
    def heads(self) -> frozenset[int]:
        """The members that take a slot each: those that follow another directly share its slot."""
        return frozenset(member for member in self.prompt if not self.directly_before(member))

    def directly_before(self, member: int) -> frozenset[int]:
        """All members that run before this one on the same worker."""
        before: set[int] = set()
        waiting = [member]
        while waiting:
            child = waiting.pop()
            parents = {
                edge.parent
                for edge in self.edges
                if edge.child == child and edge.kind == "_START_DIRECTLY_AFTER"
            }
            waiting.extend(parents - before)
            before |= parents
        return frozenset(before)


async def find_cluster(
    job_id: int, view_of: Callable[[int], Awaitable[JobView]]
) -> tuple[Cluster, dict[int, JobView]]:
    """The cluster of a job and the views of its members, by asking the master for each.

    Raises ClusterFailed when it is absurdly large, and whatever `view_of` raises.
    """
    views: dict[int, JobView] = {}
    edges: set[Edge] = set()
    waiting = [job_id]
    while waiting:
        member = waiting.pop()
        if member in views:
            continue
        view = await view_of(member)
        if member != job_id and view.state in states.FINAL_STATES:
            continue
        views[member] = view
        if len(views) > MAX_MEMBERS:
            raise ClusterFailed(f"setup failure: more than {MAX_MEMBERS} jobs belong to the cluster")
        for kind, parents, children in (
            ("_PARALLEL", view.parents.parallel, view.children.parallel),
            ("_START_DIRECTLY_AFTER", view.parents.directly_chained, view.children.directly_chained),
        ):
            edges.update(Edge(kind, member, parent) for parent in parents)
            edges.update(Edge(kind, child, member) for child in children)
            waiting.extend((*parents, *children))
    members = frozenset(views)
    inside = frozenset(edge for edge in edges if edge.child in members and edge.parent in members)
    late = frozenset(
        member
        for member, view in views.items()
        if view.state == states.SCHEDULED and view.blocked_by_id in members
    )
    return Cluster(members, inside, late), views


Settings = Mapping[str, str]
IsPosted = Callable[[int], Awaitable[bool]]
"""Whether a job of the master that is in hand has a slave job."""
CreateAll = Callable[[Cluster, Mapping[int, Settings]], Awaitable[Mapping[int, int]]]
"""Posts the jobs of a cluster, or finds them, and returns their slave ids by master id."""


@dataclass
class _Assembly:
    """What is known of one cluster while it comes together."""

    cluster: Cluster
    began: float = field(default_factory=time.monotonic)
    arrived: set[int] = field(default_factory=set)
    ready: set[int] = field(default_factory=set)
    settings: dict[int, Settings] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)
    creation: asyncio.Future[Mapping[int, int]] | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class Clusters:
    """All clusters that are coming together in this process.

    `why_not(view)` tells why a job of the master can not come to a slot of this process, None if it can;
    `slots` is how many there are. `gather_timeout` bounds the wait for members to be assigned,
    `ready_timeout` that for their assets, in seconds."""

    def __init__(
        self,
        *,
        why_not: Callable[[JobView], str | None],
        slots: int,
        is_posted: IsPosted,
        gather_timeout: float,
        ready_timeout: float,
        create_all: CreateAll,
    ) -> None:
        self._why_not = why_not
        self._slots = slots
        self._is_posted = is_posted
        self._gather_timeout = gather_timeout
        self._ready_timeout = ready_timeout
        self._create_all = create_all
        self._assemblies: dict[frozenset[int], _Assembly] = {}

    def overdue(self) -> int:
        """How many jobs should have come by now, since others of their cluster wait for them here."""
        return sum(
            len(assembly.cluster.prompt - assembly.arrived)
            for assembly in self._assemblies.values()
            if time.monotonic() - assembly.began > OVERDUE
        )

    async def gather(self, job_id: int, view_of: Callable[[int], Awaitable[JobView]]) -> Cluster:
        """Wait until all jobs of the cluster arrived, unless it was posted already. Raises ClusterFailed."""
        cluster, views = await find_cluster(job_id, view_of)
        for member in sorted(cluster.members - {job_id}):
            if await self._is_posted(member):
                return replace(cluster, posted=True)
        self._check(job_id, cluster, views)
        assembly = self._assembly(cluster)
        await self._meet(
            assembly, assembly.arrived, job_id, self._gather_timeout, "was not assigned to this pseudoworker"
        )
        return cluster

    def _check(self, job_id: int, cluster: Cluster, views: Mapping[int, JobView]) -> None:
        """Say early which members can not come."""
        for member, view in views.items():
            problem = None if member == job_id else self._why_not(view)
            if problem:
                raise ClusterFailed(f"setup failure: cluster can not be complete: job {member} {problem}")
        own = {job_id, *cluster.directly_before(job_id)}
        if missing := sorted(cluster.heads - own)[self._slots - 1 :]:
            raise ClusterFailed(
                f"setup failure: cluster can not be complete: job {_listed(missing)} has no slot: the cluster"
                f" needs {len(cluster.heads)}, and this pseudoworker has {self._slots}"
            )

    async def ready(self, job_id: int, cluster: Cluster) -> None:
        """Wait until all jobs of the cluster have what they need on the slave. Raises ClusterFailed."""
        assembly = self._assembly(cluster)
        await self._meet(assembly, assembly.ready, job_id, self._ready_timeout, "did not get its assets")

    def lend(self, job_id: int, cluster: Cluster, settings: Settings) -> None:
        """The settings of a late member of the cluster."""
        self._assembly(cluster).settings[job_id] = settings

    async def create(self, job_id: int, cluster: Cluster, settings: Settings) -> int:
        """The slave job of this member, after all were created in one request.

        Raises ClusterFailed when a member does not come, and whatever `create_all` raises: then every member
        gets the error, and the next call tries again.
        """
        assembly = self._assembly(cluster)
        if assembly.creation is None:
            assembly.settings[job_id] = settings
            await self._meet(assembly, assembly.settings.keys(), job_id, self._gather_timeout, "is not there")
        if assembly.creation is None:
            assembly.creation = asyncio.ensure_future(self._create_all(cluster, dict(assembly.settings)))
        creation = assembly.creation
        try:
            ids = await asyncio.shield(creation)
        finally:
            if (
                creation.done()
                and (creation.cancelled() or creation.exception())
                and assembly.creation is creation
            ):
                assembly.creation = None
        return ids[job_id]

    async def leave(self, job_id: int) -> None:
        """The job does not take part any more, or its part is done."""
        for members, assembly in list(self._assemblies.items()):
            if job_id in members:
                assembly.left.add(job_id)
                if assembly.left >= assembly.arrived:  # some may never come
                    del self._assemblies[members]

    def _assembly(self, cluster: Cluster) -> _Assembly:
        return self._assemblies.setdefault(cluster.members, _Assembly(cluster))

    async def _meet(
        self, assembly: _Assembly, present: Collection[int], job_id: int, timeout: float, absent: str
    ) -> None:
        if isinstance(present, set):
            present.add(job_id)
        members = assembly.cluster.prompt
        async with assembly.changed:
            assembly.changed.notify_all()
            try:
                async with asyncio.timeout(timeout):
                    await assembly.changed.wait_for(
                        lambda: members <= set(present) or assembly.creation is not None
                    )
            except TimeoutError:
                missing = _listed(sorted(members - set(present)))
                raise ClusterFailed(
                    f"setup failure: cluster can not be complete: job {missing} {absent} within {timeout:g} s"
                ) from None


def _listed(jobs: Sequence[int]) -> str:
    return ", ".join(map(str, jobs))
