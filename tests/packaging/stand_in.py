#!/usr/bin/env python3
"""Stands in, under their names, for programs that the documents call and a test must not run as they are.

Whatever can be run is run, aimed at the test's own directory (`SCRATCH`); the rest is checked word by word
against the tree. An unknown program, unit, package, file or option ends with a message and status 1, which
fails the test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SCRATCH = Path(os.environ.get("SCRATCH", "/nonexistent"))
TREE = SCRATCH / "tree"
DESTINATION = SCRATCH / "destination"
PORT = os.environ.get("STATUS_PORT", "")
PROGRAM = os.environ.get("INSTALLED_PROGRAM", "")

_MEASURING = {"benchmarks", "tests.real.fidelity.measure", "tests.real.matrix"}
_VERBS = {"enable", "disable", "start", "stop", "restart", "status", "kill", "edit", "daemon-reload"}


def main(name: str, arguments: Sequence[str]) -> int:
    """Be the program `name`."""
    return _PROGRAMS[name](list(arguments))


def _sudo(arguments: list[str]) -> int:
    if arguments[:1] == ["-u"]:
        _demand(arguments[1] == "_pseudoworker", f"unknown user {arguments[1]}")
        arguments = arguments[2:]
    if arguments[0] == "install":
        return _install(arguments[1:])
    _demand(arguments[0] in _PROGRAMS, f"sudo does not know {arguments[0]}")
    return main(arguments[0], arguments[1:])


def _install(arguments: list[str]) -> int:
    """Really, but below the destination and without another group."""
    *options, source, target = arguments
    if "-g" in options:
        place = options.index("-g")
        _demand(options[place + 1] == "_pseudoworker", f"unknown group {options[place + 1]}")
        del options[place : place + 2]
    return _run("/usr/bin/install", *options, source, f"{DESTINATION}{target}")


def _systemctl(arguments: list[str]) -> int:
    words = [word for word in arguments if not word.startswith("-")]
    options = set(arguments) - set(words)
    _demand(words[0] in _VERBS, f"unknown verb {words[0]}")
    _demand(options <= {"--now", "--signal=HUP"}, f"unknown options {options}")
    for unit in words[1:]:
        template = re.sub(r"@[^.]*\.", "@.", unit)
        _demand((TREE / "packaging/systemd" / template).is_file(), f"there is no unit {unit}")
    return 0


def _journalctl(arguments: list[str]) -> int:
    empty = SCRATCH / "no-journal"
    empty.mkdir(exist_ok=True)
    # a pattern of units is looked up in the journal, and there is none
    words = (word.replace("@*", "@1.service") for word in arguments)
    status = _run("/usr/bin/journalctl", f"--directory={empty}", *words)
    return 0 if "--grep" in arguments and status == 1 else status  # it found nothing, as it must


def _apt_get(arguments: list[str]) -> int:
    _demand(arguments[0] == "install", f"unknown command {arguments[0]}")
    control = (TREE / "debian/control").read_text()
    needed = set(re.findall(r"[a-z0-9-]+", control.partition("Build-Depends:")[2].partition("\n")[0]))
    for package in arguments[1:]:
        known = package in needed | {"build-essential", "debhelper"} or (TREE / package).is_file()
        _demand(known, f"there is no package {package}")
    return 0


def _dpkg_buildpackage(arguments: list[str]) -> int:
    """tests/real/test_packages.py runs it."""
    _demand(arguments == ["--build=binary", "--no-sign"], f"unknown options {arguments}")
    changelog = (TREE / "debian/changelog").read_text()
    version = changelog.partition("(")[2].partition(")")[0]
    (SCRATCH / f"pseudoworker_{version}_all.deb").touch()
    return 0


def _rpmbuild(arguments: list[str]) -> int:
    """tests/real/test_packages.py runs it."""
    _demand(arguments[0] == "-bb" and (TREE / arguments[1]).is_file(), f"unknown arguments {arguments}")
    sources = list(Path(os.environ["HOME"], "rpmbuild/SOURCES").glob("pseudoworker-*.tar.gz"))
    _demand(len(sources) == 1, "there is no source")
    return 0


def _sysusers(arguments: list[str]) -> int:
    (DESTINATION / "etc").mkdir(exist_ok=True)
    return _run("/usr/bin/systemd-sysusers", f"--root={DESTINATION}", *arguments)


def _make(arguments: list[str]) -> int:
    if arguments == ["install"]:
        return _run("/usr/bin/make", "--silent", "install", f"DESTDIR={DESTINATION}")
    return _run("/usr/bin/make", "--dry-run", *arguments)


def _curl(arguments: list[str]) -> int:
    return _run("/usr/bin/curl", *(word.replace(":9599", f":{PORT}") for word in arguments))


def _pseudoworker(arguments: list[str]) -> int:
    """The installed one. `check` warns that the slots are served, by the process that the test runs."""
    status = _run(PROGRAM, *arguments)
    return 0 if arguments[0] == "check" and status == 1 else status


def _python(arguments: list[str]) -> int:
    """Tests that a document names are collected, not run; a program among them says how it is used."""
    if arguments[:1] == ["-m"] and arguments[1] in _MEASURING:
        return _run(sys.executable, *arguments, "--help")
    _demand(arguments[:2] == ["-m", "pytest"], f"unknown arguments {arguments}")
    return _run(sys.executable, *arguments, "--collect-only", "-p", "no:cacheprovider")


def _lab(arguments: list[str]) -> int:
    usage = subprocess.run(
        [sys.executable, "-c", "from examples.lab.cli import main; main(['--help'])"],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=False,
    )
    _demand(bool(arguments) and arguments[0] in usage.stdout, f"unknown arguments {arguments}")
    return 0


def _demand(condition: bool, text: str) -> None:
    if not condition:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {text}")


def _run(*command: str) -> int:
    return subprocess.run(command, check=False).returncode


_PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    "sudo": _sudo,
    "systemctl": _systemctl,
    "journalctl": _journalctl,
    "apt-get": _apt_get,
    "dpkg-buildpackage": _dpkg_buildpackage,
    "rpmbuild": _rpmbuild,
    "systemd-sysusers": _sysusers,
    "make": _make,
    "curl": _curl,
    "pseudoworker": _pseudoworker,
    "python": _python,
    "lab": _lab,
}

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]).name, sys.argv[1:]))
