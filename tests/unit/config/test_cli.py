from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pseudoworker import __version__, cli
from pseudoworker.bridge import check, daemon, status
from pseudoworker.config import Configuration, Overrides
from pseudoworker.errors import PseudoworkerError
from tests.unit.config.conftest import WORKERS_INI, Directory


def test_run(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Configuration] = []

    def run(configuration: Configuration) -> int:
        seen.append(configuration)
        return 7

    monkeypatch.setattr(daemon, "run", run)
    assert (
        cli.main(["run", "--config", str(directory.path), "--instance", "1-2", "--on-stop=abort", "-d"]) == 7
    )
    (configuration,) = seen
    assert [slot.instance for slot in configuration.slots] == [1, 2]
    assert (configuration.on_stop, configuration.verbose) == ("abort", True)


def test_mistakes_are_told_and_nothing_starts(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(daemon, "run", lambda _: pytest.fail("started"))
    directory.append("workers.ini", "rubbish\n[")
    assert (
        cli.main(["run", "--config", str(directory.path), "--instance", "x"]) == cli.EXIT_CONFIGURATION == 78
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(": ")[0] for line in captured.err.splitlines()] == [
        f"{directory.path}/workers.ini:4",
        f"{directory.path}/workers.ini:5",
        "command line",
    ]


def test_an_error_while_running_is_told(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Configuration) -> int:
        raise PseudoworkerError("another process owns slot 1")

    monkeypatch.setattr(daemon, "run", run)
    assert cli.main(["run", "--config", str(directory.path)]) == cli.EXIT_FAILED == 1
    assert capsys.readouterr().err == "pseudoworker: another process owns slot 1\n"


@pytest.mark.parametrize("module", [check, status])
@pytest.mark.parametrize("as_json", [True, False])
def test_check_and_status(module: object, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Overrides, bool]] = []

    def run(overrides: Overrides, *, json: bool) -> int:
        seen.append((overrides, json))
        return 2

    monkeypatch.setattr(module, "run", run)
    name = "check" if module is check else "status"
    arguments = [
        "--host",
        "m",
        "--slave",
        "s",
        "--apikey",
        "k",
        "--apisecret",
        "t",
        *(["--json"] if as_json else []),
    ]
    assert cli.main([name, *arguments]) == 2
    assert seen == [(Overrides(host="m", slave="s", apikey="k", apisecret="t"), as_json)]


@pytest.mark.parametrize(
    "arguments", [[], ["walk"], ["run", "--json"], ["run", "--inst", "1"], ["run", "--on-stop=die"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: pseudoworker" in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["--version"], __version__),
        (["--help"], "78"),
        (["run", "--help"], "--apisecret"),
    ):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 0
        assert expected in capsys.readouterr().out


def test_a_command_line_without_secrets_is_left_alone(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pseudoworker", "run", "--config", str(directory.path)])
    monkeypatch.setattr(daemon, "run", lambda _: 3)
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started anew"))
    assert cli.main() == 3


def test_secrets_leave_the_command_line(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["run", "--apikey=K", "--apisecret", "S", "--config", str(directory.path)]
    seen: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(sys, "argv", ["pseudoworker", *given])
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-I", "/usr/bin/pseudoworker", *given])
    monkeypatch.setattr(os, "execve", lambda *anew: seen.append(anew))
    monkeypatch.setattr(daemon, "run", lambda _: 3)
    cli.main()
    ((program, arguments, environment),) = seen
    assert program == sys.executable
    assert arguments == ["python3", "-I", "/usr/bin/pseudoworker", "run", "--config", str(directory.path)]
    assert (environment["OPENQA_API_KEY"], environment["OPENQA_API_SECRET"]) == ("K", "S")


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until `condition` holds, 30 s at most, while `process` lives."""
    end = time.monotonic() + 30
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def test_a_real_process_hides_its_secrets(directory: Directory) -> None:
    """The process is held at a named pipe in place of workers.ini, and looked at from outside."""
    directory.remove("workers.ini")
    pipe = directory.path / "workers.ini"
    os.mkfifo(pipe)
    secret = "0123456789ABCDEF"
    with subprocess.Popen(
        [sys.executable, "-m", "pseudoworker", "run", "--apisecret", secret, "--config", directory.path],
        cwd=Path(cli.__file__).parent.parent,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    ) as process:
        writer = -1

        def is_reading() -> bool:
            nonlocal writer
            try:
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False
            return True

        until(is_reading, process)
        command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        os.write(writer, WORKERS_INI.encode() + b"rubbish\n")
        os.close(writer)
        _, errors = process.communicate(timeout=30)
    assert command_line[1:4] == [b"-m", b"pseudoworker", b"run"]
    assert secret.encode() not in b"".join(command_line)
    assert process.returncode == 78
    assert errors.decode().startswith(f"{pipe}:4: neither section")
    assert secret not in errors.decode()
