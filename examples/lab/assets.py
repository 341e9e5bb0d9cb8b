"""Assets that a test needs on one side only, and their removal."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from examples.lab.layout import Instance
from examples.lab.owner import lab_owner


def add_asset(instance: Instance, kind: str, name: str, source: Path) -> Path:
    """Copies `source` to an instance as the asset `name`; `kind` is iso, hdd, repo or other.

    openQA takes notice of it when a job that names it is posted. The lab's own assets (the guest's ISO,
    kernel and initrd) come back with each `lab up`; a copy under another name stays where it was put.
    """
    target = instance.factory_directory / kind / name
    temporary = target.with_name(f".{name}.{os.getpid()}")
    shutil.copyfile(source, temporary)
    temporary.chmod(0o644)
    if os.getuid() == 0:
        os.chown(temporary, *lab_owner().pair)
    temporary.replace(target)
    return target


def remove_asset(instance: Instance, kind: str, name: str) -> None:
    """Removes the file of an asset, if it is there; openQA's own record of it stays."""
    (instance.factory_directory / kind / name).unlink(missing_ok=True)
