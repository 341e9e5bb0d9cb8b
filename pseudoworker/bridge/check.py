"""`pseudoworker check`: says, before anything runs, whether this configuration can work."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json as json_format
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from pseudoworker.bridge.checks.assets import check_assets
from pseudoworker.bridge.checks.files import check_files
from pseudoworker.bridge.checks.lines import EXIT_STATUS, Level, Line, error
from pseudoworker.bridge.checks.live import check_live
from pseudoworker.bridge.checks.place import check_place
from pseudoworker.bridge.checks.sites import check_site
from pseudoworker.bridge.checks.websocket import check_websocket
from pseudoworker.bridge.checks.workers import check_classes, check_names
from pseudoworker.config.files import SYSTEM_DIRECTORIES
from pseudoworker.config.load import Overrides, examine
from pseudoworker.config.model import Configuration, Credentials, Site
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import OpenQAError


def run(overrides: Overrides, *, json: bool = False, output: TextIO | None = None) -> int:
    """Check everything and print it. Exit status: 0 all is ok, 1 there are warnings, 2 there are errors.

    Asks both instances, and changes nothing on either, nor here.
    """
    output = sys.stdout if output is None else output
    lines = asyncio.run(check(overrides, os.environ))
    worst = max(lines, key=lambda line: EXIT_STATUS[line.level]).level
    if json:
        document = {"result": worst, "lines": [dataclasses.asdict(line) for line in lines]}
        output.write(json_format.dumps(document, indent=1) + "\n")
    else:
        output.write("".join(f"{line}\n" for line in lines) + _summary(lines))
    return EXIT_STATUS[worst]


async def check(
    overrides: Overrides,
    environment: Mapping[str, str],
    *,
    system_directories: Sequence[Path] = SYSTEM_DIRECTORIES,
) -> list[Line]:
    """All lines. A configuration with mistakes is checked as far as it goes."""
    configuration, mistakes = examine(overrides, environment, system_directories=system_directories)
    lines = check_files(configuration, mistakes)
    lines += check_place(configuration)
    with ThreadPoolExecutor(8) as executor, contextlib.ExitStack() as stack:
        master = _client(stack, "master", configuration.master, executor)
        slave = _client(stack, "slave", configuration.slave, executor)
        answers = await asyncio.gather(
            _check_master(configuration, master), _check_slave(configuration, slave)
        )
        lines += [*answers[0], *answers[1]]
        if isinstance(master, Client) and isinstance(slave, Client):
            lines += await check_assets(configuration, master, slave, executor)
    return lines


async def _check_master(configuration: Configuration, client: Client | Line) -> list[Line]:
    if isinstance(client, Line):
        return [client]
    lines = await check_site("master", configuration.master, client)
    if lines[0].level == "error":
        return lines
    return [
        *lines,
        await check_websocket("master", configuration.master),
        await check_names(configuration, client),
    ]


async def _check_slave(configuration: Configuration, client: Client | Line) -> list[Line]:
    if isinstance(client, Line):
        return [client]
    lines = await check_site("slave", configuration.slave, client)
    if lines[0].level == "error":
        return lines
    return [*lines, *await check_classes(configuration, client), await check_live(client)]


def _client(
    stack: contextlib.ExitStack, name: str, site: Site, executor: ThreadPoolExecutor
) -> Client | Line:
    """A client, or the line that says why there is none."""
    topic = f"{name} reachable"
    if not site.url:
        return error(topic, f"{name} was not asked, as its URL is not known", "mend the configuration first")
    credentials = site.credentials or Credentials("", "")
    try:
        client = Client(
            site.url,
            credentials.key,
            credentials.secret,
            ca_file=site.ca_file,
            executor=executor,
            in_flight=4,
        )
    except OpenQAError as failure:
        return error(topic, str(failure), "mend the URL")
    except OSError as failure:  # of the ssl module too
        return error(
            topic,
            f"{site.ca_file} holds no certificates that can be used ({failure.strerror or failure})",
            f"give the PEM file of the authority as ca_file of [{name}]",
        )
    stack.callback(client.close)
    return client


def _summary(lines: Sequence[Line]) -> str:
    counts: dict[Level, int] = dict.fromkeys(EXIT_STATUS, 0)
    for line in lines:
        counts[line.level] += 1
    return f"{counts['ok']} ok, {counts['warning']} warnings, {counts['error']} errors\n"
