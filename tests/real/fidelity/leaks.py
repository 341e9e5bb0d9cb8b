"""Looking for a secret of the slave wherever a master could keep it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from examples.lab.layout import Instance
from examples.lab.postgres import programs


def leaks(master: Instance, secrets: Iterable[bytes], *further: Path) -> list[str]:
    """Where any of these secrets is found: the whole database, all logs, all results, and further files."""
    wanted = set(secrets)
    dump = subprocess.run(
        [str(programs() / "pg_dump"), "--data-only", "--dbname", master.dsn], check=True, capture_output=True
    ).stdout
    found = ["the database"] if any(secret in dump for secret in wanted) else []
    places = [master.log_directory, master.results_directory]
    files = [
        path for place in places for path in place.rglob("*") if path.is_file() and not path.is_symlink()
    ]
    for path in (*files, *further):
        content = path.read_bytes()
        if any(secret in content for secret in wanted):
            found.append(str(path))
    return found
