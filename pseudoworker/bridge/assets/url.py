"""The `url` transport: the slave downloads by itself, from the master or from us.

A helper job names the asset and its URL, so the slave's own background task fetches it
(Task/Asset/Download.pm) before any job of ours waits for it, and why it failed stands in the helper job's
reason. Until the slave job exists the helper job also holds the asset against the slave's cleanup.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

from pseudoworker.bridge.assets.errors import AssetFailure, NoSpace, TransportRefused
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.serve import AssetServer, CanNotServe, Offer
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.transport import Carried, Order
from pseudoworker.openqa import states
from pseudoworker.openqa.errors import NotFound, OpenQAError
from pseudoworker.slave.assets import HelperJobs
from pseudoworker.slave.assets_background import background

SHORTEST_POLL, LONGEST_POLL = 1.0, 5.0
PATIENCE = 1800.0
"""Seconds for the slave's background task to come to our download, on top of what `SLOWEST` allows for the
bytes."""
DOUBTFUL_AFTER = 30.0
"""Seconds after which the slave's background service is looked at."""
MOST_DOUBTS = 4
"""Looks in a row that may find nobody at work."""
SLOWEST = 500_000
"""Bytes per second below which a download counts as stuck."""
REFUSED_FOR = 3600.0
"""Seconds that a source which the slave refused is not tried again."""

_PASSLIST = re.compile(r'Host "?([^"\s]+)"? of URL .* is not on the (passlist|whitelist)')


def unreachable(master_url: str, slave_url: str) -> str | None:
    """Why the slave cannot download from the master at the URL that we know, None if it may: a loopback
    address is another machine there."""
    if _loopback(master_url) and not _loopback(slave_url):
        return f"the slave can not reach the master as {master_url}"
    return None


class UrlTransport:
    """Has the slave download from the master, or from `server` where there is one and the master will not
    do."""

    name = "url"

    def __init__(
        self,
        master: Site,
        slave: Site,
        helpers: HelperJobs,
        server: AssetServer | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._master = master
        self._slave = slave
        self._helpers = helpers
        self._server = server
        self._clock = clock
        self._refused: dict[str, tuple[float, str]] = {}

    def unfit(self, _target: Asset) -> None:
        """Of Transport: any name will do."""

    async def problem(self) -> str | None:
        """Of Transport."""
        reasons = [self._standing(source) for source in ("master", "bridge")]
        return "; ".join(reason for reason in reasons if reason) if all(reasons) else None

    async def close(self) -> None:
        """Of Transport."""
        if self._server is not None:
            await self._server.close()

    async def carry(self, order: Order) -> Carried:
        """Of Transport."""
        reasons = []
        for source in ("master", "bridge"):
            reason = self._standing(source)
            if reason is None:
                try:
                    return await self._from(source, order)
                except TransportRefused as error:
                    reason = str(error)
                    if error.lasting:
                        self._refused[source] = (self._clock() + REFUSED_FOR, reason)
                    order.note(f"{order.target}: the slave could not download it from the {source}: {reason}")
            reasons.append(reason)
        raise TransportRefused("; ".join(reasons))

    def _standing(self, source: str) -> str | None:
        """Why a source is not to be tried now."""
        until, reason = self._refused.get(source, (0.0, ""))
        if reason and self._clock() < until:
            return reason
        if source == "bridge":
            return None if self._server else "serve_address of [assets] is not set"
        return unreachable(self._master.url, self._slave.url)

    async def _from(self, source: str, order: Order) -> Carried:
        limit = PATIENCE + order.file.size / SLOWEST
        async with self._address(source, order, limit) as url:
            helper = await self._helpers.post({order.setting: order.target.name, f"{order.setting}_URL": url})
            try:
                await self._downloaded(helper, order, limit)
            except BaseException:
                await asyncio.shield(self._helpers.finish(helper))
                raise
        return Carried(f"{self.name}, from the {source}", partial(self._helpers.finish, helper))

    @asynccontextmanager
    async def _address(self, source: str, order: Order, limit: float) -> AsyncIterator[str]:
        if source == "master":
            yield self._master.client.url_of(order.file.path)
            return
        assert self._server is not None
        try:
            await self._server.start()
        except CanNotServe as error:
            raise TransportRefused(str(error)) from error
        offer: Offer = self._server.offer(order.file, order.target.name, limit)
        try:
            yield offer.url
        finally:
            self._server.withdraw(offer)

    async def _downloaded(self, helper: int, order: Order, limit: float) -> None:
        """Wait until the slave has the whole file."""
        begun = self._clock()
        pause = SHORTEST_POLL
        doubts = 0
        while True:
            found = await self._slave.look(order.target)
            if found is not None and found.size == order.file.size:
                return
            await self._check(helper)
            waited = self._clock() - begun
            doubts = doubts + 1 if waited > DOUBTFUL_AFTER and await self._hopeless() else 0
            if waited > limit or doubts >= MOST_DOUBTS:
                raise TransportRefused(
                    f"the slave did not download it within {waited:.0f} s; does its gru service run?",
                    lasting=True,
                )
            await asyncio.sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.5)

    async def _hopeless(self) -> bool:
        """Whether nobody on the slave seems to be at work on it."""
        now = await background(self._slave.client)
        return now is not None and (now.idle or now.stuck)

    async def _check(self, helper: int) -> None:
        try:
            job = await self._helpers.view(helper)
        except NotFound as error:
            raise TransportRefused(f"helper job {helper} was deleted on the slave") from error
        except OpenQAError:
            return  # the next look at the asset waits for the slave to be back
        if job.state in states.FINAL_STATES:
            raise _explained(job.reason or f"helper job {helper} ended as {job.result}")


def _explained(reason: str) -> TransportRefused | AssetFailure:
    """What the slave's background task said (Task/Asset/Download.pm, _download; Downloader.pm)."""
    match = _PASSLIST.search(reason)
    if match:
        text = f"download_domains in the slave's openqa.ini does not allow the host {match[1]}"
        return TransportRefused(text, lasting=True)
    text = " ".join(reason.removeprefix("preparation failed: ").split())
    if "No space left" in text:
        return NoSpace(f"the slave's disk is full: {text}")
    return TransportRefused(text, lasting=re.search(r"failed: (40[13]|Can't|Connect)", text) is not None)


def _loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
