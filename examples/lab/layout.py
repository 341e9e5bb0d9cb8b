"""Where everything in the lab lies: directories, ports, keys, and how the choice of them is remembered.

The lab's directory is `$LAB_DIR`, by default `/var/tmp/openqa-lab`. It is short, since the paths of
PostgreSQL's sockets may not exceed 107 bytes, and outside of any home directory, since the openQA user
must reach it. What `lab up` was told (ports, numbers of workers, releases) stands in `lab.json` there.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from examples.lab.errors import LabError

DEFAULT_DIRECTORY = "/var/tmp/openqa-lab"
DATABASE_USER = "geekotest"


@dataclass(frozen=True)
class Key:
    """API credentials of one user; both parts are 16 hexadecimal digits, as openQA wants them."""

    user: str
    key: str
    secret: str


@dataclass(frozen=True)
class Instance:
    """One openQA of the lab: where it listens, what it owns, and whose keys it knows.

    `base_port` is the web UI; the web sockets are at +1, the live handler at +2, the scheduler at +3
    (OpenQA::Utils, service_port) and PostgreSQL at +32. Workers are numbered from `first_worker`: their
    ports and VNC displays follow from the number, so no two instances on a machine may share one.
    `root` is the root directory of another release (`lab root`), or None for the installed one.
    """

    name: str
    lab_directory: Path
    base_port: int
    first_worker: int
    workers: int
    worker_classes: tuple[str, ...]
    root: Path | None = None

    @property
    def url(self) -> str:
        """Where the web UI answers, without a slash at the end."""
        return f"http://127.0.0.1:{self.base_port}"

    @property
    def host(self) -> str:
        """Host and port: the name of this instance's section in client.conf."""
        return f"127.0.0.1:{self.base_port}"

    @property
    def directory(self) -> Path:
        """OPENQA_BASEDIR of this instance."""
        return self.lab_directory / self.name

    @property
    def config_directory(self) -> Path:
        """OPENQA_CONFIG of this instance's daemons and workers."""
        return self.directory / "conf"

    @property
    def log_directory(self) -> Path:
        """One log file per daemon."""
        return self.directory / "log"

    @property
    def temporary_directory(self) -> Path:
        """TMPDIR and HOME of the daemons."""
        return self.directory / "tmp"

    @property
    def openqa_directory(self) -> Path:
        """What is /var/lib/openqa elsewhere."""
        return self.directory / "openqa"

    @property
    def results_directory(self) -> Path:
        """The result directories of the jobs, five digits first: 00000/00000001-name."""
        return self.openqa_directory / "testresults"

    @property
    def images_directory(self) -> Path:
        """Screenshots by content address, thumbnails beside them under .thumbs."""
        return self.openqa_directory / "images"

    @property
    def factory_directory(self) -> Path:
        """The assets: iso, hdd, repo, other, each with `fixed`."""
        return self.openqa_directory / "share" / "factory"

    @property
    def tests_directory(self) -> Path:
        """The test distributions."""
        return self.openqa_directory / "share" / "tests"

    @property
    def pool_directory(self) -> Path:
        """Where workers run their jobs, one directory per worker number."""
        return self.openqa_directory / "pool"

    @property
    def database_port(self) -> int:
        """PostgreSQL's port on 127.0.0.1, also part of its socket's name."""
        return self.base_port + 32

    @property
    def database_name(self) -> str:
        """The database of this instance in its own PostgreSQL."""
        return f"openqa_{self.name}"

    @property
    def database_directory(self) -> Path:
        """PostgreSQL's data directory."""
        return self.directory / "pgdata"

    @property
    def socket_directory(self) -> Path:
        """Where PostgreSQL puts its socket."""
        return self.directory / "pg"

    @property
    def dsn(self) -> str:
        """A connection string for libpq and psycopg, over TCP on loopback, without a password."""
        return f"host=127.0.0.1 port={self.database_port} dbname={self.database_name} user={DATABASE_USER}"

    @property
    def worker_numbers(self) -> range:
        """The instance numbers of this instance's own workers."""
        return range(self.first_worker, self.first_worker + self.workers)

    def worker_class(self, number: int) -> str:
        """WORKER_CLASS of worker `number`: the classes of the instance, for the first half also `lab2`."""
        classes = list(self.worker_classes)
        if number - self.first_worker < (self.workers + 1) // 2:
            classes.append("lab2")
        return ",".join(classes)

    @cached_property
    def keys(self) -> Mapping[str, Key]:
        """The keys by user: `admin`, `operator` and `viewer` (a user without any rights).

        Raises LabError if this instance has not been set up yet.
        """
        path = self.keys_file
        try:
            known = json.loads(path.read_text())
        except FileNotFoundError:
            raise LabError(f"{path} does not exist: run `examples/lab/lab up` first") from None
        return {user: Key(user, key, secret) for user, (key, secret) in known.items()}

    @property
    def keys_file(self) -> Path:
        """Where the keys are kept between starts."""
        return self.directory / "keys.json"

    @property
    def operator(self) -> Key:
        """The key to work with: an operator's, as workers and clients of openQA have it."""
        return self.keys["operator"]

    @property
    def admin(self) -> Key:
        """A key with administrator's rights."""
        return self.keys["admin"]

    @property
    def viewer(self) -> Key:
        """A key without any rights."""
        return self.keys["viewer"]

    def ensure_keys(self) -> None:
        """Invents the keys of an instance that has none yet."""
        if self.keys_file.exists():
            return
        keys = {user: (_hex_word(), _hex_word()) for user in ("admin", "operator", "viewer")}
        write_if_changed(self.keys_file, json.dumps(keys), mode=0o600)

    def job_directory(self, job_id: int) -> Path:
        """The result directory of a job; raises LabError when there is none (it has not started yet)."""
        for path in self.results_directory.glob(f"{job_id // 1000:05d}/{job_id:08d}-*"):
            return path
        raise LabError(f"job {job_id} has no result directory below {self.results_directory}")


