"""Everything before a slave job runs: its cluster, its assets, its settings, its creation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
            related = len(cluster.members) > 1
            coming = await self._coming(cluster)
            provided = await self._patience.until_done(
                lambda: services.assets.provider.provide(job, self._note, coming=coming, hold=related)
            )
            self._held = provided.held
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

    def _own_settings(self) -> dict[str, str]:
        services = self._services
        return for_slave(
            self._job.settings,
            report_url=services.master_url(self._job.id),
            to_slave=services.configuration.classes.to_slave,
        )

    async def _coming(self, cluster: Cluster) -> frozenset[Asset] | None:
        """What the jobs that this one follows directly will publish on the slave; None when it follows
        none."""
        before = cluster.directly_before(self._job.id)
        if not before:
            return None
        views = [
            await self._patience.until_done(partial(self._services.master_view, member)) for member in before
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
