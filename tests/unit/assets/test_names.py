"""Which assets settings name, what is refused, and what names become on the other side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.bridge.assets.errors import UnsafeAsset
from pseudoworker.bridge.assets.names import (
    Asset,
    Needed,
    asset_type,
    needed_assets,
    paired_name,
    private_name,
    promised_assets,
    refuse_twin,
    split_private,
    versioned_name,
)
from pseudoworker.master.assets import stored_type

HOSTILE = (
    "../x",
    "../../../../etc/passwd",
    "/etc/passwd",
    "sub/disk.qcow2",
    "..",
    ".",
    "disk\0.qcow2",
    "disk\n.qcow2",
    "x" * 300,
    "ö" * 150,
    "disk\udc80.qcow2",
)


@pytest.mark.parametrize(
    ("setting", "value", "kind"),
    [
        ("ISO", "a.iso", "iso"),
        ("ISO_1", "a.iso", "iso"),
        ("HDD_1", "a.qcow2", "hdd"),
        ("HDD_12", "a.qcow2", "hdd"),
        ("UEFI_PFLASH_VARS", "vars.qcow2", "hdd"),
        ("UEFI_PFLASH_VARS", "/usr/share/ovmf.bin", None),
        ("UEFI_PFLASH_CODE", "code.qcow2", "hdd"),
        ("UEFI_PFLASH_CODE", "/usr/share/ovmf.bin", None),
        ("REPO_0", "tree", "repo"),
        ("ASSET_1", "a.tar", "other"),
        ("KERNEL", "vmlinuz", "other"),
        ("INITRD", "initrd", "other"),
        ("HDD", "a.qcow2", None),
        ("HDD_1_URL", "http://x/a", None),
        ("ISO_X", "a", None),
        ("REPO", "a", None),
        ("XISO", "a.iso", None),
        ("ISO\n", "a.iso", None),
        ("PUBLISH_HDD_1", "a.qcow2", None),
        ("HDDSIZEGB", "10", None),
    ],
)
def test_types_are_openqas(setting: str, value: str, kind: str | None) -> None:
    assert asset_type(setting, value) == kind


def test_needed_assets_are_those_of_the_settings() -> None:
    settings = {
        "TEST": "x",
        "ISO": "tiny.iso",
        "HDD_2": "00000012-disk.qcow2",
        "HDD_3": "",
        "HDD_4": "0",
        "REPO_0": "tree",
        "UEFI_PFLASH_CODE": "/usr/share/code.bin",
    }
    assert needed_assets(settings) == (
        Needed("HDD_2", Asset("hdd", "00000012-disk.qcow2")),
        Needed("ISO", Asset("iso", "tiny.iso")),
        Needed("REPO_0", Asset("repo", "tree")),
    )


@pytest.mark.parametrize(
    ("settings", "required"),
    [
        ({"UEFI_PFLASH_VARS": "v"}, False),
        ({"UEFI_PFLASH_VARS": "v", "UEFI": "0"}, False),
        ({"UEFI_PFLASH_VARS": "v", "UEFI": "1"}, True),
        ({"UEFI_PFLASH_CODE": "c", "UEFI": "1"}, False),
        ({"KERNEL": "k"}, True),
    ],
)
def test_flash_images_may_be_missing_where_the_worker_allows_it(
    settings: dict[str, str], required: bool
) -> None:
    assert [each.required for each in needed_assets(settings)] == [required]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_and_named(name: str) -> None:
    with pytest.raises(UnsafeAsset, match="HDD_1 asset hdd is refused"):
        needed_assets({"HDD_1": name, "ISO": "fine.iso"})


def test_names_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(UnsafeAsset, match="differ only in case"):
        needed_assets({"HDD_1": "Disk.qcow2", "HDD_2": "disk.qcow2"})
    same = needed_assets({"HDD_1": "disk.qcow2", "HDD_2": "disk.qcow2", "ASSET_1": "Disk.qcow2"})
    assert len(same) == 3


def test_a_twin_on_the_disk_is_refused() -> None:
    refuse_twin(Asset("hdd", "disk.qcow2"), ["disk.qcow2"])
    with pytest.raises(UnsafeAsset):
        refuse_twin(Asset("hdd", "disk.qcow2"), ["DISK.qcow2"])


def test_promised_assets_are_the_published_ones() -> None:
    settings = {
        "PUBLISH_HDD_1": "new.qcow2",
        "FORCE_PUBLISH_HDD_2": "forced.raw",
        "STORE_HDD_3": "private.qcow2",
        "PUBLISH_PFLASH_VARS": "vars.qcow2",
        "PUBLISH_HDD_4": "",
    }
    names = {"new.qcow2", "forced.raw", "vars.qcow2"}
    assert promised_assets(settings) == {Asset("hdd", name) for name in names}


def test_private_names_are_mapped_both_ways() -> None:
    on_master = Asset("hdd", "00000123-disk.qcow2")
    on_slave = Asset("hdd", "00000077-disk.qcow2")
    assert paired_name(on_master, 77) == on_slave
    assert paired_name(on_slave, 123) == on_master
    assert paired_name(Asset("hdd", "disk.qcow2"), 77) is None


@pytest.mark.parametrize(
    "name", ["disk.qcow2", "0000012-disk", "00000012disk", "000000012-disk", "00000012-", "-12345678-x"]
)
def test_other_names_are_not_private(name: str) -> None:
    assert split_private(name) is None


@given(st.integers(1, 10**12), st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_private_names_come_apart_as_they_were_put_together(job_id: int, name: str) -> None:
    assert split_private(private_name(job_id, name)) == (job_id, name)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1))
def test_versioned_names_are_short_enough_and_keep_the_ending(name: str) -> None:
    versioned = versioned_name(Asset("hdd", f"{name}.qcow2"), "0123456789ab")
    assert len(versioned.name.encode()) <= 255
    assert stored_type(versioned.name) == "hdd"
    assert versioned.name.startswith("pw0123456789ab-")
