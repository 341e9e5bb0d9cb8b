"""Puts the parts of this package together, as the configuration wants them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pseudoworker.bridge.assets.ledger import Ledger
from pseudoworker.bridge.assets.local import LocalTransport
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.placing import Pairing, Placer
from pseudoworker.bridge.assets.provider import AssetProvider
from pseudoworker.bridge.assets.relay import Acknowledgements, LocalUpload, ProductRelay
from pseudoworker.bridge.assets.repo_copy import RepoCopier
from pseudoworker.bridge.assets.repos import Repos
from pseudoworker.bridge.assets.serve import AssetServer
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.space import Space
from pseudoworker.bridge.assets.transport import Transport
from pseudoworker.bridge.assets.upload import UploadTransport
from pseudoworker.bridge.assets.url import UrlTransport
from pseudoworker.config.model import Configuration
from pseudoworker.openqa.client import Client
from pseudoworker.slave.assets import HelperJobs

THREADS = 12
"""For all transfers together: each takes at most two at a time."""
LEDGER = "assets.sqlite3"
"""File in the state directory."""


@dataclass(frozen=True)
class Assets:
    """Both directions, and what they share."""

    provider: AssetProvider
    products: ProductRelay
    helpers: HelperJobs
    ledger: Ledger
    threads: ThreadPoolExecutor

    async def close(self) -> None:
        """End what runs and close what is open."""
        await self.provider.close()
        await self.ledger.close()
        self.threads.shutdown(wait=False, cancel_futures=True)


def open_assets(
    configuration: Configuration,
    *,
    master: Client,
    slave: Client,
    pairing: Pairing,
    acknowledgements: Acknowledgements,
) -> Assets:
    """The assets of one process. Makes no request; `helpers.sweep()` is to be called once both sides can be
    asked.

    `pairing` is the journal's `slave_of`, `acknowledgements` the journal.
    """
    policy = configuration.assets
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="assets")
    master_site, slave_site = Site(master, threads), Site(slave, threads)
    ledger = Ledger(configuration.state_dir / LEDGER, master_url=master.url, slave_url=slave.url)
    helpers = HelperJobs(slave, _owner(configuration))

    async def exists(asset: Asset) -> bool:
        return (
            await slave_site.has(asset) if asset.type == "repo" else await slave_site.look(asset) is not None
        )

    space = Space(policy, ledger, exists)
    copier = None
    if policy.transport in ("auto", "local") and policy.factory_dir is not None:
        copier = RepoCopier(master_site, policy.factory_dir, threads, space)
    repos = Repos(policy, master_site, slave_site, ledger, copier)
    transports = _transports(configuration, master_site, slave_site, helpers, threads)
    placer = Placer(master_site, slave_site, transports, ledger=ledger, space=space, pairing=pairing)
    provider = AssetProvider(master_site, placer, space=space, repos=repos, helpers=helpers)
    products = ProductRelay(
        master_site,
        slave_site,
        ledger,
        acknowledgements,
        policy,
        LocalUpload(configuration.worker.local_upload, policy.factory_dir),
        configuration.limits.upload_chunk_size,
        threads,
    )
    return Assets(provider, products, helpers, ledger, threads)


def _transports(
    configuration: Configuration, master: Site, slave: Site, helpers: HelperJobs, threads: ThreadPoolExecutor
) -> Sequence[Transport]:
    """Those to try, in this order: the cheapest first."""
    policy = configuration.assets
    local = LocalTransport(master, slave, policy.factory_dir, threads)
    server = (
        AssetServer(master, policy.serve_address, public=policy.serve_url) if policy.serve_address else None
    )
    url = UrlTransport(master, slave, helpers, server)
    every: list[Transport] = [local, url]
    if configuration.slave.credentials is not None:
        upload = UploadTransport(
            master,
            slave,
            helpers,
            configuration.slave.credentials,
            configuration.slave.ca_file,
            _owner(configuration),
            configuration.limits.upload_chunk_size,
            threads,
        )
        every.append(upload)
    if policy.transport == "auto":
        return every
    return [transport for transport in every if transport.name == policy.transport]


def _owner(configuration: Configuration) -> str:
    """Names this process on the slave, the same after a restart, and unlike any other's beside it."""
    first = configuration.slots[0].instance if configuration.slots else 0
    master = hashlib.sha256(configuration.master.url.encode()).hexdigest()[:6]
    return f"{configuration.host}-{first}-{master}"
