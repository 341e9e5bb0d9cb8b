"""What a slave job created, told from what it used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.products import Product, Products, created_products


@dataclass(frozen=True)
class Finished:
    settings: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    id: int = 77


def log_of(*names: str) -> str:
    """What a worker's log says when it uploads assets."""
    lines = (f"[2023-01-24T10:00:00.1 UTC] [info] [pid:7] Uploading {name}" for name in names)
    return "".join(f"{line}\n{line} using multiple chunks\n" for line in lines)


def names(products: Products) -> list[tuple[str, str, str]]:
    return [(str(each.asset), each.name, each.scope) for each in products.relayed]


def test_private_and_public_products_of_every_kind() -> None:
    job = Finished(
        {"ISO": "tiny.iso", "PUBLISH_HDD_1": "disk.qcow2", "STORE_HDD_2": "state.qcow2"},
        {
            "iso": ["tiny.iso"],
            "hdd": ["disk.qcow2", "00000077-state.qcow2"],
            "other": ["00000077-notes.txt", "report.txt"],
        },
    )
    assert names(created_products(job)) == [
        ("hdd/00000077-state.qcow2", "state.qcow2", "private"),
        ("other/00000077-notes.txt", "notes.txt", "private"),
        ("hdd/disk.qcow2", "disk.qcow2", "public"),
        ("other/report.txt", "report.txt", "public"),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"HDD_1": "disk.qcow2"},
        {"HDD_1": "00000070-disk.qcow2"},
    ],
)
def test_what_the_job_used_is_no_product(settings: dict[str, str]) -> None:
    used = {"hdd": ["00000070-disk.qcow2"] if "HDD_1" in settings else []}
    assert names(created_products(Finished(settings, used))) == []


def test_the_same_name_of_another_type_is_no_excuse() -> None:
    job = Finished({"ASSET_1": "a.qcow2"}, {"hdd": ["a.qcow2"]})
    assert names(created_products(job)) == [("hdd/a.qcow2", "a.qcow2", "public")]


def test_a_used_asset_that_was_overwritten_is_told_by_the_log() -> None:
    job = Finished(
        {"HDD_1": "disk.qcow2", "ISO": "tiny.iso", "PUBLISH_HDD_1": "disk.qcow2"},
        {"hdd": ["disk.qcow2"], "iso": ["tiny.iso"]},
    )
    assert names(created_products(job, "nothing of interest")) == []
    assert names(created_products(job, log_of("disk.qcow2"))) == [("hdd/disk.qcow2", "disk.qcow2", "public")]


def test_names_with_spaces_are_read_from_the_log() -> None:
    job = Finished({"ASSET_1": "my notes.txt"}, {"other": ["my notes.txt"]})
    assert len(created_products(job, log_of("my notes.txt")).relayed) == 1


def test_repositories_and_types_that_no_upload_makes_are_left_out() -> None:
    job = Finished({}, {"repo": ["tree"], "iso": ["not-an-iso.img"]})
    assert created_products(job) == Products((), ())


@pytest.mark.parametrize("name", ["../x.qcow2", "/etc/x.qcow2", "a\0.qcow2", "x" * 260 + ".qcow2", "a/b.raw"])
def test_hostile_products_are_refused(name: str) -> None:
    products = created_products(Finished({}, {"hdd": [name, "good.qcow2"]}))
    assert products.relayed == (Product(Asset("hdd", "good.qcow2"), "good.qcow2", "public"),)
    assert len(products.refused) == 1


def test_products_that_differ_only_in_case_are_refused() -> None:
    products = created_products(Finished({}, {"other": ["notes.txt", "Notes.txt"]}))
    assert len(products.relayed) == 1
    assert "only in case" in products.refused[0]


def test_a_private_and_a_public_product_may_share_a_name() -> None:
    products = created_products(Finished({}, {"other": ["a.txt", "00000077-a.txt"]}))
    assert [each.key for each in products.relayed] == ["private:other/a.txt", "public:other/a.txt"]
