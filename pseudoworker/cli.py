"""The command line: `pseudoworker run`, `check` and `status`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pseudoworker import __version__
from pseudoworker.config import Overrides, load
from pseudoworker.config.mistakes import ConfigurationError
from pseudoworker.config.toml_file import ON_STOP
from pseudoworker.errors import PseudoworkerError

EXIT_FAILED = 1
"""`run` ended by an error it could name."""

EXIT_CONFIGURATION = os.EX_CONFIG
"""The configuration holds mistakes: 78, EX_CONFIG of sysexits.h. Starting anew does not help, so the service
units name it in RestartPreventExitStatus=."""

_SECRETS = {"--apikey": "OPENQA_API_KEY", "--apisecret": "OPENQA_API_SECRET"}

_EPILOG = """\
exit status:
  0   all went well; check: all is ok; status: all slots are free or working
  1   an error that is told on standard error; check: a warning; status: slots are broken or offline
  2   wrong usage; check: an error; status: no process, or all slots broken or offline
  3   status: it cannot be said
  78  the configuration holds mistakes; each is told with file, line and key

workers.ini, client.conf and pseudoworker.toml are looked for in $OPENQA_CONFIG, then /etc/openqa, then
/usr/etc/openqa; client.conf in ~/.config/openqa before these.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default this process's own) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    if argv is None:
        _hide_secrets(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    except PseudoworkerError as error:
        sys.stderr.write(f"pseudoworker: {error}\n")
        return EXIT_FAILED


def _run(options: argparse.Namespace) -> int:
    configuration = load(_overrides(options), os.environ)
    from pseudoworker.bridge import daemon

    return daemon.run(configuration)


def _check(options: argparse.Namespace) -> int:
    from pseudoworker.bridge import check

    return check.run(_overrides(options), json=options.json)


def _status(options: argparse.Namespace) -> int:
    from pseudoworker.bridge import status

    return status.run(_overrides(options), json=options.json)


def _overrides(options: argparse.Namespace) -> Overrides:
    return Overrides(
        instances=options.instance,
        host=options.host,
        apikey=options.apikey,
        apisecret=options.apisecret,
        slave=options.slave,
        on_stop=options.on_stop,
        verbose=options.verbose,
        config_dir=options.config,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pseudoworker",
        description="An openQA worker whose jobs run on another openQA instance.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pseudoworker {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command, help_text in (
        ("run", _run, "be the worker, until stopped"),
        ("check", _check, "say whether this configuration can work, before anything runs"),
        ("status", _status, "show the slots of the running process"),
    ):
        sub = commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
        sub.set_defaults(command=command)
        _add_configuration(sub)
        if name != "run":
            sub.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    """The options of the stock worker (openQA's script/worker), and ours."""
    add = parser.add_argument
    add("--instance", metavar="N", help="worker instances: a number, a range, a list (1-4,7), or auto")
    add("--host", metavar="URL", help="the master, in place of HOST in workers.ini")
    add("--slave", metavar="URL", help="the slave, in place of url in pseudoworker.toml")
    add("--apikey", metavar="KEY", help="API key for the master; client.conf is the safer place")
    add("--apisecret", metavar="SECRET", help="its secret; client.conf is the safer place")
    add("--on-stop", choices=ON_STOP, help="what SIGTERM does to running jobs: leave them or end them")
    add("--config", metavar="DIR", type=Path, help="where to look for the files first; $OPENQA_CONFIG")
    add("-v", "--verbose", "-d", "--debug", action="store_true", help="log at level debug")


def _hide_secrets(arguments: Sequence[str]) -> None:
    """Start this program anew without key and secret on its command line, which every user of a host can see.

    They go on in the environment, which only this user and root can read.
    """
    cleaned: list[str] = []
    environment = dict(os.environ)
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option in _SECRETS:
            environment[_SECRETS[option]] = value if equals else next(rest)
        else:
            cleaned.append(argument)
    if len(cleaned) < len(arguments):
        program = sys.orig_argv[: len(sys.orig_argv) - len(arguments)]
        os.execve(sys.executable, [*program, *cleaned], environment)
