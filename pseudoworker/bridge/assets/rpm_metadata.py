"""Which files a package repository consists of, by its own metadata (`repodata`, as createrepo writes it).
Pure.

openQA serves the files of a `repo` asset but lists them nowhere; a repository of packages lists itself.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.openqa.errors import UnsafeName
from pseudoworker.openqa.names import safe_name

REPOMD = "repodata/repomd.xml"
"""The file that names all others; without it a directory can not be copied."""
BESIDE = (
    "repodata/repomd.xml.asc",
    "repodata/repomd.xml.key",
    "media.1/media",
    "media.1/products",
    "content",
    "CHECKSUMS",
    "CHECKSUMS.asc",
    ".treeinfo",
)
"""Files that installers look for beside the packages, where there are any."""
MOST_FILES = 200_000
LARGEST_METADATA = 4_000_000_000
"""Bytes of metadata, unpacked."""

_CHECKSUMS = frozenset({"sha1", "sha224", "sha256", "sha384", "sha512", "md5"})
_PIECE = 1_048_576
_DIGITS = 18
"""Of the longest number that is taken for one: Python refuses to read numbers of thousands of digits."""


@dataclass(frozen=True)
class RepoFile:
    """One file of a repository."""

    path: str
    """Below the repository, checked."""
    size: int | None = None
    checksum: tuple[str, str] | None = None
    """Algorithm, as hashlib names it, and hexadecimal digits."""


@dataclass(frozen=True)
class Index:
    """What repomd.xml names."""

    metadata: tuple[RepoFile, ...]
    primary: RepoFile
    """Of these, the one that lists the packages."""


def parse_index(repomd: bytes) -> Index:
    """Read repomd.xml. Raises AssetFailure when it is none."""
    files: list[RepoFile] = []
    primary: RepoFile | None = None
    for data in _elements((repomd,), "data"):
        file = _file(data, _number(data.findtext("{*}size")))
        files.append(file)
        if data.get("type") == "primary":
            primary = file
    if primary is None:
        raise AssetFailure("repomd.xml names no list of packages")
    return Index(tuple(files), primary)


def parse_packages(blocks: Iterable[bytes], path: str) -> Iterator[RepoFile]:
    """Read the list of packages as it comes; `path` tells how it is packed. Raises AssetFailure."""
    for count, package in enumerate(_elements(_unpacked(blocks, path), "package")):
        size = package.find("{*}size")
        if count >= MOST_FILES:
            raise AssetFailure(f"the repository has more than {MOST_FILES} packages")
        yield _file(package, None if size is None else _number(size.get("package")))


def _file(element: ElementTree.Element, size: int | None) -> RepoFile:
    location = element.find("{*}location")
    href = None if location is None else location.get("href")
    if location is None or href is None or any(key.endswith("base") for key in location.attrib):
        raise AssetFailure("the repository's metadata names a file that does not lie in it")
    try:
        for part in href.split("/"):
            safe_name(part)
    except UnsafeName as error:
        raise AssetFailure(f"the repository's metadata is refused: {error}") from error
    checksum = element.find("{*}checksum")
    known = None
    if checksum is not None and checksum.get("type") in _CHECKSUMS and checksum.text:
        known = (str(checksum.get("type")), checksum.text.strip().lower())
    return RepoFile(href, size, known)


def _number(text: str | None) -> int | None:
    return int(text) if text and len(text) <= _DIGITS and text.isascii() and text.isdigit() else None


def _elements(blocks: Iterable[bytes], name: str) -> Iterator[ElementTree.Element]:
    """Each element of this name, in a document that is read as it comes and not kept."""
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(("start", "end"))
    root: ElementTree.Element | None = None
    read = 0
    try:
        for block in blocks:
            read += len(block)
            if b"<!DOCTYPE" in block or b"<!ENTITY" in block:
                raise AssetFailure("the repository's metadata declares entities, which is refused")
            if read > LARGEST_METADATA:
                raise AssetFailure("the repository's metadata does not end")
            parser.feed(block)
            for event in parser.read_events():
                element = event[1] if len(event) > 1 else None
                if not isinstance(element, ElementTree.Element):
                    continue  # of events that were not asked for
                if root is None:
                    root = element
                elif event[0] == "end" and element.tag.rpartition("}")[2] == name:
                    yield element
                    root.clear()
        parser.close()
    except ElementTree.ParseError as error:
        raise AssetFailure(f"the repository's metadata can not be read: {error}") from error


def _unpacked(blocks: Iterable[bytes], path: str) -> Iterator[bytes]:
    if path.endswith(".gz"):
        yield from _gunzipped(blocks)
    elif path.endswith((".xz", ".lzma")):
        yield from _decompressed(blocks, lzma.LZMADecompressor())
    elif path.endswith(".bz2"):
        yield from _decompressed(blocks, bz2.BZ2Decompressor())
    elif path.endswith(".xml"):
        yield from blocks
    else:
        raise AssetFailure(f"the repository's metadata is packed in a way that is not known here: {path}")


def _gunzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        for block in blocks:
            rest = block
            while rest:
                yield unpacker.decompress(rest, _PIECE)
                rest = unpacker.unconsumed_tail
    except zlib.error as error:
        raise AssetFailure(f"the repository's metadata can not be unpacked: {error}") from error


def _decompressed(
    blocks: Iterable[bytes], unpacker: lzma.LZMADecompressor | bz2.BZ2Decompressor
) -> Iterator[bytes]:
    try:
        for block in blocks:
            rest = block
            while not unpacker.eof and (rest or not unpacker.needs_input):
                yield unpacker.decompress(rest, _PIECE)
                rest = b""
    except (lzma.LZMAError, OSError) as error:
        raise AssetFailure(f"the repository's metadata can not be unpacked: {error}") from error
