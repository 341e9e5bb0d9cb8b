"""Everything before a slave job runs: its cluster, its assets, its settings, its creation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.bridge.assets.names import Asset, promised_assets
from pseudoworker.bridge.assets.provider import Held
from pseudoworker.bridge.cluster import Cluster, ClusterFailed
from pseudoworker.bridge.creation import CreateRefused
from pseudoworker.bridge.patience import Patience
from pseudoworker.bridge.services import Services
from pseudoworker.bridge.settings import UnmappedClass, for_slave
from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.messages import Grabbed

REDACTED = "[redacted]"
"""What newer releases show in place of a secret setting (`OpenQA::Log`, redact_settings)."""


class NotRunnable(PseudoworkerError):
    """The job can not be run; the text is the reason for the master, in openQA's words (`asset failure:
    …`)."""


class Preparation:
    """Prepares one job. `note` adds a line to its story; outages are waited out with `patience`."""

    def __init__(
        self, services: Services, job: Grabbed, *, note: Callable[[str], None], patience: Patience
    ) -> None:
        self._services = services
        self._job = job
        self._note = note
        self._patience = patience
        self._cluster: Cluster | None = None
        self._settings: dict[str, str] | None = None
        self._held = Held()

    async def prepare(self) -> bool:
        """Gather the cluster and bring the assets; whether other jobs belong to it. Raises NotRunnable."""
        with _as_reason():
            services, job = self._services, self._job
            settings = self._own_settings()
            cluster = await self._patience.until_done(
                lambda: services.clusters.gather(job.id, services.master_view)
            )
            if cluster.posted:
                self._cluster, self._settings = cluster, settings
                return True
            related = len(cluster.members) > 1
            await self._prepare_late(cluster)
            coming = await self._coming(cluster)
            provided = await self._patience.until_done(
                lambda: services.assets.provider.provide(job, self._note, coming=coming, hold=related)
            )
            self._held.releases += provided.held.releases
            self._cluster, self._settings = cluster, {**settings, **provided.settings}
            await services.clusters.ready(job.id, cluster)
            return related

    async def create(self, *, doubtful: bool) -> int:
        """The slave job, posted together with its cluster. `doubtful` says that it may have been posted
        before. Raises NotRunnable."""
        with _as_reason():
            if doubtful and (earlier := await self._earlier()) is not None:
                return earlier
            if self._settings is None or self._cluster is None:
                await self.prepare()
            assert self._settings is not None
            assert self._cluster is not None
            if self._cluster.posted:
                return await self._posted_with_others()
            slave_id = await self._services.clusters.create(self._job.id, self._cluster, self._settings)
        await self.release()
        return slave_id

    async def release(self) -> None:
        """Let go of what was held on the slave for the job; again is harmless."""
        await self._held.release()

    async def _earlier(self) -> int | None:
        """What was posted before. A cluster was posted whole or not at all, so each of its jobs looks for
        itself: its relatives may be further already."""
        settings = self._own_settings()
        return await self._patience.until_done(lambda: self._services.creation.earlier(settings))

    async def _posted_with_others(self) -> int:
        """The slave job of a member that was posted before it came here."""
        found = await self._earlier()
        if found is None:
            raise ClusterFailed("setup failure: the cluster was created on the slave without this job")
        return found

    async def _prepare_late(self, cluster: Cluster) -> None:
        """Do for the late members what they can not do themselves; one of the others does it for all."""
        if not cluster.late or self._job.id != min(cluster.prompt):
            return
        coming = await self._promised(cluster.prompt)
        for member in sorted(cluster.late):
            view = await self._patience.until_done(partial(self._services.master_view, member))
            if hidden := [key for key, value in sorted(view.settings.items()) if value == REDACTED]:
                raise ClusterFailed(
                    f"setup failure: cluster can not be complete: the master hides {', '.join(hidden)} of job"
                    f" {member}, which it hands out after others have ended"
                )
            settings = self._for_slave(member, view.settings)
            needs = Grabbed(member, view.settings, {})
            provided = await self._patience.until_done(
                partial(self._services.assets.provider.provide, needs, self._note, coming=coming, hold=True)
            )
            self._held.releases += provided.held.releases
            self._services.clusters.lend(member, cluster, {**settings, **provided.settings})

    def _own_settings(self) -> dict[str, str]:
        return self._for_slave(self._job.id, self._job.settings)

    def _for_slave(self, job_id: int, settings: Mapping[str, str]) -> dict[str, str]:
        services = self._services
        return for_slave(
            settings,
            report_url=services.master_url(job_id),
            to_slave=services.configuration.classes.to_slave,
        )

    async def _coming(self, cluster: Cluster) -> frozenset[Asset] | None:
        """What the jobs that this one follows directly will publish on the slave; None when it follows
        none."""
        before = cluster.directly_before(self._job.id)
        return await self._promised(before) if before else None

    async def _promised(self, members: Iterable[int]) -> frozenset[Asset]:
        views = [
            await self._patience.until_done(partial(self._services.master_view, member)) for member in members
        ]
        return frozenset(asset for view in views for asset in promised_assets(view.settings))


@contextmanager
def _as_reason() -> Iterator[None]:
    try:
        yield
    except (ClusterFailed, CreateRefused) as failure:
        raise NotRunnable(str(failure)) from failure
    except AssetFailure as failure:
        raise NotRunnable(f"asset failure: {failure}") from failure
    except UnmappedClass as failure:
        raise NotRunnable(f"setup failure: {failure}") from failure
    except OpenQAError as failure:
        raise NotRunnable(f"api failure: {failure}") from failure
