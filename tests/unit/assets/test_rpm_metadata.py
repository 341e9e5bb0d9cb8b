"""A package repository's list of itself."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.bridge.assets.rpm_metadata import RepoFile, parse_index, parse_packages

INDEX = b"""<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1</revision>
  <data type="primary">
    <checksum type="sha256">ABCD</checksum>
    <location href="repodata/abcd-primary.xml.gz"/>
    <size>123</size>
  </data>
  <data type="filelists"><location href="repodata/filelists.xml.gz"/></data>
</repomd>
"""
PRIMARY = b"""<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" packages="2">
<package type="rpm"><name>a</name><checksum type="sha256" pkgid="YES">11</checksum>
  <size package="10" installed="20" archive="30"/><location href="x86_64/a-1.rpm"/></package>
<package type="rpm"><name>b</name><location href="noarch/b-2.rpm"/></package>
</metadata>
"""
PACKAGES = [RepoFile("x86_64/a-1.rpm", 10, ("sha256", "11")), RepoFile("noarch/b-2.rpm")]


def test_the_index_names_the_metadata() -> None:
    index = parse_index(INDEX)
    assert index.primary == RepoFile("repodata/abcd-primary.xml.gz", 123, ("sha256", "abcd"))
    assert index.metadata == (index.primary, RepoFile("repodata/filelists.xml.gz"))


@pytest.mark.parametrize(
    ("ending", "pack"),
    [(".xml", bytes), (".xml.gz", gzip.compress), (".xml.xz", lzma.compress), (".xml.bz2", bz2.compress)],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_packages_are_listed_however_they_are_packed(
    ending: str, pack: Callable[[bytes], bytes], size: int
) -> None:
    data = pack(PRIMARY)
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    assert list(parse_packages(blocks, f"repodata/primary{ending}")) == PACKAGES


@pytest.mark.parametrize(
    "href", ["../../etc/passwd", "/etc/passwd", "a//b", "x/../y", "", "a/" + "x" * 300, "a/&#7;"]
)
def test_files_outside_of_the_repository_are_refused(href: str) -> None:
    bad = PRIMARY.replace(b"noarch/b-2.rpm", href.encode())
    with pytest.raises(AssetFailure):
        list(parse_packages([bad], "primary.xml"))


def test_a_size_that_nobody_has_is_no_size() -> None:
    endless = INDEX.replace(b"<size>123<", b"<size>" + b"9" * 5000 + b"<")
    assert parse_index(endless).primary.size is None


def test_files_of_other_hosts_are_refused() -> None:
    bad = PRIMARY.replace(b"<location href=", b'<location xml:base="http://elsewhere/" href=')
    with pytest.raises(AssetFailure, match="does not lie in it"):
        list(parse_packages([bad], "primary.xml"))


def test_entities_are_refused() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><repomd>&b;</repomd>'
    with pytest.raises(AssetFailure, match="entities"):
        parse_index(bomb)


@pytest.mark.parametrize("bad", [b"", b"<html>", b"no xml", b"<repomd></repomd>", INDEX[:200]])
def test_what_is_no_index_is_told(bad: bytes) -> None:
    with pytest.raises(AssetFailure):
        parse_index(bad)


def test_an_unknown_packing_is_told() -> None:
    with pytest.raises(AssetFailure, match="packed in a way"):
        list(parse_packages([b""], "repodata/primary.xml.zst"))


@given(st.binary(max_size=300), st.sampled_from(["p.xml", "p.xml.gz", "p.xml.xz", "p.xml.bz2"]))
def test_garbage_brings_only_asset_failures(data: bytes, path: str) -> None:
    try:
        list(parse_packages([data], path))
    except AssetFailure:
        pass  # the documented one
