"""An openQA instance's directories, configuration and daemons, without systemd.

Which daemon is needed for what stands in README.md. The scripts are those of the openQA packages; with a
`root` they are another release's, run in its root directory, where the lab's directory is bound to the
same path.
"""

from __future__ import annotations

import filecmp
import http.client
import os
from pathlib import Path

from examples.lab import postgres
from examples.lab.api import ApiError, OpenqaApi
from examples.lab.assets import add_asset
from examples.lab.errors import LabError
from examples.lab.layout import DATABASE_USER, Instance, Lab, write_if_changed
from examples.lab.owner import Owner
from examples.lab.processes import Daemon, Running
from examples.lab.releases import root_environment

SCRIPTS = Path("/usr/share/openqa/script")
DISTRIBUTION = Path(__file__).with_name("distri")
DISTRI = "lab"

_OPENQA_INI = """\
[global]
branding = plain
download_domains = 127.0.0.1 localhost
[auth]
method = Fake
[logging]
level = debug
[audit]
enabled = 0
"""

_WEB_PROCESSES = 10

_SCHEDULER_TICK = 4
"""Seconds between two looks of the scheduler for work."""

_WORKER_READY = "Registered and connected via websockets with openQA host"


def prepare(lab: Lab, instance: Instance, owner: Owner) -> None:
    """Creates what the daemons expect to find: directories, configuration, keys, tests and the ISO.

    PostgreSQL's data directory is not part of it. Nothing that exists is destroyed.
    """
    openqa = instance.openqa_directory
    for directory in (
        instance.directory,
        instance.log_directory,
        instance.temporary_directory,
        instance.socket_directory,
        openqa / "db",
        instance.images_directory,
        openqa / "webui" / "cache",
        openqa / "archive" / "testresults",
        instance.results_directory,
        *(instance.factory_directory / kind / "fixed" for kind in ("iso", "hdd", "repo", "other")),
        instance.factory_directory / "tmp",
        instance.tests_directory,
        *(instance.pool_directory / str(number) for number in instance.worker_numbers),
    ):
        _make_directory(directory, instance.directory, owner)
    for short in ("factory", "tests"):
        link = openqa / short
        if not link.is_symlink():
            link.symlink_to(f"share/{short}")
    instance.ensure_keys()
    _write_configuration(instance, owner)
    _copy_tree(DISTRIBUTION, instance.tests_directory / DISTRI, owner)
    _provide_asset(lab.iso, instance, "iso")
    for name in ("lab-vmlinuz", "lab-initrd.gz"):
        _provide_asset(lab.guest_directory / name, instance, "other")


def _provide_asset(source: Path, instance: Instance, kind: str) -> None:
    target = instance.factory_directory / kind / source.name
    if not (target.exists() and filecmp.cmp(source, target, shallow=False)):
        add_asset(instance, kind, source.name, source)


def initialize_database(instance: Instance, owner: Owner) -> None:
    """Creates database, schema and accounts, or upgrades the schema; PostgreSQL must run."""
    created = postgres.create_database(instance)
    marker = instance.directory / "schema"
    # initdb takes seconds, so it runs only when the database is new or the scripts are others than last time
    wanted = f"{instance.root} {(_in_root(instance, SCRIPTS) / 'initdb').stat().st_mtime}\n"
    known = marker.read_text() if marker.exists() and not created else ""
    if known and known.split()[0] != str(instance.root):
        raise LabError(
            f"the database of {instance.name} belongs to another release of openQA: choose another LAB_DIR"
        )
    if known != wanted:
        # exit status 4: it was there and is up to date
        script = [str(SCRIPTS / "initdb"), "--init_database"]
        owner.run(script, environment(instance), instance.root, accepted=(0, 4))
        postgres.create_accounts(instance)
        marker.write_text(wanted)


def environment(instance: Instance) -> dict[str, str]:
    """The environment of every daemon and worker of an instance."""
    release = root_environment(instance.root) if instance.root else {}
    return {
        "OPENQA_BASEDIR": str(instance.directory),
        "OPENQA_CONFIG": str(instance.config_directory),
        "OPENQA_DATABASE": "production",
        "TMPDIR": str(instance.temporary_directory),
        "HOME": str(instance.temporary_directory),
        "LANG": "C.UTF-8",
        # its resolver now and then kills the process that forks beside it; all names here are addresses
        "MOJO_NO_NDN": "1",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        **release,
    }


def daemons(instance: Instance) -> list[Daemon]:
    """The five daemons of an instance, in the order of their names; workers are not among them."""
    # Each process serves one connection at a time, and an open live stream is one. Packaged are 30.
    processes = ["-w", str(_WEB_PROCESSES)]
    # without -P two instances fight over one pid file
    pid_file = ["-P", str(instance.temporary_directory / "webui.pid")]
    return [
        _service(instance, "gru", ["openqa-gru"], None),
        _service(instance, "livehandler", ["openqa-livehandler-daemon"], 2),
        _service(instance, "scheduler", ["openqa-scheduler-daemon"], 3),
        _service(instance, "webui", ["openqa-webui-daemon", *processes, *pid_file], 0),
        _service(instance, "websockets", ["openqa-websockets-daemon"], 1),
    ]


def workers(instance: Instance) -> list[Daemon]:
    """The stock workers of an instance."""
    return [_worker(instance, number) for number in instance.worker_numbers]


