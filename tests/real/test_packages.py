"""The packages are built from the tree; Debian's is installed into a clean system and asked to check the lab.

Wants apt and root; takes a minute or two on a machine that does nothing else. What is missing is installed.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.lab.federation import write_configuration
from examples.lab.layout import current_lab
from examples.lab.packages import install
from pseudoworker import __version__
from pseudoworker.bridge.status import SERVICE_DIRECTORY
from tests.packaging.conftest import copy_tree

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TOOLS = ("debhelper", "dh-python", "dpkg-dev", "mmdebstrap", "rpm")
RELEASE = platform.freedesktop_os_release()


def _run(*command: str | Path, directory: Path | None = None, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "LC_ALL": "C.UTF-8", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-6000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, and everything on this machine that building takes."""
    install(TOOLS)
    tree = tmp_path_factory.mktemp("packages") / f"pseudoworker-{__version__}"
    copy_tree(tree)
    return tree


@pytest.fixture(scope="module")
def package(tree: Path) -> Path:
    """The Debian package. Debian 12 is given websockets with it."""
    profile = "pkg.pseudoworker.bundle" if RELEASE["VERSION_ID"] == "12" else ""
    _run("dpkg-buildpackage", "--build=binary", "--no-sign", directory=tree, DEB_BUILD_PROFILES=profile)
    return tree.parent / f"pseudoworker_{__version__}_all.deb"


@pytest.fixture(scope="module")
def clean_system(package: Path) -> Iterator[Path]:
    """A minimal system of this machine's release with nothing but the package and what it depends on."""
    root = package.parent / "system"
    _run(
        # what it mounts lives in a namespace of its own, and can never be left behind for whoever cleans up
        "unshare",
        "--mount",
        "--propagation=private",
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        "--dpkgopt=force-unsafe-io",
        f"--customize-hook=copy-in {package} /root",
        f'--customize-hook=chroot "$1" apt-get install --yes --no-install-recommends /root/{package.name}',
        RELEASE["VERSION_CODENAME"],
        root,
    )
    yield root
    _run("rm", "--recursive", "--force", "--one-file-system", root)


def test_the_package_runs_in_a_clean_system_and_finds_the_lab_in_order(clean_system: Path) -> None:
    def inside(*command: str) -> str:
        return _run("chroot", clean_system, *command)

    assert inside("pseudoworker", "--version") == f"pseudoworker {__version__}\n"
    account = inside("getent", "passwd", "_pseudoworker").split(":")
    assert account[5] == str(SERVICE_DIRECTORY)

    conf = clean_system / "etc/openqa"
    conf.mkdir()
    write_configuration(current_lab(), conf)
    toml = conf / "pseudoworker.toml"
    toml.write_text('host = "package-test"\n' + toml.read_text())
    (conf / "client.conf.d").mkdir()
    (conf / "client.conf").rename(conf / "client.conf.d/pseudoworker.conf")
    inside("chgrp", "_pseudoworker", "/etc/openqa/client.conf.d/pseudoworker.conf")
    inside("chmod", "640", "/etc/openqa/client.conf.d/pseudoworker.conf")
    # as StateDirectory= of the unit makes it
    inside("install", "--directory", "--mode=700", "--owner=_pseudoworker", str(SERVICE_DIRECTORY))

    told = _run(
        "chroot", "--userspec=_pseudoworker", clean_system, "pseudoworker", "check", "--instance", "90-91"
    )
    assert told.endswith(" 0 warnings, 0 errors\n"), told
    assert f"{SERVICE_DIRECTORY} can be written (asked as user _pseudoworker)" in told


def test_removing_the_package_leaves_nothing_but_the_journal_and_purging_not_even_that(
    clean_system: Path,
) -> None:
    journal = clean_system / SERVICE_DIRECTORY.relative_to("/") / "journal.sqlite"
    journal.touch()
    _run("chroot", clean_system, "dpkg", "--remove", "pseudoworker")
    assert not (clean_system / "usr/bin/pseudoworker").exists()
    assert not (clean_system / "usr/share/pseudoworker").exists()
    assert journal.exists()
    _run("chroot", clean_system, "dpkg", "--purge", "pseudoworker")
    assert not journal.exists()


def test_the_rpm_is_built_and_holds_what_the_debian_package_holds(tree: Path, package: Path) -> None:
    top = tree.parent / "rpmbuild"
    (top / "SOURCES").mkdir(parents=True)
    source = top / "SOURCES" / f"{tree.name}.tar.gz"
    _run(
        "tar", "--create", "--gzip", "--exclude=debian", f"--file={source}", tree.name, directory=tree.parent
    )
    # the names of what it needs are those of RPM distributions: this machine has them under others
    _run("rpmbuild", "--nodeps", "-bb", f"--define=_topdir {top}", tree / "packaging/rpm/pseudoworker.spec")
    (built,) = (top / "RPMS/noarch").glob("*.rpm")
    wanted = _run("rpm", "--query", "--requires", "--package", built)
    assert "python3dist(websockets) >= 13" in wanted
    held = {path for path in _run("rpm", "--query", "--list", "--package", built).split() if _is_ours(path)}
    listed = _run("dpkg-deb", "--contents", package).splitlines()
    paths = {line.split()[5].removeprefix(".") for line in listed if line.startswith("-")}
    assert held == {path for path in paths if _is_ours(path)}
    assert len(held) > 100


_ITS_OWN = ("/share/doc/", "/share/licenses/", "/man1/", "/runtime.d/", "/pseudoworker/websockets")
"""What each kind of package has in its own way, and the websockets that Debian 12 is given."""


def _is_ours(path: str) -> bool:
    """A file that both packages must hold under the same name."""
    return Path(path).suffix != "" and not any(part in path for part in _ITS_OWN)
