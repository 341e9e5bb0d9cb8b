"""How assets will reach the slave, what of that can be seen beforehand, and whether there is room for them.

Nothing is moved or posted to find it out. What cannot be seen without that is said to be so.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from pseudoworker.bridge.assets.disk import unusable
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.site import asset_paths
from pseudoworker.bridge.assets.url import unreachable
from pseudoworker.bridge.checks.lines import Line, error, ok, warning
from pseudoworker.bridge.checks.place import served_here
from pseudoworker.bridge.checks.websocket import check_websocket
from pseudoworker.config.model import Configuration
from pseudoworker.observe.addresses import AddressError, listening_socket
from pseudoworker.observe.texts import size
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.retry import PROBE
from pseudoworker.openqa.served import look
from pseudoworker.slave.assets_background import background

_TOPIC = "assets"
_TYPES = ("iso", "hdd", "other")
_SAMPLE = 3
"""Files of the factory directory that are looked for on each side."""
_ENTRIES = 1000
"""Entries of each folder that are looked at to find them."""
_LOOKS, _LOOK_PAUSE = 5, 3.0
"""How often, and every how many seconds, the slave is asked before its background tasks count as stuck."""
_PLAIN = re.compile(r"[\w.+-]+", re.ASCII)
_DOMAINS = "its download_domains cannot be asked"


async def check_assets(
    configuration: Configuration, master: Client, slave: Client, executor: Executor
) -> list[Line]:
    """The transport that will be taken first and why, and what each of those that may be taken needs."""
    policy = configuration.assets
    match policy.transport, policy.factory_dir:
        case "none", _:
            return [ok(_TOPIC, "transport none: every asset must lie on the slave already")]
        case "shared", Path() as directory:
            if problem := _unreadable(directory):
                return [_unfit("shared", problem)]
            first = ok(_TOPIC, f"transport shared: {directory} can be read")
            return [first, *await _alike(directory, (master, slave), executor)]
        case "local", Path() as directory:
            if problem := unusable(directory):
                return [_unfit("local", problem)]
            first = ok(_TOPIC, f"transport local: {directory} can be written")
            return [first, *await _alike(directory, (slave,), executor), *_space(configuration)]
        case "url", _:
            return await _url(configuration, slave)
        case "upload", _:
            return [
                ok(_TOPIC, "transport upload: assets are uploaded as products of a helper job"),
                await _upload(configuration),
            ]
        case "auto", directory:
            return await _auto(configuration, directory, slave, executor)
    return [error(_TOPIC, f"transport {policy.transport} needs factory_dir", "mend the configuration first")]


async def _auto(
    configuration: Configuration, directory: Path | None, slave: Client, executor: Executor
) -> list[Line]:
    problem = "factory_dir of [assets] is not set" if directory is None else unusable(directory)
    if directory is not None and problem is None:
        first = ok(_TOPIC, f"auto takes local: {directory} can be written")
        return [first, *await _alike(directory, (slave,), executor), *_space(configuration)]
    # what the first cannot do the next may, so none of them has to be possible
    url = [_lenient(line) for line in await _url(configuration, slave)]
    taken = "upload" if url[0].level != "ok" else "url"
    if taken == "url":
        text = f"auto takes url: {url[0].text.removeprefix('transport url: ')}; else upload, by a helper job"
    else:
        text = f"auto takes upload, by a helper job, since {url[0].text.removeprefix('transport url: ')}"
    first = ok(_TOPIC, f"{text} ({problem})")
    if directory is not None:
        first = warning(_TOPIC, first.text, "mend factory_dir of [assets], or leave it out")
    upload = await _upload(configuration)
    return [first, *url[1:], _lenient(upload) if taken == "url" else upload]


def _lenient(line: Line) -> Line:
    return replace(line, level="warning") if line.level == "error" else line


def _unfit(transport: str, problem: str) -> Line:
    return error(_TOPIC, f"transport {transport}: {problem}", "mend it or choose another transport")


def _unreadable(directory: Path) -> str | None:
    """Why the directory cannot be looked into; nothing is written there by `shared`."""
    if not directory.is_dir():
        return f"factory_dir {directory} is no directory; is it mounted?"
    if not os.access(directory, os.R_OK | os.X_OK):
        return f"factory_dir {directory} can not be read by user {os.geteuid()}"
    return None


async def _alike(directory: Path, clients: Sequence[Client], executor: Executor) -> list[Line]:
    """Whether each instance serves what lies in the directory: some of its newest files are looked for."""
    topic = "asset directory"
    sample = _newest(directory)
    if not sample:
        return [ok(topic, f"{directory} holds no file by which to see whose it is")]
    lines = []
    for client in clients:
        try:
            served = [await _size(client, asset, executor) for asset in sample]
        except OpenQAError as failure:
            lines.append(warning(topic, str(failure), "check again when it answers"))
            continue
        same = sum(its == expected for its, expected in zip(served, sample.values(), strict=True))
        if same:
            text = f"{client.url} serves {same} of {len(sample)} files of {directory} that were looked for"
            lines.append(ok(topic, text))
        else:
            text = f"{client.url} serves none of {', '.join(map(str, sample))} as they are in {directory}"
            lines.append(error(topic, text, "factory_dir of [assets] must be that instance's own directory"))
    return lines


async def _size(client: Client, asset: Asset, executor: Executor) -> int | None:
    """Bytes of the asset as the instance serves it, None when it does not."""
    for path in asset_paths(asset):
        if (found := await look(client, executor, path, policy=PROBE)) is not None:
            return found.size
    return None


def _newest(directory: Path) -> dict[Asset, int]:
    """Some assets in the directory, and their sizes in bytes."""
    files = sorted(_files(directory), reverse=True)[:_SAMPLE]
    return {asset: length for _, _, asset, length in files}


def _files(directory: Path) -> Iterator[tuple[float, str, Asset, int]]:
    for kind in _TYPES:
        try:
            with os.scandir(directory / kind) as entries:
                for entry, _ in zip(entries, range(_ENTRIES), strict=False):
                    if not _PLAIN.fullmatch(entry.name):
                        continue
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode):
                        yield status.st_mtime, str(entry.path), Asset(kind, entry.name), status.st_size
        except OSError:
            continue  # no such folder, or a file that has just been removed: others will do


async def _url(configuration: Configuration, slave: Client) -> list[Line]:
    policy = configuration.assets
    host = urlsplit(configuration.master.url).hostname
    problem = unreachable(configuration.master.url, configuration.slave.url)
    if problem is None:
        bridge = f", or from {policy.serve_address} here" if policy.serve_address else ""
        text = f"the slave downloads from the master{bridge}, if its download_domains name {host}"
        first = ok(_TOPIC, f"transport url: {text} ({_DOMAINS})")
    elif policy.serve_address:
        text = f"the slave downloads from {policy.serve_address} here, if its download_domains name that host"
        first = ok(_TOPIC, f"transport url: {text} ({_DOMAINS}; {problem})")
    else:
        advice = "set serve_address of [assets], or HOST by the name that the slave knows"
        first = error(_TOPIC, f"transport url: {problem}, and serve_address of [assets] is not set", advice)
    lines = [first]
    if policy.serve_address:
        lines.append(_served(configuration, policy.serve_address))
    if waiting := await _stuck(slave):
        text = f"{waiting} background tasks wait on the slave, and nobody works on one"
        lines.append(warning("asset download", text, "start openqa-gru there: it downloads assets"))
    return lines


async def _stuck(slave: Client) -> int:
    """How many background tasks have nobody to work on them; a worker takes them within seconds."""
    tasks = None
    for look_again in range(_LOOKS):
        if look_again:
            await asyncio.sleep(_LOOK_PAUSE)
        tasks = await background(slave)
        if tasks is None or not tasks.stuck:
            return 0
    return tasks.waiting if tasks is not None else 0


def _served(configuration: Configuration, address: str) -> Line:
    topic = "asset server"
    host, _, port = address.rpartition(":")
    try:
        listening_socket(host.strip("[]"), int(port)).close()
    except AddressError as failure:
        instances = [slot.instance for slot in configuration.slots]
        if served_here(configuration.state_dir, instances):
            return ok(topic, f"{address} is taken, as it may be while the service runs")
        return error(topic, str(failure), "choose another serve_address of [assets], or free it")
    return ok(topic, f"{address} can be listened on; whether the slave reaches it cannot be seen from here")


async def _upload(configuration: Configuration) -> Line:
    """The helper worker needs the slave's websocket; that the key may register workers stands in its line."""
    line = await check_websocket("slave", configuration.slave)
    return replace(line, topic="asset upload")


def _space(configuration: Configuration) -> list[Line]:
    policy = configuration.assets
    topic = "asset space"
    if policy.factory_dir is None or unusable(policy.factory_dir):
        return []
    free = shutil.disk_usage(policy.factory_dir).free
    text = (
        f"{size(free)} are free in {policy.factory_dir}, min_free of [assets] keeps {size(policy.min_free)}"
    )
    if free < policy.min_free:
        return [error(topic, text, "make room there, or lower min_free; until then no asset is moved")]
    return [ok(topic, text)]
