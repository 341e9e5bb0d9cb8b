"""Repositories are checked, and copied where their names are allowed."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path

import pytest

from pseudoworker.bridge.assets.errors import AssetFailure
from tests.protocol.assets.world import World, content_of, world


def make_repo(path: Path, count: int = 12, seed: int = 0) -> None:
    """A repository as createrepo leaves it."""
    packages = []
    for index in range(count):
        content = content_of(5000 + index, index + seed)
        file = path / "x86_64" / f"package-{index}.rpm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        packages.append(
            f'<package><checksum type="sha256">{hashlib.sha256(content).hexdigest()}</checksum>'
            f'<size package="{len(content)}"/><location href="x86_64/{file.name}"/></package>'
        )
    primary = gzip.compress(f"<metadata>{''.join(packages)}</metadata>".encode(), mtime=0)
    repodata = path / "repodata"
    repodata.mkdir(parents=True, exist_ok=True)
    (repodata / "primary.xml.gz").write_bytes(primary)
    (repodata / "repomd.xml").write_text(
        '<repomd><data type="primary">'
        f'<checksum type="sha256">{hashlib.sha256(primary).hexdigest()}</checksum>'
        f'<size>{len(primary)}</size><location href="repodata/primary.xml.gz"/></data></repomd>'
    )
    (path / "media.1").mkdir(exist_ok=True)
    (path / "media.1" / "media").write_text("one\n")


def serve(w: World, tmp_path: Path) -> Path:
    """Have both instances serve directories as openQA does, without a list; where the master's repos lie."""
    master = tmp_path / "master-repos"
    master.mkdir(exist_ok=True)
    for side, root in ((w.master, master), (w.slave, w.factory / "repo")):
        w.directories[side] = root
    return master


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


async def test_an_allowed_repository_is_copied_whole(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local", repos=("good-*",)) as w:
        master = serve(w, tmp_path)
        make_repo(master / "good-tree")
        (master / "good-tree" / "x86_64" / "unlisted.txt").write_text("not part of it")
        provided = await w.provide(REPO_0="good-tree")
        assert provided.settings == {}
        copied = tree(w.factory / "repo" / "good-tree")
        wanted = tree(master / "good-tree")
        del wanted["x86_64/unlisted.txt"]
        assert copied == wanted
        assert w.leftovers() == []
        asked = w.master.traffic.counts["repo_file"]
        await w.provide(REPO_0="good-tree")
        assert w.master.traffic.counts["repo_file"] - asked == 1  # its index, to see whether it changed


async def test_other_repositories_are_not(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local", repos=("good-*",)) as w:
        make_repo(serve(w, tmp_path) / "bad-tree")
        with pytest.raises(AssetFailure, match=r"repos of .assets. does not allow to move it"):
            await w.provide(REPO_0="bad-tree")


async def test_a_changed_repository_gets_another_name(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local", repos=("*",)) as w:
        master = serve(w, tmp_path)
        make_repo(master / "tree")
        await w.provide(REPO_0="tree")
        make_repo(master / "tree", seed=7)
        provided = await w.provide(REPO_0="tree")
        name = provided.settings["REPO_0"]
        assert tree(w.factory / "repo" / name) == tree(master / "tree")
        assert (await w.provide(REPO_0="tree")).settings == {"REPO_0": name}


async def test_a_package_that_is_not_what_it_should_be_ends_it(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local", repos=("*",)) as w:
        master = serve(w, tmp_path)
        make_repo(master / "tree")
        package = master / "tree" / "x86_64" / "package-11.rpm"
        content = package.read_bytes()
        package.write_bytes(b"x" + content[1:])
        with pytest.raises(AssetFailure, match=r"package-11\.rpm .* another checksum"):
            await w.provide(REPO_0="tree")
        assert not (w.factory / "repo" / "tree").exists()
        package.write_bytes(content)
        sent = w.master.traffic.sent["repo_file"]
        await w.provide(REPO_0="tree")
        # it is the last one: no more than three others can have been on their way with it
        assert w.master.traffic.sent["repo_file"] - sent < 40_000
        assert tree(w.factory / "repo" / "tree") == tree(master / "tree")


async def test_a_directory_that_does_not_list_itself_can_not_be_copied(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local", repos=("*",)) as w:
        (serve(w, tmp_path) / "tree").mkdir()
        with pytest.raises(AssetFailure, match=r"serves no repomd\.xml"):
            await w.provide(REPO_0="tree")


async def test_other_transports_can_not_copy_any(tmp_path: Path) -> None:
    async with world(tmp_path, transport="url", repos=("*",)) as w:
        make_repo(serve(w, tmp_path) / "tree")
        with pytest.raises(AssetFailure, match="only transport local can move repositories"):
            await w.provide(REPO_0="tree")


async def test_the_size_of_a_repository_counts(tmp_path: Path) -> None:
    async with world(tmp_path, transport="local", repos=("*",), max_size=10_000) as w:
        make_repo(serve(w, tmp_path) / "tree")
        with pytest.raises(AssetFailure, match="more than max_size"):
            await w.provide(REPO_0="tree")
    async with world(tmp_path, transport="local", repos=("*",), quota=70_000) as w:
        master = serve(w, tmp_path)
        for name in ("one", "two"):
            shutil.rmtree(master / name, ignore_errors=True)
            make_repo(master / name)
        await w.provide(REPO_0="one")
        with pytest.raises(AssetFailure, match="quota"):
            await w.provide(REPO_0="two")
