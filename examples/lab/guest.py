"""Builds the tiny guest that every job of the lab boots: Debian's cloud kernel and busybox on an ISO.

It boots in about 5 s under plain emulation. The cloud kernel has no graphics driver, so the console stays
in VGA text mode (720x400), which needles can match; the virtio modules it needs go into the initramfs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from examples.lab.errors import LabError
from examples.lab.packages import apt

SOURCES = Path(__file__).with_name("guest")
KERNEL_PACKAGE = "linux-image-cloud-amd64"
MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "virtio_net")
APPLETS_FROM = Path("/bin/busybox")


def build_guest(directory: Path) -> Path:
    """Builds `directory`/lab-guest.iso unless it is newer than all it is made of; returns its path.

    Raises LabError when the kernel cannot be downloaded or a tool fails.
    """
    iso = directory / "lab-guest.iso"
    sources = [*SOURCES.iterdir(), Path(__file__)]
    if iso.exists() and iso.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return iso
    directory.mkdir(parents=True, exist_ok=True)
    kernel_files = fetch_kernel(directory)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".build.") as name:
        work = Path(name)
        tree = work / "iso"
        tree.mkdir()
        kernel = next((kernel_files / "boot").glob("vmlinuz-*"))
        shutil.copy(kernel, tree / "vmlinuz")
        _build_initramfs(work, kernel_files, kernel.name.removeprefix("vmlinuz-"), tree / "initrd.gz")
        shutil.copy(SOURCES / "isolinux.cfg", tree)
        shutil.copy("/usr/lib/ISOLINUX/isolinux.bin", tree)
        shutil.copy("/usr/lib/syslinux/modules/bios/ldlinux.c32", tree)
        made = work / iso.name
        _run(
            "xorriso", "-as", "mkisofs", "-quiet", "-volid", "LABGUEST", "-o", str(made),
            "-b", "isolinux.bin", "-c", "boot.cat",
            "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", str(tree),
        )  # fmt: skip
        # KERNEL and INITRD assets are these two by themselves
        shutil.copy(tree / "vmlinuz", directory / "lab-vmlinuz")
        shutil.copy(tree / "initrd.gz", directory / "lab-initrd.gz")
        made.replace(iso)
    iso.touch()
    return iso


def fetch_kernel(directory: Path) -> Path:
    """Downloads and unpacks Debian's cloud kernel, without installing it; returns where it lies."""
    unpacked = directory / "kernel"
    if unpacked.is_dir():
        return unpacked
    depends = _run("apt-cache", "depends", KERNEL_PACKAGE)
    match = re.search(r"Depends: (linux-image-\S+)", depends)
    if not match:
        raise LabError(f"apt knows no {KERNEL_PACKAGE}: run `apt-get update`")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".kernel.") as name:
        work = Path(name)
        try:
            apt("download", match[1], directory=work)
        except LabError:
            if os.getuid() != 0:
                raise
            apt("update")
            return fetch_kernel(directory)
        package = next(work.glob("*.deb"))
        _run("dpkg-deb", "--extract", str(package), str(work / "kernel"))
        (work / "kernel").replace(unpacked)
    return unpacked


def _build_initramfs(work: Path, kernel_files: Path, release: str, target: Path) -> None:
    root = work / "root"
    for part in ("bin", "dev", "proc", "sys", "tmp", "mnt", "modules", "root"):
        (root / part).mkdir(parents=True)
    shutil.copy(APPLETS_FROM, root / "bin" / "busybox")
    for applet in _run(str(APPLETS_FROM), "--list").split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    for script in ("init", "profile"):
        shutil.copy(SOURCES / script, root / script)
        (root / script).chmod(0o755)
    for program in ("bash", "curl"):
        shutil.copy(SOURCES / program, root / "bin" / program)
        (root / "bin" / program).chmod(0o755)
    _copy_modules(root, kernel_files, release)
    listing = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
    archive = subprocess.run(
        ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0", "--reproducible"],
        cwd=root, input=listing.encode(), capture_output=True, check=True,
    ).stdout  # fmt: skip
    target.write_bytes(subprocess.run(["gzip", "-6n"], input=archive, capture_output=True, check=True).stdout)


def _copy_modules(root: Path, kernel_files: Path, release: str) -> None:
    _run("/sbin/depmod", "-b", str(kernel_files), release)
    order: list[str] = []
    for module in MODULES:
        plan = _run("/sbin/modprobe", "-d", str(kernel_files), "-S", release, "--show-depends", module)
        for path in re.findall(r"^insmod (\S+)", plan, re.MULTILINE):
            if path not in order:
                order.append(path)
    for path in order:
        shutil.copy(path, root / "modules")
    (root / "modules" / "order").write_text("".join(f"{Path(path).name}\n" for path in order))


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise LabError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
