"""The command line of the lab: `examples/lab/lab COMMAND`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from examples.lab import packages, releases
from examples.lab.api import ApiError
from examples.lab.control import Control
from examples.lab.errors import LabError
from examples.lab.federation import write_configuration
from examples.lab.guest import fetch_kernel
from examples.lab.jobs import post, wait_until_done
from examples.lab.layout import current_lab
from examples.lab.variants import VARIANTS


def main(arguments: Sequence[str]) -> int:
    """Runs one command; returns the exit status: 0 good, 1 not good, 2 used wrongly."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (LabError, ApiError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # whoever read our output has enough of it; what is left must go nowhere at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _install(options: argparse.Namespace) -> int:
    wanted = packages.PACKAGES + (packages.BROWSER_PACKAGES if options.browser else ())
    installed = packages.install(wanted)
    lab = current_lab()
    lab.guest_directory.mkdir(parents=True, exist_ok=True)
    fetch_kernel(lab.guest_directory)
    print(f"installed {' '.join(installed)}" if installed else "everything is installed")
    return 0


def _up(options: argparse.Namespace) -> int:
    lab = current_lab()
    if options.native is not None:
        lab = lab.changed("master", workers=options.native)
    if options.workers is not None:
        lab = lab.changed("slave", workers=options.workers)
    if options.master_release:
        lab = lab.changed("master", root=releases.release_root(options.master_release))
    if options.slave_release:
        lab = lab.changed("slave", root=releases.release_root(options.slave_release))
    begin = time.monotonic()
    started = Control(lab).up()
    took = time.monotonic() - begin
    print(f"up after {took:.1f} s, {len(started)} started: master {lab.master.url}, slave {lab.slave.url}")
    return 0


def _down(_options: argparse.Namespace) -> int:
    stopped = Control(current_lab()).down()
    print(f"{len(stopped)} stopped")
    return 0


def _status(_options: argparse.Namespace) -> int:
    lines = Control(current_lab()).status()
    for line in lines:
        print(f"{line.name:24} {line.pid or '-':>8} {line.port or '-':>6}  {line.state}")
    if not lines:
        print("the lab was never up")
    return 0 if lines and all(line.good for line in lines) else 1


def _daemons(options: argparse.Namespace) -> int:
    lab = current_lab()
    control = Control(lab)
    names = control.names(lab.instance(options.instance), options.daemon)
    if options.command == "restart":
        control.stop(names)
        done = control.start(names)
    else:
        done = getattr(control, options.command)(names)
    print(f"{options.command}: {' '.join(done) or 'nothing to do'}")
    return 0


def _logs(options: argparse.Namespace) -> int:
    lab = current_lab()
    instances = [lab.instance(options.instance)] if options.instance else list(lab)
    for instance in instances:
        for path in sorted(instance.log_directory.glob("*.log")):
            print(path)
    return 0


def _env(_options: argparse.Namespace) -> int:
    lab = current_lab()
    print(f"export LAB_DIR={lab.directory}")
    for instance in lab:
        upper = instance.name.upper()
        print(f"export LAB_{upper}_URL={instance.url}")
        print(f"export LAB_{upper}_KEY={instance.operator.key}")
        print(f"export LAB_{upper}_SECRET={instance.operator.secret}")
        print(f"export LAB_{upper}_DSN='{instance.dsn}'")
    return 0


def _config(options: argparse.Namespace) -> int:
    directory = options.directory.resolve()
    write_configuration(current_lab(), directory, options.location)
    print(f"export OPENQA_CONFIG={directory}")
    print(f"export STATE_DIRECTORY={directory / 'state'}")
    return 0


def _post(options: argparse.Namespace) -> int:
    instance = current_lab().instance(options.instance)
    settings = {}
    for setting in options.setting:
        key, equals, value = setting.partition("=")
        if not equals:
            raise LabError(f"{setting}: KEY=VALUE is needed")
        settings[key] = value
    ids = post(instance, options.variant, **settings)
    for suffix, job_id in ids.items():
        print(f"{suffix or options.variant} {instance.url}/tests/{job_id}", flush=True)
    if not options.wait:
        return 0
    good = True
    jobs = wait_until_done(instance, ids.values(), options.limit)
    for suffix, job_id in ids.items():
        job = jobs[job_id]
        plan = VARIANTS[options.variant].jobs[suffix]
        good &= plan.matches(job)
        print(f"{suffix or options.variant} {job['state']} {job['result']} {job.get('reason') or ''}")
    return 0 if good else 1


