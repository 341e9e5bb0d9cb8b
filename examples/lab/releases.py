"""Other releases of openQA in root directories of their own, so that an instance can run from one.

`lab root NAME` builds such a root with debootstrap. The daemons of an instance then run in it by chroot, as
the same user, on the lab's own directory, which is bound to the same path inside. PostgreSQL and the guest
stay those of this machine. What each release needs beyond its packages was found by running it; see
README.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from examples.lab.errors import LabError
from examples.lab.packages import OUR_POLICY, install

DEFAULT_ROOTS = "/var/tmp/openqa-lab-roots"
_MARKER = Path("etc/openqa-lab.json")
_BOUND = ("proc", "sys", "dev", "dev/pts", "dev/shm")


@dataclass(frozen=True)
class Release:
    """Where a release comes from and what it needs.

    `environment` is that of each of its daemons; packages that match `kept_back` come from `suite` even if
    `target` has newer ones.
    """

    name: str
    about: str
    suite: str
    target: str
    packages: Sequence[str] = ()
    kept_back: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


_PACKAGES = (
    "openqa", "openqa-worker", "openqa-client", "os-autoinst", "qemu-system-x86", "qemu-utils",
    "libdbd-pg-perl", "libminion-backend-sqlite-perl",
)  # fmt: skip

RELEASES: Mapping[str, Release] = {
    release.name: release
    for release in (
        Release(
            "backports",
            "Debian 12's backports, November 2024",
            suite="bookworm",
            target="bookworm-backports",
            # its os-autoinst takes snapshots by what QEMU 9.1 has removed, and backports have QEMU 10
            kept_back=("qemu*", "seabios"),
        ),
        Release(
            "sid",
            "Debian's unstable, 2026",
            suite="sid",
            target="sid",
            # its packages depend on these without saying so
            packages=(
                "libarchive-zip-perl",
                "libio-interactive-perl",
                "libtext-glob-perl",
                "libgetopt-long-descriptive-perl",
                "libio-stringy-perl",
            ),
            # its packages disagree on the version of the database schema
            environment={"OPENQA_SCHEMA_VERSION_OVERRIDE": "105"},
        ),
    )
}


def release_root(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the root of a release lies or would lie: below `$LAB_ROOTS`.

    Raises LabError for a release that is not known.
    """
    if name not in RELEASES:
        raise LabError(f"there is no release {name!r}, only {', '.join(RELEASES)}")
    return Path(environment.get("LAB_ROOTS", DEFAULT_ROOTS)) / name


def is_built(root: Path) -> bool:
    """Whether the root was built to its end."""
    return (root / _MARKER).exists()


def root_environment(root: Path) -> dict[str, str]:
    """What daemons that run in this root need in their environment; raises LabError if it is not built."""
    try:
        known: dict[str, str] = json.loads((root / _MARKER).read_text())
    except FileNotFoundError:
        raise LabError(f"{root} is no finished root: run `examples/lab/lab root {root.name}`") from None
    return known


def build_root(name: str) -> Path:
    """Builds the root of a release unless it is there; minutes and 2 GB. Returns its path.

    Raises LabError if we are not root or a step fails; the next call then starts anew.
    """
    release = RELEASES[name]
    root = release_root(name)
    if is_built(root):
        return root
    if os.getuid() != 0:
        raise LabError("only root can build and enter another root directory")
    install(("debootstrap",))
    if root.exists():
        unmount(root)
        shutil.rmtree(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    archive = _archive()
    # debootstrap of Debian 12 knows no newer suites; the script for sid fits them all
    script = "/usr/share/debootstrap/scripts/sid"
    _run(
        [
            "debootstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            release.suite,
            str(root),
            archive,
            script,
        ]
    )
    try:
        with _mounted(root):
            _configure(root, release, archive)
            _apt(root, "update")
            target = ["--target-release", release.target] if release.target != release.suite else []
            _apt(root, "install", "--yes", "--no-install-recommends", *target, *_PACKAGES, *release.packages)
            _apt(root, "clean")
    finally:
        unmount(root)
    (root / _MARKER).write_text(json.dumps(dict(release.environment)))
    return root


def mount(root: Path, lab_directory: Path) -> None:
    """Binds /proc and so on, and the lab's directory, into a root; does nothing where that was done."""
    root_environment(root)  # says so if the root is not finished
    mounted = _mount_points()
    for source in (*(Path("/") / part for part in _BOUND), lab_directory):
        target = root / source.relative_to("/")
        if str(target) not in mounted:
            target.mkdir(parents=True, exist_ok=True)
            _run(["mount", "--bind", str(source), str(target)])


def leave(root: Path, lab_directory: Path) -> None:
    """Takes a lab's directory out of a root, and the rest too when no other lab uses the root."""
    ours = str(root / lab_directory.relative_to("/"))
    below = {point for point in _mount_points() if point.startswith(f"{root}/")}
    if ours in below:
        _run(["umount", ours])
    if below - {ours} <= {str(root / part) for part in _BOUND}:
        unmount(root)


def unmount(root: Path) -> None:
    """Takes away everything that is mounted below a root."""
    for point in sorted(_mount_points(), reverse=True):
        if point.startswith(f"{root}/"):
            _run(["umount", point])
    left = [point for point in _mount_points() if point.startswith(f"{root}/")]
    if left:
        # what is mounted may be this machine's own /dev: nothing below may be removed then
        raise LabError(f"{', '.join(left)}: still mounted")


@contextmanager
def _mounted(root: Path) -> Iterator[None]:
    for part in _BOUND:
        _run(["mount", "--bind", f"/{part}", str(root / part)])
    try:
        yield
    finally:
        unmount(root)


def _configure(root: Path, release: Release, archive: str) -> None:
    suites = [release.suite, *([release.target] if release.target != release.suite else [])]
    sources = "".join(f"deb {archive} {suite} main\n" for suite in suites)
    (root / "etc/apt/sources.list").write_text(sources)
    (root / "etc/apt/apt.conf.d/99lab").write_text('Acquire::Check-Valid-Until "false";\n')
    if release.kept_back:
        pin = f"Package: {' '.join(release.kept_back)}\nPin: release n={release.suite}\nPin-Priority: 1001\n"
        (root / "etc/apt/preferences.d/lab").write_text(pin)
    (root / "usr/sbin/policy-rc.d").write_text(OUR_POLICY)
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    cluster = root / "etc/postgresql-common/createcluster.d/lab.conf"
    cluster.parent.mkdir(parents=True, exist_ok=True)
    cluster.write_text("create_main_cluster = false\n")
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / name, root / "etc" / name)


def _archive() -> str:
    """The Debian archive that this machine itself uses."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Release: bookworm"],
        capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    if not listed:
        raise LabError("apt knows no archive of Debian bookworm: /etc/apt/sources.list.d must name one")
    return listed[0]


def _apt(root: Path, *arguments: str) -> None:
    environment = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    environment |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    _run(["chroot", str(root), "apt-get", "--quiet", *arguments], environment)


def _mount_points() -> set[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return {line.split()[1].encode().decode("unicode_escape") for line in lines}


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise LabError(f"{' '.join(command)} failed:\n{last}")
