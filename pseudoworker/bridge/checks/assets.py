"""How assets will reach the slave, and whether there is room for them."""

from __future__ import annotations

import shutil
from concurrent.futures import Executor
from urllib.parse import urlsplit

from pseudoworker.bridge.assets.local import LocalTransport
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.checks.lines import Line, error, ok, warning
from pseudoworker.config.model import Configuration
from pseudoworker.observe.texts import size
from pseudoworker.openqa.client import Client

_TOPIC = "assets"


async def check_assets(
    configuration: Configuration, master: Client, slave: Client, executor: Executor
) -> list[Line]:
    """The transport that will be taken first, and why."""
    policy = configuration.assets
    if policy.transport == "none":
        return [ok(_TOPIC, "transport none: every asset must lie on the slave already")]
    local = LocalTransport(Site(master, executor), Site(slave, executor), policy.factory_dir, executor)
    problem = await local.problem()
    lines = [_space(configuration)] if policy.factory_dir is not None and problem is None else []
    if policy.transport in ("shared", "local"):
        if problem:
            return [
                error(
                    _TOPIC, f"transport {policy.transport}: {problem}", "mend it or choose another transport"
                )
            ]
        return [ok(_TOPIC, f"transport {policy.transport}: {policy.factory_dir} is usable"), *lines]
    host = urlsplit(configuration.master.url).hostname
    bridge = f", or from {policy.serve_address} here" if policy.serve_address else ""
    url = f"the slave downloads from the master{bridge}, if its download_domains name {host}"
    if policy.transport == "url":
        return [ok(_TOPIC, f"transport url: {url}")]
    if policy.transport == "upload":
        return [ok(_TOPIC, "transport upload: assets are uploaded as products of a helper job")]
    if problem is None:
        return [ok(_TOPIC, f"auto takes local: {policy.factory_dir} can be written"), *lines]
    text = f"auto takes url: {url}; else upload, by a helper job ({problem})"
    if policy.factory_dir is not None:
        return [warning(_TOPIC, text, "mend factory_dir of [assets], or leave it out")]
    return [ok(_TOPIC, text)]


def _space(configuration: Configuration) -> Line:
    policy = configuration.assets
    topic = "asset space"
    if policy.factory_dir is None:
        raise ValueError("no factory directory")
    free = shutil.disk_usage(policy.factory_dir).free
    text = (
        f"{size(free)} are free in {policy.factory_dir}, min_free of [assets] keeps {size(policy.min_free)}"
    )
    if free < policy.min_free:
        return error(topic, text, "make room there, or lower min_free; until then no asset is moved")
    return ok(topic, text)
