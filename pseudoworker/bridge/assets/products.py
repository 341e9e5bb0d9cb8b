"""Which assets a finished slave job created, and what they are called. Pure.

No release tells it: the job's JSON lists the assets it used and those it created alike
(`jobs_assets.created_by` is not shown). But what it used stands in its settings, what it created for itself
bears its own id in front (Jobs.pm, create_asset), and its worker's log names each asset that was uploaded
(Worker/Job.pm, _upload_asset).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pseudoworker.bridge.assets.errors import UnsafeAsset
from pseudoworker.bridge.assets.names import Asset, asset_type, check_product, split_private
from pseudoworker.master.assets import stored_type

PUBLIC = "public"
PRIVATE = "private"

_UPLOADED = re.compile(r"Uploading (.+) using multiple chunks\r?$", re.MULTILINE)


class FinishedJob(Protocol):
    """What is needed of the slave's job (`pseudoworker.openqa.views.JobView` has it)."""

    @property
    def id(self) -> int:
        """The job's number on the slave."""
        ...

    @property
    def settings(self) -> Mapping[str, str]:
        """As shown by the slave."""
        ...

    @property
    def assets(self) -> Mapping[str, Sequence[str]]:
        """Names by type, used and created alike."""
        ...


@dataclass(frozen=True, order=True)
class Product:
    """One asset that the slave job created."""

    asset: Asset
    """As the slave stores it."""
    name: str
    """The name to upload it under, without a job's id."""
    scope: str
    """`public` or `private`; the master puts its own job's id before the name of a private one."""

    @property
    def key(self) -> str:
        """Names the product in the journal."""
        return f"{self.scope}:{self.asset.type}/{self.name}"


@dataclass(frozen=True)
class Products:
    """What to relay, and what not to."""

    relayed: tuple[Product, ...]
    refused: tuple[str, ...]
    """Why each asset with an unsafe name is left out."""


def created_products(job: FinishedJob, worker_log: str = "") -> Products:
    """The assets that the job created, private ones first, as its worker uploads them.

    `worker_log` is the slave job's worker-log.txt; it is only needed for a public asset that overwrites one
    of the same name which the job used.
    """
    products: list[Product] = []
    refused: list[str] = []
    uploaded = set(_UPLOADED.findall(worker_log))
    seen: dict[str, str] = {}
    for asset, name, scope in sorted(_created(job, uploaded), key=lambda each: (each[2] != PRIVATE, each)):
        try:
            check_product(asset.name)
        except UnsafeAsset as error:
            refused.append(str(error))
            continue
        other = seen.setdefault(f"{scope}:{asset.type}/{name}".casefold(), name)
        if other != name:
            refused.append(f"the job's product {name!r} differs only in case from {other!r}")
            continue
        products.append(Product(asset, name, scope))
    return Products(tuple(products), tuple(refused))


def _created(job: FinishedJob, uploaded: set[str]) -> Iterator[tuple[Asset, str, str]]:
    used = {
        Asset(kind, value)
        for setting, value in job.settings.items()
        if (kind := asset_type(setting, value)) is not None
    }
    for kind, names in job.assets.items():
        for name in dict.fromkeys(names):
            asset = Asset(kind, name)
            owner, plain = split_private(name) or (None, name)
            if kind != stored_type(name):
                continue  # only files are uploaded, and openQA tells their type by their name
            if owner == job.id and asset not in used:
                yield asset, plain, PRIVATE
            elif name in uploaded or not (
                asset in used or (owner is not None and Asset(kind, plain) in used)
            ):
                yield asset, name, PUBLIC
