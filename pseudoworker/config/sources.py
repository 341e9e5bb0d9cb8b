"""The three configuration files of a process, found and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pseudoworker.config.files import Found, lookup_config_files
from pseudoworker.config.ini import Ini, read_ini
from pseudoworker.config.mistakes import Mistakes, Origin
from pseudoworker.config.toml_file import TomlFile, read_toml


@dataclass(frozen=True)
class Sources:
    """The parsed files, and where they lie."""

    ini: Ini
    toml: TomlFile
    client_conf: Ini
    found: Found
    """Of client.conf."""
    workers_ini: Origin
    """The main file, or just its name when there is none; likewise the next."""
    pseudoworker_toml: Origin
    files: tuple[Path, ...]


def read_sources(
    environment: Mapping[str, str], system_directories: Sequence[Path], mistakes: Mistakes
) -> Sources:
    """Find and read workers.ini, pseudoworker.toml and client.conf."""

    def look_up(name: str, *, in_home: bool = False, is_needed: bool = True) -> Found:
        found = lookup_config_files(name, environment, in_home=in_home, system_directories=system_directories)
        for path in found.unreadable if is_needed else ():
            mistakes.add(Origin(str(path)), "cannot be read", "let the service's user read it or remove it")
        if is_needed and not found.files and not found.unreadable:
            looked_at = ", ".join(map(str, found.looked_at))
            mistakes.add(
                Origin(name), f"not found (looked at {looked_at})", "write one; see docs/configuration.md"
            )
        return found

    workers = look_up("workers.ini")
    toml = look_up("pseudoworker.toml")
    # Keys may be given without it, and its absence is told where they are missed.
    client = look_up("client.conf", in_home=True, is_needed=False)
    return Sources(
        ini=read_ini(workers.files, mistakes),
        toml=read_toml(toml.files, mistakes),
        client_conf=read_ini(client.files, mistakes),
        found=client,
        workers_ini=Origin(str(workers.files[0]) if workers.files else "workers.ini"),
        pseudoworker_toml=Origin(str(toml.files[0]) if toml.files else "pseudoworker.toml"),
        files=(*workers.files, *toml.files, *client.files),
    )