def _service(instance: Instance, name: str, command: list[str], delta: int | None) -> Daemon:
    daemon_environment = {
        **environment(instance),
        "OPENQA_BASE_PORT": str(instance.base_port),
        # read by the scheduler alone: how often it looks for work when nobody calls for it
        "OPENQA_SCHEDULER_SCHEDULE_TICK_MS": str(_SCHEDULER_TICK * 1000),
    }
    if instance.root:
        # Scripts of sid's packages pass a port where the library of sid's packages wants a name. Even gru's
        # does, which does not listen at all.
        port = instance.base_port + (delta or 0)
        daemon_environment["MOJO_LISTEN"] = f"http://127.0.0.1:{port},http://[::1]:{port}"

    def ready(running: Running) -> bool:
        if delta is not None:
            return _answers(instance.base_port + delta)
        try:
            found = postgres.query(instance, f"SELECT 1 FROM minion_workers WHERE pid = {running.pid}")
        except LabError:
            return False  # Minion creates its tables when it first starts
        return found == "1"

    return Daemon(
        name=f"{instance.name}-{name}",
        command=[str(SCRIPTS / command[0]), *command[1:]],
        environment=daemon_environment,
        log=instance.log_directory / f"{name}.log",
        ready=ready,
        files=[instance.config_directory / file for file in ("openqa.ini", "database.ini")],
        root=instance.root,
    )


def _worker(instance: Instance, number: int) -> Daemon:
    def registered(running: Running) -> bool:
        if _WORKER_READY not in running.log_beginning():
            return False
        return worker_status(instance).get(number) not in (None, "dead")

    return Daemon(
        name=f"{instance.name}-worker-{number}",
        command=[str(SCRIPTS / "worker"), "--instance", str(number)],
        environment=environment(instance),
        log=instance.log_directory / f"worker-{number}.log",
        ready=registered,
        files=[instance.config_directory / file for file in ("workers.ini", "client.conf")],
        root=instance.root,
    )


def worker_status(instance: Instance) -> dict[int, str]:
    """What the web UI says of the instance's own workers, by number: idle, running, broken and why, or dead.

    Empty if the web UI does not answer. Emulated workers of other programs are left out.
    """
    try:
        listed = OpenqaApi(instance.url, timeout=10).get("workers")["workers"]
    except ApiError:
        return {}
    # A number may be known twice, from times when the host had another name: the living one counts.
    status: dict[int, str] = {}
    for worker in listed:
        number = int(worker["instance"])
        if number in instance.worker_numbers and status.get(number) in (None, "dead"):
            status[number] = worker["status"]
            if worker["status"] == "broken":
                status[number] += f": {worker['error']}"
    return status


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/api/v1/jobs?limit=1")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _write_configuration(instance: Instance, owner: Owner) -> None:
    conf = instance.config_directory
    _make_directory(conf, instance.directory, owner)
    database = (
        "[production]\n"
        f"dsn = DBI:Pg:dbname={instance.database_name};host={instance.socket_directory}"
        f";port={instance.database_port}\n"
        f"user = {DATABASE_USER}\n"
    )
    workers_ini = (
        "[global]\n"
        f"HOST = {instance.url}\n"
        "BACKEND = qemu\n"
        "WORKER_HOSTNAME = 127.0.0.1\n"
        "QEMU_NO_KVM = 1\n"
        "LOG_LEVEL = debug\n" + ("CRITICAL_LOAD_AVG_THRESHOLD = 1000\n" if instance.root else "")
        # newer workers take no job on a machine as busy as ours is when all tests run at once
    ) + "".join(
        f"\n[{number}]\nWORKER_CLASS = {instance.worker_class(number)}\n"
        for number in instance.worker_numbers
    )
    # The worker and client of 2023 look the host up without the port, later ones with it, and
    # openqa-clone-job as given; the web UI redirects web sockets to "localhost".
    key = instance.operator
    sections = [
        name
        for host in ("127.0.0.1", "localhost")
        for name in (host, f"{host}:{instance.base_port}", f"http://{host}:{instance.base_port}")
    ]
    client = "\n".join(f"[{name}]\nkey = {key.key}\nsecret = {key.secret}\n" for name in sections)
    for name, text, mode in (
        ("openqa.ini", _OPENQA_INI, 0o644),
        ("database.ini", database, 0o644),
        ("workers.ini", workers_ini, 0o644),
        ("client.conf", client, 0o600),
    ):
        write_if_changed(conf / name, text, mode=mode, owner=owner.pair)


def _make_directory(directory: Path, top: Path, owner: Owner) -> None:
    missing = []
    while not directory.exists() and directory != top.parent:
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        path.mkdir(mode=0o755)
        os.chown(path, *owner.pair)


def _copy_tree(source: Path, target: Path, owner: Owner) -> None:
    wanted = {path.relative_to(source) for path in source.rglob("*") if "__pycache__" not in path.parts}
    for relative in sorted(wanted):
        path = target / relative
        if (source / relative).is_dir():
            _make_directory(path, target.parent, owner)
            continue
        content = (source / relative).read_bytes()
        if not path.exists() or path.read_bytes() != content:
            _make_directory(path.parent, target.parent, owner)
            # whole or not at all: a job may be loading it at this moment
            temporary = path.with_name(f".{path.name}.new")
            temporary.write_bytes(content)
            os.chown(temporary, *owner.pair)
            temporary.replace(path)
    for path in sorted(target.rglob("*"), reverse=True):
        if path.relative_to(target) not in wanted:
            path.rmdir() if path.is_dir() else path.unlink()


def _in_root(instance: Instance, path: Path) -> Path:
    return instance.root / path.relative_to("/") if instance.root else path
