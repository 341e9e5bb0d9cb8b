"""Installs what the lab needs from Debian, without starting anything system-wide.

Debian's packages of openQA and PostgreSQL bring services along. `policy-rc.d` keeps them from being started
while we install; whatever policy the machine had before is put back.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from examples.lab.errors import LabError

PACKAGES = (
    "openqa",
    "openqa-worker",
    "openqa-client",
    "os-autoinst",
    "qemu-system-x86",
    "qemu-utils",
    "postgresql",
    "busybox-static",
    "cpio",
    "xorriso",
    "isolinux",
    "syslinux-common",
    "kmod",
    "libdbd-pg-perl",
    "libminion-backend-sqlite-perl",
)
BROWSER_PACKAGES = ("chromium",)

POLICY = Path("/usr/sbin/policy-rc.d")
KEPT_POLICY = Path("/usr/sbin/policy-rc.d.before-openqa-lab")
OUR_POLICY = "#!/bin/sh\n# openQA lab: nothing is started while it installs\nexit 101\n"
STATUS = Path("/var/lib/dpkg/status")
# Seconds to wait for another package manager to finish; long, since it may be installing openQA itself.
_LOCK_LIMIT = 1200


def install(packages: Sequence[str] = PACKAGES) -> list[str]:
    """Installs those of the packages that are missing; returns what it installed.

    Raises LabError when something is missing and we are not root, or when apt fails.
    """
    missing = missing_packages(packages)
    if not missing:
        return []
    if os.getuid() != 0:
        raise LabError(f"missing packages: {' '.join(missing)}: run `examples/lab/lab install` as root")
    with nothing_starts():
        if not _known_to_apt(missing):
            apt("update")
        try:
            apt("install", "--yes", "--no-install-recommends", *missing)
        except LabError:
            # package lists that are older than the archive name files that are gone
            apt("update")
            apt("install", "--yes", "--no-install-recommends", *missing)
    return missing


def missing_packages(packages: Sequence[str]) -> list[str]:
    """Those of the packages that dpkg does not call installed."""
    installed = set()
    name = ""
    for line in STATUS.read_text(errors="replace").splitlines():
        if line.startswith("Package: "):
            name = line.removeprefix("Package: ")
        elif line == "Status: install ok installed":
            installed.add(name)
    return [package for package in packages if package not in installed]


def apt(*arguments: str, directory: Path | None = None) -> str:
    """Runs apt-get without questions, waiting for other package managers; returns its output."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    command = ["apt-get", "--quiet", "-o", f"DPkg::Lock::Timeout={_LOCK_LIMIT}", *arguments]
    done = subprocess.run(
        command,
        check=False,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise LabError(f"{' '.join(command)} failed:\n{last}")
    return done.stdout


@contextmanager
def nothing_starts() -> Iterator[None]:
    """As long as it lasts, no package may start a service (invoke-rc.d asks policy-rc.d)."""
    if KEPT_POLICY.exists():
        KEPT_POLICY.replace(POLICY)  # an installation was interrupted
    elif POLICY.exists() and POLICY.read_text(errors="replace") == OUR_POLICY:
        POLICY.unlink()
    if POLICY.exists():
        POLICY.rename(KEPT_POLICY)
    try:
        POLICY.write_text(OUR_POLICY)
        POLICY.chmod(0o755)
        yield
    finally:
        if KEPT_POLICY.exists():
            KEPT_POLICY.replace(POLICY)
        else:
            POLICY.unlink(missing_ok=True)


def _known_to_apt(packages: Sequence[str]) -> bool:
    done = subprocess.run(["apt-cache", "show", *packages], capture_output=True, check=False)
    return done.returncode == 0