def _measure(options: argparse.Namespace) -> int:
    instance = current_lab().instance(options.instance)
    good = True
    for name in options.variant or VARIANTS:
        begin = time.monotonic()
        ids = post(instance, name)
        jobs = wait_until_done(instance, ids.values(), options.limit)
        took = time.monotonic() - begin
        plans = VARIANTS[name].jobs
        expected = all(plans[suffix].matches(jobs[job_id]) for suffix, job_id in ids.items())
        good &= expected
        ends = ", ".join(f"{suffix} {jobs[job_id]['result']}".strip() for suffix, job_id in ids.items())
        print(f"| {name} | {ends} | {took:.0f} |{'' if expected else ' not as expected'}", flush=True)
    return 0 if good else 1


def _root(options: argparse.Namespace) -> int:
    begin = time.monotonic()
    root = releases.build_root(options.release)
    print(f"{root} is ready after {time.monotonic() - begin:.0f} s")
    return 0


def _variants(_options: argparse.Namespace) -> int:
    for variant in VARIANTS.values():
        print(f"{variant.name:18} {variant.about}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="Two real openQA instances on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    install = commands.add_parser("install", help="install the Debian packages that are missing")
    install.add_argument("--browser", action="store_true", help="also the browser for tests of web pages")
    install.set_defaults(run=_install)

    up = commands.add_parser("up", help="start whatever does not run")
    up.add_argument("--native", type=int, metavar="N", help="stock workers of the master (4)")
    up.add_argument("--workers", type=int, metavar="N", help="stock workers of the slave (4)")
    for name in ("master", "slave"):
        up.add_argument(
            f"--{name}-release",
            choices=sorted(releases.RELEASES),
            help=f"run the {name} from `lab root`'s openQA, in a LAB_DIR of its own",
        )
    up.set_defaults(run=_up)

    commands.add_parser("down", help="stop everything").set_defaults(run=_down)
    commands.add_parser("status", help="show daemons and workers").set_defaults(run=_status)

    for name, about in (
        ("start", "start daemons of an instance"),
        ("stop", "stop them"),
        ("restart", "stop and start them"),
        ("kill", "end them by SIGKILL"),
        ("freeze", "make them hang (SIGSTOP)"),
        ("thaw", "let them go on"),
    ):
        one = commands.add_parser(name, help=about)
        one.add_argument("instance", help="master or slave")
        one.add_argument("daemon", nargs="*", help="webui, postgres, …, worker N, workers; none: all")
        one.set_defaults(run=_daemons)

    logs = commands.add_parser("logs", help="print the paths of the log files")
    logs.add_argument("instance", nargs="?")
    logs.set_defaults(run=_logs)

    commands.add_parser("env", help="print URLs and keys for a shell").set_defaults(run=_env)

    config = commands.add_parser("config", help="write a configuration for pseudoworker")
    config.add_argument("directory", type=Path)
    config.add_argument("--location", default="lab")
    config.set_defaults(run=_config)

    posting = commands.add_parser("post", help="post the jobs of a variant")
    posting.add_argument("instance", help="master or slave")
    posting.add_argument("variant", help="see `lab variants`")
    posting.add_argument("setting", nargs="*", metavar="KEY=VALUE")
    posting.add_argument("--wait", action="store_true", help="wait for the end, exit 1 unless as expected")
    posting.add_argument("--limit", type=float, default=900.0, help="seconds to wait (900)")
    posting.set_defaults(run=_post)

    measure = commands.add_parser("measure", help="run variants one after the other and print a table")
    measure.add_argument("instance", help="master or slave")
    measure.add_argument("variant", nargs="*", help="none: all")
    measure.add_argument("--limit", type=float, default=900.0, help="seconds to wait for each (900)")
    measure.set_defaults(run=_measure)

    root = commands.add_parser("root", help="build the root directory of another release of openQA")
    root.add_argument("release", choices=sorted(releases.RELEASES))
    root.set_defaults(run=_root)

    commands.add_parser("variants", help="list the variants").set_defaults(run=_variants)
    return parser