@dataclass(frozen=True)
class Lab:
    """The two instances and the directory they share."""

    directory: Path
    master: Instance
    slave: Instance

    def __iter__(self) -> Iterator[Instance]:
        yield self.master
        yield self.slave

    def instance(self, name: str) -> Instance:
        """The instance called `name`; raises LabError for any but master and slave."""
        for instance in self:
            if instance.name == name.lower():
                return instance
        raise LabError(f"there is no instance {name!r} in the lab, only master and slave")

    @property
    def run_directory(self) -> Path:
        """One file per started daemon, naming its process."""
        return self.directory / "run"

    @property
    def guest_directory(self) -> Path:
        """The kernel and the image that the jobs boot."""
        return self.directory / "guest"

    @property
    def iso(self) -> Path:
        """The tiny guest's ISO image; jobs name it as ISO=lab-guest.iso."""
        return self.guest_directory / "lab-guest.iso"

    def save(self) -> None:
        """Remembers what this lab looks like for the next command."""
        choice = {
            instance.name: {
                "base_port": instance.base_port,
                "first_worker": instance.first_worker,
                "workers": instance.workers,
                "root": str(instance.root) if instance.root else None,
            }
            for instance in self
        }
        write_if_changed(self.directory / "lab.json", json.dumps(choice, indent=2) + "\n")

    def changed(self, name: str, **changes: Any) -> Lab:
        """The same lab with some fields of one instance changed."""
        master, slave = (
            replace(instance, **changes) if instance.name == name else instance for instance in self
        )
        return Lab(self.directory, master, slave)


def current_lab(environment: Mapping[str, str] = os.environ) -> Lab:
    """The lab in `$LAB_DIR` as it was last started, or as it would be started now.

    For a first start these say otherwise: LAB_MASTER_PORT (21000), LAB_SLAVE_PORT (22000),
    LAB_SLAVE_WORKERS (4) and LAB_NATIVE_WORKERS (4) for how many workers the slave and the master have,
    LAB_SLAVE_FIRST_WORKER (1) and LAB_NATIVE_FIRST_WORKER (81) for their numbers, LAB_MASTER_ROOT and
    LAB_SLAVE_ROOT for the root directory of another release.

    Raises LabError if one of them, or the file, is no good.
    """
    directory = Path(environment.get("LAB_DIR", DEFAULT_DIRECTORY))
    if not directory.is_absolute() or len(str(directory)) > 80:
        raise LabError(f"LAB_DIR={directory}: an absolute path of at most 80 characters is needed")
    known = _known_choice(directory / "lab.json")

    def number(variable: str, instance: str, field: str, default: int) -> int:
        text = environment.get(variable, "")
        if not text:
            return int(known.get(instance, {}).get(field, default))
        if not text.isdecimal():
            raise LabError(f"{variable}={text}: a number is needed")
        return int(text)

    def root(variable: str, instance: str) -> Path | None:
        text = environment.get(variable) or known.get(instance, {}).get("root")
        return Path(text) if text else None

    master = Instance(
        name="master",
        lab_directory=directory,
        base_port=number("LAB_MASTER_PORT", "master", "base_port", 21000),
        first_worker=number("LAB_NATIVE_FIRST_WORKER", "master", "first_worker", 81),
        workers=number("LAB_NATIVE_WORKERS", "master", "workers", 4),
        worker_classes=("qemu_x86_64", "native"),
        root=root("LAB_MASTER_ROOT", "master"),
    )
    slave = Instance(
        name="slave",
        lab_directory=directory,
        base_port=number("LAB_SLAVE_PORT", "slave", "base_port", 22000),
        first_worker=number("LAB_SLAVE_FIRST_WORKER", "slave", "first_worker", 1),
        workers=number("LAB_SLAVE_WORKERS", "slave", "workers", 4),
        worker_classes=("qemu_x86_64",),
        root=root("LAB_SLAVE_ROOT", "slave"),
    )
    return Lab(directory, master, slave)


def write_if_changed(path: Path, text: str, mode: int = 0o644, owner: tuple[int, int] | None = None) -> bool:
    """Writes a file whole or not at all; tells whether anything changed."""
    try:
        if path.read_text() == text:
            return False
    except FileNotFoundError:
        pass  # written below
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    if owner:
        os.chown(temporary, *owner)
    temporary.chmod(mode)
    temporary.replace(path)
    return True


def _known_choice(path: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise LabError(f"{path} cannot be read ({error}): remove it and run `lab up` again") from error
    if not isinstance(known, dict):
        raise LabError(f"{path} holds no object: remove it and run `lab up` again")
    return known


def _hex_word() -> str:
    return secrets.token_hex(8).upper()
