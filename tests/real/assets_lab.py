"""The asset package between the lab's two instances, without the rest of the bridge."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.lab.layout import Instance, Lab, current_lab
from pseudoworker.bridge.assets.factory import Assets, open_assets
from pseudoworker.bridge.assets.provider import Provided
from pseudoworker.config.model import (
    AssetPolicy,
    ClassMap,
    Configuration,
    Credentials,
    Limits,
    Site,
    WorkerSettings,
)
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.messages import Grabbed


class Memory:
    """Acknowledgements, as the journal keeps them."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, str], dict[str, str]] = {}

    async def acknowledged(self, master_id: int, kind: str) -> Mapping[str, str]:
        return dict(self.kept.get((master_id, kind), {}))

    async def acknowledge(self, master_id: int, kind: str, values: Mapping[str, str]) -> None:
        self.kept.setdefault((master_id, kind), {}).update(values)


@dataclass
class LabAssets:
    """What a test needs."""

    lab: Lab
    assets: Assets
    master: Client
    slave: Client
    pairs: dict[int, int]
    memory: Memory
    notes: list[str] = field(default_factory=list)

    async def provide(self, **settings: str) -> Provided:
        return await self.assets.provider.provide(Grabbed(1, settings, {}), self.notes.append)


@asynccontextmanager
async def lab_assets(
    tmp_path: Path,
    *,
    seen: bool = False,
    local_upload: bool = False,
    chunk_size: int = 1_000_000,
    **policy: Any,
) -> AsyncIterator[LabAssets]:
    """`seen`: whether the bridge sees the slave's factory directory; `policy`: of AssetPolicy."""
    lab = current_lab()
    threads = ThreadPoolExecutor(8)
    sites = [_site(lab.master), _site(lab.slave)]
    clients = [
        Client(site.url, site.credentials.key, site.credentials.secret, executor=threads, in_flight=16)
        for site in sites
        if site.credentials
    ]
    pairs: dict[int, int] = {}

    async def pairing(master_id: int) -> int | None:
        return pairs.get(master_id)

    memory = Memory()
    options = {"min_free": 0, "factory_dir": lab.slave.factory_directory if seen else None} | policy
    assets = open_assets(
        Configuration(
            master=sites[0],
            slave=sites[1],
            host=f"test-{secrets.token_hex(4)}",
            slots=(),
            classes=ClassMap("lab"),
            state_dir=tmp_path / "state",
            worker=WorkerSettings(local_upload=local_upload),
            limits=Limits(upload_chunk_size=chunk_size),
            assets=AssetPolicy(**options),
        ),
        master=clients[0],
        slave=clients[1],
        pairing=pairing,
        acknowledgements=memory,
    )
    try:
        yield LabAssets(lab, assets, clients[0], clients[1], pairs, memory)
    finally:
        await assets.close()
        for client in clients:
            client.close()
        threads.shutdown()


def put_asset(instance: Instance, kind: str, name: str, source: Path) -> Path:
    """Copy a file into an instance's factory directory, with the owner of that directory."""
    folder = instance.factory_directory / kind
    path = folder / name
    shutil.copyfile(source, path)
    status = folder.stat()
    os.chown(path, status.st_uid, status.st_gid)
    return path


def _site(instance: Instance) -> Site:
    key = instance.operator
    return Site(instance.url, Credentials(key.key, key.secret))
