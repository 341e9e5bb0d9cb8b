"""Brings to the master what a job produced on the slave, as a worker of the master would upload it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from pseudoworker.bridge.assets.errors import AssetChanged, AssetFailure
from pseudoworker.bridge.assets.identity import Known
from pseudoworker.bridge.assets.ledger import Copy, Ledger
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.products import PUBLIC, Product, created_products
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.sizes import shown_size
from pseudoworker.bridge.assets.source import Source
from pseudoworker.bridge.assets.transport import Note
from pseudoworker.config.model import AssetPolicy
from pseudoworker.master.assets import Upload, Uploader, stored_type
from pseudoworker.openqa.errors import Garbage, NotFound
from pseudoworker.openqa.retry import READ
from pseudoworker.openqa.served import Served
from pseudoworker.openqa.views import JobView

ASSETS = "asset"
"""Kind of acknowledgement in the journal."""
MOST_CHANGES = 3
"""Times that a product may change on the slave while it is relayed."""
_WORKER_LOG_LIMIT = 16_777_216
_DONE = "done"


class RelayedFor(Protocol):
    """The master's job (`pseudoworker.master.job.MasterJob`)."""

    job_id: int


class Acknowledgements(Protocol):
    """What the journal keeps of a job (`pseudoworker.bridge.journal.Journal`)."""

    async def acknowledged(self, master_id: int, kind: str) -> Mapping[str, str]:
        """Values by name."""
        ...

    async def acknowledge(self, master_id: int, kind: str, values: Mapping[str, str]) -> None:
        """Keep these values; on disk when it returns."""
        ...


@dataclass(frozen=True)
class LocalUpload:
    """Whether the master may copy products by itself, being on this host as the slave's directory is."""

    allowed: bool
    factory_dir: Path | None

    def path(self, master_url: str, asset: Asset, size: int) -> str | None:
        """The path at which the master would find the asset, None when it would not."""
        if not self.allowed or self.factory_dir is None:
            return None
        if urlsplit(master_url).hostname not in ("localhost", "127.0.0.1", "::1"):  # Utils.pm, is_host_local
            return None
        path = self.factory_dir / asset.type / asset.name
        try:
            return str(path) if path.is_file() and path.stat().st_size == size else None
        except OSError:
            return None


@dataclass(frozen=True)
class ProductRelay:
    """One for all slots of a process."""

    master: Site
    slave: Site
    ledger: Ledger
    acknowledgements: Acknowledgements
    policy: AssetPolicy
    local: LocalUpload
    chunk_size: int
    executor: Executor = field(repr=False)

    async def relay(self, view: JobView, master: RelayedFor, note: Note) -> int:
        """Upload every asset that the ended slave job created; the number of bytes uploaded.

        Assets that an earlier call finished are left alone, one that it began is gone on with. `note` gets a
        line for the job's story about each. Raises AssetFailure when the slave can not give one or it must
        not be moved, LeaseLost when the job is not ours any more, and OpenQAError when one side failed for
        too long (`pseudoworker.master.assets.UploadFailure`: for good).
        """
        if not view.assets:
            return 0
        before = await self.acknowledgements.acknowledged(master.job_id, ASSETS)
        products = created_products(view, await self._worker_log(view.id))
        for reason in products.refused:
            note(f"not relayed: {reason}")
        sent = 0
        for product in products.relayed:
            if product.scope == PUBLIC and not any(
                fnmatchcase(product.name, each) for each in self.policy.products
            ):
                note(f"not relayed: {product.asset}, products of [assets] does not allow it")
            elif before.get(product.key) != _DONE:
                sent += await self._relay(product, master.job_id, before.get(product.key), note)
        return sent

    async def _relay(self, product: Product, job_id: int, begun: str | None, note: Note) -> int:
        for _ in range(MOST_CHANGES):
            file = await self.slave.look(product.asset)
            if file is None:
                raise AssetFailure(
                    f"{self.slave.url} does not have {product.asset} any more, which its job produced"
                )
            if file.size > self.policy.max_size:
                raise AssetFailure(
                    f"{product.asset} has {shown_size(file.size)}, more than max_size of [assets] allows"
                    f" ({shown_size(self.policy.max_size)})"
                )
            upload = Upload(job_id, product.name, product.scope, file.size, self.chunk_size)
            try:
                sent, how = await self._upload(product, upload, file, begun)
            except AssetChanged as error:
                note(f"{product.asset}: {error}; once more")
                begun = ""
                continue
            size = shown_size(file.size)
            note(f"{product.asset}: {size} uploaded to the master as {upload.stored_name} {how}")
            return sent
        raise AssetFailure(f"{product.asset} changes on {self.slave.url} all the time")

    async def _upload(
        self, product: Product, upload: Upload, file: Served, begun: str | None
    ) -> tuple[int, str]:
        """Upload one product, and note that it is done; the bytes sent, and how."""
        uploader = Uploader(self.master.client, self.executor)
        mark = f"{file.size} {upload.chunk_size} {file.version}"
        sent, how, kept = 0, "in chunks", 0
        arrived = begun is not None and await uploader.arrived(upload)
        if begun == mark:
            kept = await uploader.kept(upload)
        elif begun is not None:
            await uploader.discard(upload)  # of another version, or in chunks of another size
        await self._acknowledge(upload.job_id, product, mark)
        path = self.local.path(self.master.url, product.asset, file.size)
        if arrived:
            how = "before"
        elif path is not None and not kept and await uploader.copy_local(upload, path):
            how = "by the master itself"
        else:
            how += f", from chunk {kept + 1} on" if kept else ""
            sent = await uploader.send(upload, lambda start: Source(self.slave, file, start=start), kept=kept)
        await self._remember(product, upload, file)
        await self._acknowledge(upload.job_id, product, _DONE)
        return sent, how

    async def _remember(self, product: Product, upload: Upload, file: Served) -> None:
        """So that the master's next job does not bring it back to the slave."""
        final = await self.master.look_at(upload.final_path)
        if final is not None and final.size == file.size:
            known = Known(final.size, final.version, file.size, file.version)
            asset = Asset(stored_type(product.name), upload.stored_name)
            await self.ledger.remember(Copy(asset, product.asset, known, moved=False))

    async def _acknowledge(self, job_id: int, product: Product, value: str) -> None:
        await self.acknowledgements.acknowledge(job_id, ASSETS, {product.key: value})

    async def _worker_log(self, slave_id: int) -> str:
        path = f"/tests/{slave_id}/file/worker-log.txt"
        try:
            log = await self.slave.client.read(path, policy=READ, limit=_WORKER_LOG_LIMIT)
        except (NotFound, Garbage):
            return ""  # the job never came to a worker, or its log is no help
        return log.decode(errors="replace")
