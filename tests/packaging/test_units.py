"""The units are what systemd understands, and agree with the program and with each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pseudoworker import cli
from pseudoworker.bridge.status import SERVICE_DIRECTORY
from pseudoworker.config.files import SYSTEM_DIRECTORIES
from tests.packaging.conftest import ROOT, Installed

UNITS = ROOT / "packaging/systemd"
EXPOSURE = 1.5
"""What `systemd-analyze security` may say at most; below 2 it calls a unit OK."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed here"
)


def _directives(name: str) -> list[str]:
    lines = (UNITS / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@needs_systemd
def test_systemd_understands_every_unit(installed: Installed, tmp_path: Path) -> None:
    for unit in installed.units.iterdir():
        text = unit.read_text().replace("/usr/bin/pseudoworker", str(installed.program))
        (tmp_path / unit.name).write_text(text)
    instances = [name.name.replace("@.", "@1-16.") for name in tmp_path.iterdir()]
    assert len(instances) == 6
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *instances],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", ["pseudoworker@.service", "pseudoworker-auto-restart@.service"])
def test_the_services_are_well_confined(name: str) -> None:
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--json=short", UNITS / name],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(judged.stdout)) > 50
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / name],
        capture_output=True,
        text=True,
        check=True,
    )
    level = re.search(r"Overall exposure level for \S+: ([\d.]+) OK", judged.stdout)
    assert level is not None
    assert float(level[1]) <= EXPOSURE
    documented = re.search(r"rates it ([\d.]+) \(OK\)", (ROOT / "docs/security.md").read_text())
    assert documented is not None
    assert documented[1] == level[1]


def test_both_services_differ_in_what_a_reload_needs_alone() -> None:
    plain, restarted = _directives("pseudoworker@.service"), _directives("pseudoworker-auto-restart@.service")
    assert [line for line in plain if line not in restarted] == [
        "Description=openQA pseudoworker %i",
        "Restart=on-failure",
    ]
    assert [line for line in restarted if line not in plain] == [
        "Description=openQA pseudoworker %i, restarted when its configuration changes",
        "Conflicts=pseudoworker@%i.service",
        "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'",
        "Restart=always",
    ]


def test_the_watcher_looks_at_every_file_that_is_read() -> None:
    watched = {
        line.partition("=")[2] for line in _directives("pseudoworker-reload@.path") if "/openqa/" in line
    }
    names = ("workers.ini", "client.conf", "pseudoworker.toml")
    wanted = {
        f"{directory}/{name}{suffix}"
        for directory in SYSTEM_DIRECTORIES
        for name in names
        for suffix in ("", ".d")
    }
    assert watched == wanted


def test_the_state_directory_is_where_status_and_check_look_for_it() -> None:
    assert f"StateDirectory={SERVICE_DIRECTORY.relative_to('/var/lib')}" in _directives(
        "pseudoworker@.service"
    )
    account = (ROOT / "packaging/sysusers.d/pseudoworker.conf").read_text()
    assert re.search(rf"^u\s+_pseudoworker\s+-\s+\".*\"\s+{SERVICE_DIRECTORY}\s+-$", account, re.MULTILINE)


def test_mistakes_in_the_configuration_are_not_retried_for_ever() -> None:
    assert f"RestartPreventExitStatus={cli.EXIT_CONFIGURATION}" in _directives("pseudoworker@.service")
