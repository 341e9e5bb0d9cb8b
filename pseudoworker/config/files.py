"""Where configuration files lie, and their text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pseudoworker.config.mistakes import Mistakes, Origin

SYSTEM_DIRECTORIES = (Path("/etc/openqa"), Path("/usr/etc/openqa"))
"""Where openQA looks last (OpenQA::Config, `_config_dirs`)."""

_LARGEST = 1_000_000
"""Bytes of the largest configuration file that is read; a larger one is no configuration file."""


@dataclass(frozen=True)
class Found:
    """The files of one name."""

    files: tuple[Path, ...]
    """To be read in this order, later ones on top of earlier ones."""
    looked_at: tuple[Path, ...]
    """All places of the main file that were tried, for messages."""
    unreadable: tuple[Path, ...]
    """Main files and drop-in directories that exist and may not be read; openQA passes over the former in
    silence."""


def lookup_config_files(
    name: str,
    environment: Mapping[str, str],
    *,
    in_home: bool = False,
    system_directories: Sequence[Path] = SYSTEM_DIRECTORIES,
) -> Found:
    """Find `name` and its drop-ins `name.d/*.<extension>` as OpenQA::Config's `lookup_config_files` does.

    Three places are tried: `$OPENQA_CONFIG`, then (with `in_home`) `~/.config/openqa`, then the system's
    directories. The first that holds a main file or a drop-in is the only one used. Of the system's
    directories the later ones are looked at as long as the earlier ones hold no main file. Drop-ins are
    sorted by name; hidden files and directories are none.
    """
    files: list[Path] = []
    looked_at: list[Path] = []
    unreadable: list[Path] = []
    for directories in _places(environment, in_home, system_directories):
        for directory in directories:
            main = directory / name
            looked_at.append(main)
            is_readable = os.access(main, os.R_OK)
            if is_readable:
                files.append(main)
            elif os.path.exists(main):
                unreadable.append(main)
            files.extend(_drop_ins(directory / f"{name}.d", main.suffix, unreadable))
            if is_readable:
                break
        if files:
            break
    return Found(tuple(files), tuple(looked_at), tuple(unreadable))


def read_text(path: Path, mistakes: Mistakes) -> str | None:
    """The text of a configuration file, line ends as they are; None, and a mistake, when it cannot be
    read."""
    origin = Origin(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        mistakes.add(
            origin, f"cannot be read ({error.strerror})", "let the service's user read it or remove it"
        )
        return None
    if len(content) > _LARGEST:
        mistakes.add(origin, f"is larger than {_LARGEST} bytes", "put a configuration file there")
        return None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        mistakes.add(
            Origin(str(path), line),
            f"byte {content[error.start]:#04x} is not UTF-8",
            "save the file as UTF-8",
        )
        return None


def _places(
    environment: Mapping[str, str], in_home: bool, system_directories: Sequence[Path]
) -> Iterator[Sequence[Path]]:
    if configured := environment.get("OPENQA_CONFIG"):
        yield [Path(configured)]
    if in_home and (home := environment.get("HOME")):
        yield [Path(home, ".config", "openqa")]
    yield system_directories


def _drop_ins(directory: Path, extension: str, unreadable: list[Path]) -> list[Path]:
    try:
        entries = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        unreadable.append(directory)
        return []
    return [
        entry
        for entry in entries
        if entry.name.endswith(extension) and not entry.name.startswith(".") and not os.path.isdir(entry)
    ]
