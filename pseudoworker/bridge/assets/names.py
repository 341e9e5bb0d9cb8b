"""Which assets a job needs and produces, and what they are called on either side. Pure.

The rules are openQA's: `OpenQA::Utils` asset_type_from_setting and parse_assets_from_settings,
`OpenQA::Schema::Result::Jobs` register_assets_from_settings, create_asset and _asset_find, and
`OpenQA::Worker::Engines::isotovideo` detect_asset_keys and locate_local_assets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pseudoworker.bridge.assets.errors import UnsafeAsset
from pseudoworker.master.assets import stored_type
from pseudoworker.openqa.errors import UnsafeName
from pseudoworker.openqa.names import safe_name

TYPES = ("iso", "hdd", "repo", "other")


@dataclass(frozen=True, order=True)
class Asset:
    """A file (for `repo` a directory) below an instance's factory directory: `<type>/<name>`."""

    type: str
    name: str

    def __str__(self) -> str:
        return f"{self.type}/{self.name}"


@dataclass(frozen=True)
class Needed:
    """One asset that a job's settings name."""

    setting: str
    asset: Asset
    required: bool = True
    """False where openQA's worker starts the test without it, or only some releases take it for an asset."""


def needed_assets(settings: Mapping[str, str]) -> tuple[Needed, ...]:
    """The assets that these effective settings name, ordered by setting.

    Raises UnsafeAsset, naming the setting, for a name that is no plain file name, and for two names that
    differ only in case (they would be one file on some file systems).
    """
    needed = []
    for setting in sorted(settings):
        value = settings[setting]
        kind = asset_type(setting, value)
        if kind is None or value in ("", "0"):  # false in Perl: detect_asset_keys skips it
            continue
        _refuse_unsafe(value, f"{setting} asset {kind}")
        needed.append(Needed(setting, Asset(kind, value), _required(setting, settings)))
    _refuse_twins((each.asset for each in needed), "the job's settings name")
    return tuple(needed)


def promised_assets(settings: Mapping[str, str]) -> frozenset[Asset]:
    """The public assets that a job with these settings announces to publish (os-autoinst's
    `OpenQA::Isotovideo::Utils` handle_generated_assets). What a test uploads by itself is not known
    beforehand."""
    names = [
        value
        for setting, value in settings.items()
        if re.fullmatch(r"(FORCE_)?PUBLISH_HDD_\d+|PUBLISH_PFLASH_VARS", setting) and value
    ]
    return frozenset(Asset(stored_type(name), name) for name in names)


def asset_type(setting: str, value: str) -> str | None:
    """The type of asset that a setting names, None when it names no asset (asset_type_from_setting)."""
    if re.fullmatch(r"ISO(_\d+)?", setting):
        return "iso"
    if re.fullmatch(r"HDD_\d+", setting):
        return "hdd"
    if re.fullmatch(r"UEFI_PFLASH_(CODE|VARS)", setting) and not value.startswith("/"):
        return "hdd"
    if re.fullmatch(r"REPO_\d+", setting):
        return "repo"
    if re.fullmatch(r"ASSET_\d+|KERNEL|INITRD", setting):
        return "other"
    return None


def private_name(job_id: int, name: str) -> str:
    """The name under which openQA stores a job's asset that is not public (Jobs.pm, create_asset)."""
    return f"{job_id:08d}-{name}"


def split_private(name: str) -> tuple[int, str] | None:
    """Job id and plain name of a private asset's name; None when it is not one."""
    match = re.fullmatch(r"(\d{8}|[1-9]\d{8,17})-(.+)", name)
    return (int(match[1]), match[2]) if match else None


def paired_name(asset: Asset, job_id: int) -> Asset | None:
    """What a private asset is called on the other side, where the paired job of this id produced it; None for
    public assets.

    `00000123-disk.qcow2` of master job 123, which ran as slave job 77, is `00000077-disk.qcow2` there, and
    the other way round.
    """
    parts = split_private(asset.name)
    return Asset(asset.type, private_name(job_id, parts[1])) if parts else None


def versioned_name(asset: Asset, digest: str) -> Asset:
    """Another name for an asset whose own name is taken by a different file: `pw<digest>-<name>`.

    The end of the name, by which openQA tells the type, stays; what would exceed 255 bytes is cut at the
    front.
    """
    prefix = f"pw{digest}-"
    tail = asset.name.encode()[-(255 - len(prefix)) :].decode(errors="ignore")
    return Asset(asset.type, prefix + tail)


def check_product(name: str) -> str:
    """The name of an asset that the other side says a job produced, if it is a plain one. Raises
    UnsafeAsset."""
    _refuse_unsafe(name, "the job's product")
    return name


def _refuse_unsafe(name: str, what: str) -> None:
    try:
        safe_name(name)
    except UnsafeName as error:
        raise UnsafeAsset(f"{what} is refused: {error}") from error


def _refuse_twins(assets: Iterable[Asset], what: str) -> None:
    seen: dict[tuple[str, str], Asset] = {}
    for asset in assets:
        other = seen.setdefault((asset.type, asset.name.casefold()), asset)
        if other != asset:
            raise UnsafeAsset(f"{what} {asset} and {other}, which differ only in case")


def refuse_twin(asset: Asset, present: Collection[str]) -> None:
    """Raise UnsafeAsset when one of the names beside it differs from the asset's only in case."""
    _refuse_twins((asset, *(Asset(asset.type, name) for name in present)), "beside each other would lie")


def _required(setting: str, settings: Mapping[str, str]) -> bool:
    if setting == "UEFI_PFLASH_VARS":  # locate_local_assets: no matter without UEFI
        return settings.get("UEFI", "") not in ("", "0")
    return setting != "UEFI_PFLASH_CODE"  # an asset in newer releases only
