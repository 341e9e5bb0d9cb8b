"""Both instances: do they answer, which release, do they take our key, do the clocks agree."""

from __future__ import annotations

import html
import re
from collections.abc import Awaitable, Callable

from pseudoworker.bridge.checks.lines import Line, error, ok, warning
from pseudoworker.config.model import Site
from pseudoworker.openqa.access import ask_for_operator
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import (
    ClockSkew,
    Garbage,
    NotFound,
    OpenQAError,
    Refused,
    Unauthorized,
)
from pseudoworker.openqa.retry import PROBE

_TOLERANCE = 300.0
"""Seconds that openQA lets clocks differ (OpenQA::Shared::Controller::Auth)."""
_NOTABLE = 30.0
_LARGEST_PAGE = 4_000_000

# What the layout of every page of the web UI says at its end, where the release knows its own version
# (templates/webapi/layouts/bootstrap.html.ep).
_VERSION = re.compile(r"Version\s*<a href=\"[^\"]*\">([^<]{1,80})</a>")


async def check_site(name: str, site: Site, client: Client) -> list[Line]:
    """`name` is `master` or `slave`. The first line says whether it answers; there is no other if not."""
    try:
        release = await _release(client)
    except OpenQAError as failure:
        return [_failed(f"{name} reachable", failure)]
    lines = [ok(f"{name} reachable", f"{client.url} answers")]
    if not release:
        what = f"{client.url} does not look like openQA"
        lines.append(warning(f"{name} version", what, "check the URL, and the path that a proxy may want"))
    else:
        lines.append(ok(f"{name} version", release))
    lines.append(await _key(name, site, client))
    lines.append(_clock(name, client.skew))
    return lines


async def _release(client: Client) -> str:
    """What can be said of the release; empty when the page is none of openQA's."""
    try:
        page = (await client.read("/changelog", policy=PROBE, limit=_LARGEST_PAGE)).decode("utf-8", "replace")
    except NotFound:
        return ""
    if version := _VERSION.search(page):
        return f"openQA {html.unescape(version[1]).strip()}"
    if "openQA" not in page:
        return ""
    # packages that do not tell their version are placed by the routes they have
    if await _has(lambda: client.read("/api/v1/auth", policy=PROBE, limit=_LARGEST_PAGE)):
        return "openQA of 2025 or later (its pages do not tell the version)"
    if await _has(lambda: client.read("/health", policy=PROBE, limit=_LARGEST_PAGE)):
        return "openQA of 2024 or thereabouts (its pages do not tell the version)"
    return "openQA of 2023 or before (its pages do not tell the version)"


async def _has(question: Callable[[], Awaitable[object]]) -> bool:
    try:
        await question()
    except NotFound:
        return False
    except Refused:
        return True
    return True


async def _key(name: str, site: Site, client: Client) -> Line:
    topic = f"{name} key"
    if site.credentials is None:
        return error(topic, f"there is no key for {client.url}", "mend the configuration first")
    source = site.credentials.source
    try:
        await ask_for_operator(client)
    except ClockSkew as failure:
        return error(topic, failure.text, failure.advice)
    except Unauthorized as failure:
        return error(
            topic, f"the key from {source} is refused: {failure.text}", failure.advice or "use another key"
        )
    except OpenQAError as failure:
        return _failed(topic, failure)
    return ok(topic, f"the key from {source} is accepted and has operator rights")


def _clock(name: str, skew: float | None) -> Line:
    topic = f"{name} clock"
    if skew is None:
        return warning(topic, "its answers bear no date", "check what answers at this URL")
    text = f"differs from ours by {skew:+.0f} s"
    if abs(skew) >= _TOLERANCE:
        return error(
            topic, f"{text}; requests are refused from {_TOLERANCE:.0f} s on", "synchronise both clocks"
        )
    if abs(skew) >= _NOTABLE:
        return warning(topic, text, "synchronise both clocks")
    return ok(topic, text)


def _failed(topic: str, failure: OpenQAError) -> Line:
    request = f"{failure.method} {failure.url}: " if failure.url else ""
    said = f"{failure.status} {failure.text}" if failure.status is not None else failure.text
    advice = failure.advice
    if not advice:
        advice = (
            "check the URL" if isinstance(failure, Garbage | Refused) else "check the network and that host"
        )
    return error(topic, request + said, advice)
