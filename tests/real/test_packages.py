"""The packages are built from the tree; Debian's is installed into a clean system and asked to check the lab.

Wants apt and root; takes a minute or two on a machine that does nothing else. What is missing is installed.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.lab.api import OpenqaApi
from examples.lab.federation import write_configuration
from examples.lab.jobs import post
from examples.lab.layout import current_lab
from examples.lab.packages import install
from pseudoworker import __version__
from pseudoworker.bridge.status import SERVICE_DIRECTORY
from tests.packaging.conftest import copy_tree
from tests.real.container import Machine, booted, run
from tests.real.live_bridge import wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TOOLS = ("debhelper", "dh-python", "dpkg-dev", "mmdebstrap", "rpm", "systemd-container")
RELEASE = platform.freedesktop_os_release()


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
    run("dpkg-buildpackage", "--build=binary", "--no-sign", directory=tree, DEB_BUILD_PROFILES=profile)
    return tree.parent / f"pseudoworker_{__version__}_all.deb"


@pytest.fixture(scope="module")
def clean_system(package: Path) -> Iterator[Path]:
    """A minimal system of this machine's release with nothing but the package and what it depends on."""
    # not among pytest's directories, which other runs clean up
    root = Path(tempfile.mkdtemp(prefix="pseudoworker-system-", dir="/var/tmp"))
    run(
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
    run("rm", "--recursive", "--force", "--one-file-system", root)


@pytest.fixture(scope="module")
def configured(clean_system: Path) -> Path:
    """The clean system with a configuration that joins the lab's instances, by a location of its own."""
    conf = clean_system / "etc/openqa"
    conf.mkdir()
    write_configuration(current_lab(), conf, location="clean")
    toml = conf / "pseudoworker.toml"
    # a name of its own for each run
    toml.write_text(f'host = "clean-system-{os.getpid()}"\n' + toml.read_text())
    (conf / "client.conf.d").mkdir()
    (conf / "client.conf").rename(conf / "client.conf.d/pseudoworker.conf")
    run("chroot", clean_system, "chgrp", "_pseudoworker", "/etc/openqa/client.conf.d/pseudoworker.conf")
    (conf / "client.conf.d/pseudoworker.conf").chmod(0o640)
    return clean_system


def test_the_package_runs_in_a_clean_system_and_finds_the_lab_in_order(configured: Path) -> None:
    def inside(*command: str) -> str:
        return run("chroot", configured, *command)

    assert inside("pseudoworker", "--version") == f"pseudoworker {__version__}\n"
    account = inside("getent", "passwd", "_pseudoworker").split(":")
    assert account[5] == str(SERVICE_DIRECTORY)

    # as StateDirectory= of the unit makes it
    inside("install", "--directory", "--mode=700", "--owner=_pseudoworker", str(SERVICE_DIRECTORY))
    told = run("chroot", "--userspec=_pseudoworker", configured, "pseudoworker", "check", "--instance", "1-2")
    assert told.endswith(" 0 warnings, 0 errors\n"), told
    assert f"{SERVICE_DIRECTORY} can be written (asked as user _pseudoworker)" in told


@pytest.fixture(scope="module")
def machine(configured: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The clean system, booted."""
    drop_in = configured / "etc/systemd/system/pseudoworker@.service.d/quick.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=10\n")
    with booted(configured, tmp_path_factory.mktemp("container") / "log") as its:
        yield its


def test_under_systemd_a_job_runs_on_while_the_service_is_restarted(machine: Machine) -> None:
    unit = "pseudoworker@1-2.service"
    machine.run("systemctl", "start", unit)
    assert machine.show(unit, "ActiveState") == "active"
    assert machine.show(unit, "StatusText") == "2 slots"
    wait_for(
        "free slots", lambda: machine.run("pseudoworker", "status", may_fail=True).startswith("OK - 2 free")
    )

    master = current_lab().master
    api = OpenqaApi(master.url)
    job = post(master, "short", WORKER_CLASS=":clean:qemu_x86_64")[""]

    def state() -> str:
        return str(api.get(f"jobs/{job}")["job"]["state"])

    wait_for("the job to run", lambda: state() == "running")
    first = machine.show(unit, "MainPID")
    machine.run("systemctl", "restart", unit)
    assert machine.show(unit, "MainPID") != first
    assert machine.show(unit, "NRestarts") == "0"
    wait_for("the job's end", lambda: state() == "done", limit=300)
    assert api.get(f"jobs/{job}")["job"]["result"] == "passed"
    journal = ("journalctl", "--no-pager", "--boot", "--output=cat", f"--unit={unit}")
    assert f"Going on with job {job} in slot " in machine.run(*journal)
    assert machine.run(*journal, "--priority=err", may_fail=True).strip() in ("", "-- No entries --")


def test_under_systemd_a_process_that_hangs_is_started_anew(machine: Machine) -> None:
    unit = "pseudoworker@1-2.service"
    machine.run("systemctl", "start", unit)
    machine.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", unit)
    wait_for("the watchdog", lambda: machine.show(unit, "NRestarts") == "1", limit=60, every=0.5)
    wait_for("the new process", lambda: machine.show(unit, "ActiveState") == "active", every=0.5)
    machine.run("systemctl", "stop", unit)
    assert machine.show(unit, "Result") == "success"


def test_under_systemd_a_changed_configuration_is_taken_over(machine: Machine, configured: Path) -> None:
    unit = "pseudoworker-auto-restart@1-2.service"
    machine.run("systemctl", "start", unit, "pseudoworker-reload@1-2.path")
    first = machine.show(unit, "MainPID")
    toml = configured / "etc/openqa/pseudoworker.toml"
    toml.write_text(toml.read_text() + "\n[limits]\nqueue_allowance = 1\n")
    wait_for("another process", lambda: machine.show(unit, "MainPID") not in (first, "0"), every=0.5)
    wait_for("it to be up", lambda: machine.show(unit, "ActiveState") == "active", every=0.5)
    machine.run("systemctl", "stop", "pseudoworker.target", "pseudoworker-reload@1-2.path")
    wait_for("the end of what is part of the target", lambda: machine.show(unit, "ActiveState") == "inactive")


def test_removing_the_package_leaves_nothing_but_the_journal_and_purging_not_even_that(
    configured: Path,
) -> None:
    journal = configured / SERVICE_DIRECTORY.relative_to("/") / "journal.sqlite"
    journal.touch()
    run("chroot", configured, "dpkg", "--remove", "pseudoworker")
    assert not (configured / "usr/bin/pseudoworker").exists()
    assert not (configured / "usr/share/pseudoworker").exists()
    assert journal.exists()
    run("chroot", configured, "dpkg", "--purge", "pseudoworker")
    assert not journal.exists()


def test_the_rpm_is_built_and_holds_what_the_debian_package_holds(tree: Path, package: Path) -> None:
    top = tree.parent / "rpmbuild"
    (top / "SOURCES").mkdir(parents=True)
    source = top / "SOURCES" / f"{tree.name}.tar.gz"
    run("tar", "--create", "--gzip", "--exclude=debian", f"--file={source}", tree.name, directory=tree.parent)
    # the names of what it needs are those of RPM distributions: this machine has them under others
    run("rpmbuild", "--nodeps", "-bb", f"--define=_topdir {top}", tree / "packaging/rpm/pseudoworker.spec")
    (built,) = (top / "RPMS/noarch").glob("*.rpm")
    wanted = run("rpm", "--query", "--requires", "--package", built)
    assert "python3dist(websockets) >= 13" in wanted
    held = {path for path in run("rpm", "--query", "--list", "--package", built).split() if _is_ours(path)}
    listed = run("dpkg-deb", "--contents", package).splitlines()
    paths = {line.split()[5].removeprefix(".") for line in listed if line.startswith("-")}
    assert held == {path for path in paths if _is_ours(path)}
    assert len(held) > 100


_ITS_OWN = ("/share/doc/", "/share/licenses/", "/man1/", "/runtime.d/", "/pseudoworker/websockets")
"""What each kind of package has in its own way, and the websockets that Debian 12 is given."""


def _is_ours(path: str) -> bool:
    """A file that both packages must hold under the same name."""
    return Path(path).suffix != "" and not any(part in path for part in _ITS_OWN)
