"""A private PostgreSQL per instance; the machine's own clusters are never touched."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from examples.lab.errors import LabError
from examples.lab.layout import DATABASE_USER, Instance, write_if_changed
from examples.lab.owner import Owner
from examples.lab.processes import Daemon, Running

_SETTINGS = """\
# written by the lab; a crash of the machine may cost this database, nothing else does
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 64MB
max_connections = 120
listen_addresses = '127.0.0.1'
unix_socket_permissions = 0777
logging_collector = off
"""

_ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}

# Rights follow from the user alone; an existing user keeps its rows.
_ACCOUNT = """\
INSERT INTO users (username, provider, nickname, fullname, email, is_admin, is_operator, t_created, t_updated)
  VALUES ('{user}', '', '{user}', 'Lab {user}', '{user}@example.com', {admin}, {operator}, now(), now())
  ON CONFLICT DO NOTHING;
INSERT INTO api_keys (key, secret, user_id, t_created, t_updated)
  SELECT '{key}', '{secret}', id, now(), now() FROM users WHERE username = '{user}' AND provider = ''
  ON CONFLICT DO NOTHING;
"""


def programs() -> Path:
    """The directory of the newest installed PostgreSQL's programs; raises LabError when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[4]))
    if not found:
        raise LabError("PostgreSQL is not installed: run `examples/lab/lab install` as root")
    return found[-1].parent


def create_cluster(instance: Instance, owner: Owner) -> None:
    """Makes the instance's data directory if there is none, and writes its settings."""
    data = instance.database_directory
    if not (data / "PG_VERSION").exists():
        # One user, trusted on loopback: whoever reaches this port is on this machine.
        owner.run(
            [
                str(programs() / "initdb"),
                "--pgdata", str(data), "--username", DATABASE_USER, "--auth", "trust",
                "--encoding", "UTF8", "--no-sync", "--locale", "C.UTF-8",
            ],
            _ENVIRONMENT,
        )  # fmt: skip
    conf = data / "conf.d" / "lab.conf"
    conf.parent.mkdir(exist_ok=True)
    os.chown(conf.parent, *owner.pair)
    write_if_changed(conf, _SETTINGS, owner=owner.pair)
    main = data / "postgresql.conf"
    include = "include_dir = 'conf.d'\n"
    if include not in main.read_text():
        with main.open("a") as file:
            file.write(include)


def daemon(instance: Instance) -> Daemon:
    """The PostgreSQL server of an instance as a daemon of the lab."""

    def ready(_running: Running) -> bool:
        return _query_status(instance, "SELECT 1", "postgres").returncode == 0

    data = instance.database_directory
    command = [
        str(programs() / "postgres"),
        "-D", str(data), "-p", str(instance.database_port), "-k", str(instance.socket_directory),
    ]  # fmt: skip
    return Daemon(
        name=f"{instance.name}-postgres",
        command=command,
        environment=_ENVIRONMENT,
        log=instance.log_directory / "postgres.log",
        ready=ready,
        files=[data / "conf.d" / "lab.conf"],
        # "fast": disconnects whoever is connected instead of waiting for them
        stop_signal=signal.SIGINT,
    )


def create_database(instance: Instance) -> bool:
    """Creates the instance's database in its running server; tells whether it was missing."""
    if query(instance, f"SELECT 1 FROM pg_database WHERE datname = '{instance.database_name}'", "postgres"):
        return False
    query(instance, f"CREATE DATABASE {instance.database_name}", "postgres")
    return True


def create_accounts(instance: Instance) -> None:
    """Makes sure of the users admin, operator and viewer and of their keys; the schema must exist."""
    for user, key in instance.keys.items():
        query(
            instance,
            _ACCOUNT.format(
                user=user,
                key=key.key,
                secret=key.secret,
                admin=int(user == "admin"),
                operator=int(user in ("admin", "operator")),
            ),
        )


def query(instance: Instance, sql: str, database: str | None = None) -> str:
    """Runs SQL by psql in the instance's database; returns rows as lines, fields split by `|`.

    Raises LabError with PostgreSQL's own words when it fails.
    """
    done = _query_status(instance, sql, database or instance.database_name)
    if done.returncode:
        raise LabError(f"{instance.name}'s PostgreSQL: {done.stderr.strip()}")
    return done.stdout.strip()


def _query_status(instance: Instance, sql: str, database: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(programs() / "psql"), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only",
        "--set=ON_ERROR_STOP=1",
        "--host", str(instance.socket_directory), "--port", str(instance.database_port),
        "--username", DATABASE_USER, "--dbname", database, "--command", sql,
    ]  # fmt: skip
    return subprocess.run(
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/"
    )
