"""This host: state directory, journal, other processes, open files, the status page's address."""

from __future__ import annotations

import fcntl
import os
import pwd
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from pseudoworker.bridge import journal_file
from pseudoworker.bridge.assembly import JOURNAL
from pseudoworker.bridge.checks.lines import Line, error, ok, warning
from pseudoworker.bridge.owner import lock_path
from pseudoworker.config.model import Configuration
from pseudoworker.observe.addresses import AddressError, listening_socket, parse_loopback
from pseudoworker.observe.folding import ranges
from pseudoworker.observe.texts import size

_FULL = 20_000_000
"""Bytes below which the journal of a busy process is likely to fill the disk."""
_SCARCE = 200_000_000
_FILES_PER_SLOT = 4
"""A websocket, a status post, and for a watched job streams from the slave."""
_OTHER_FILES = 200


def check_place(configuration: Configuration) -> list[Line]:
    """Everything that can be said without asking another machine."""
    directory = configuration.state_dir
    instances = [slot.instance for slot in configuration.slots]
    checks: list[Callable[[], Line]] = [
        lambda: _state_directory(directory),
        lambda: _journal(directory),
        lambda: _space(directory),
        lambda: _owner(directory, instances),
        lambda: _open_files(len(instances)),
        lambda: _status_page(configuration.observe.listen, bool(served_here(directory, instances))),
    ]
    return [check() for check in checks]


def served_here(directory: Path, instances: Iterable[int]) -> dict[int, str]:
    """Which of these slots a process of this host serves now, and which process."""
    owners = {instance: _locked_by(lock_path(directory, instance)) for instance in instances}
    return {instance: owner for instance, owner in owners.items() if owner}


def _state_directory(directory: Path) -> Line:
    topic = "state directory"
    user = pwd.getpwuid(os.geteuid()).pw_name
    place = _existing(directory)
    if not place.is_dir():
        return error(topic, f"{place} is no directory", "set another state_dir in pseudoworker.toml")
    if not os.access(place, os.W_OK | os.X_OK):
        return error(
            topic,
            f"{directory} cannot be written by {user}",
            "give the directory to the service's user, or run this check as that user",
        )
    if place == directory and directory.stat().st_mode & 0o077:
        mode = directory.stat().st_mode & 0o777
        return warning(
            topic,
            f"{directory} has mode {mode:o}, and the journal in it holds secrets of jobs",
            f"chmod 700 {directory}",
        )
    state = "can be written" if place == directory else "will be made"
    return ok(topic, f"{directory} {state} (asked as user {user})")


def _journal(directory: Path) -> Line:
    topic = "journal"
    path = directory / JOURNAL
    if not os.access(path, os.F_OK):
        return ok(topic, f"{path} will be made")
    if not os.access(path, os.R_OK | os.W_OK):
        return error(topic, f"{path} cannot be read and written", "give it to the service's user")
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            version: int = database.execute("PRAGMA user_version").fetchone()[0]
            state: str = database.execute("PRAGMA quick_check").fetchone()[0]
        finally:
            database.close()
    except sqlite3.Error as failure:
        state, version = str(failure), 0
    if version > journal_file.VERSION:
        return error(
            topic,
            f"{path} is of version {version}, this release knows up to {journal_file.VERSION}",
            "start the newer pseudoworker again, or move the file away",
        )
    if state != "ok":
        return warning(
            topic,
            f"{path} is damaged ({state})",
            "it is set aside at the next start, and jobs are looked for on the slave",
        )
    return ok(topic, f"{path} is sound")


def _space(directory: Path) -> Line:
    topic = "free space"
    free = shutil.disk_usage(_existing(directory)).free
    text = f"{size(free)} for {directory}"
    advice = "make room, or set another state_dir in pseudoworker.toml"
    if free < _FULL:
        return error(topic, f"only {text}", advice)
    return warning(topic, f"only {text}", advice) if free < _SCARCE else ok(topic, text)


def _owner(directory: Path, instances: list[int]) -> Line:
    topic = "slots"
    owned: dict[str, set[int]] = {}
    for instance, owner in served_here(directory, instances).items():
        owned.setdefault(owner, set()).add(instance)
    if owned:
        text = ", ".join(f"{ranges(its)} by {owner}" for owner, its in owned.items())
        return warning(
            topic,
            f"already served: {text}",
            "a second process for them refuses to start; nothing to do if this is the service",
        )
    return ok(topic, f"{ranges(set(instances)) or 'none'} are served by no process of this host yet")


def _locked_by(path: Path) -> str | None:
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(200).strip() or "another process"
    except OSError:
        return None  # no such file, or not ours to read: the state directory's line tells
    return None


def _open_files(slots: int) -> Line:
    topic = "open files"
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_SLOT * slots + _OTHER_FILES
    text = f"{needed} may be needed for {slots} slots, {allowed} are allowed"
    if allowed < needed:
        return warning(topic, text, f"raise LimitNOFILE= of the unit, or ulimit -n {needed}")
    return ok(topic, text)


def _status_page(listen: str, is_served: bool) -> Line:
    topic = "status page"
    if not listen:
        return ok(topic, "is off")
    try:
        listening_socket(*parse_loopback(listen)).close()
    except AddressError as failure:
        if is_served:
            return ok(topic, f"{listen} is taken, as it should be while the service runs")
        return error(topic, str(failure), "leave listen of [observe] out, or free the address")
    return ok(topic, f"http://{listen}/ can be served")


def _existing(path: Path) -> Path:
    """The directory itself, or the nearest one above it that exists."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path
