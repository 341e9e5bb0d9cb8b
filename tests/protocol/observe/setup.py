"""A set-up of pseudoworker that works, to be looked at by `pseudoworker check`, and to be broken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from pseudoworker.bridge.check import check
from pseudoworker.bridge.checks.lines import EXIT_STATUS, Line
from pseudoworker.config.load import Overrides
from tests.fakes.exchange import Exchange, Route
from tests.fakes.flavour import TX
from tests.fakes.pair import FakePair
from tests.protocol.assets.world import Gru, minion_route

_PAGE = (
    "<html><title>openQA: Changelog</title><footer>openQA is licensed <a href='x'>GPL-2.0</a> - Version "
    '<a href="/changelog">4.6.1732034221.d00d</a></footer></html>'
)


async def _changelog(_exchange: Exchange) -> web.StreamResponse:
    return web.Response(text=_PAGE, content_type="text/html")


async def _live_root(_exchange: Exchange) -> web.StreamResponse:
    return web.json_response({"name": "openQA Live Handler"})


class Setup:
    """A fake master and slave, a configuration that joins them, and a way to break either."""

    def __init__(self, pair: FakePair, directory: Path, gru: Gru | None = None) -> None:
        self.pair = pair
        self.directory = directory
        self.conf = directory / "conf"
        self.state = directory / "state"
        self.gru = gru or Gru(pair.slave)
        pair.write_config(self.conf, instances=2)

    def append(self, name: str, text: str) -> None:
        with (self.conf / name).open("a") as file:
            file.write(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.conf / name).read_text()
        assert old in text
        (self.conf / name).write_text(text.replace(old, new))

    def transport(self, name: str, more: str = "") -> None:
        """Choose a way for assets to the slave."""
        self.append("pseudoworker.toml", f'\n[assets]\ntransport = "{name}"\n{more}\n')

    def shared(self, name: str = "shared") -> None:
        """Let a factory directory with one file be that way."""
        factory = self.directory / "factory"
        (factory / "iso").mkdir(parents=True)
        (factory / "iso" / "tiny.iso").write_bytes(b"tiny")
        self.transport(name, f'factory_dir = "{factory}"')

    async def check(self, overrides: Overrides | None = None) -> list[Line]:
        environment = {"OPENQA_CONFIG": str(self.conf), "STATE_DIRECTORY": str(self.state)}
        return await check(overrides or Overrides(instances="1-2"), environment, system_directories=())

    async def line(self, topic: str, overrides: Overrides | None = None) -> str:
        """What is said about one topic, worst first, as text."""
        lines = [line for line in await self.check(overrides) if line.topic == topic]
        assert lines
        return str(max(lines, key=lambda line: EXIT_STATUS[line.level]))


@asynccontextmanager
async def working(directory: Path) -> AsyncIterator[Setup]:
    """A set-up that works, with a live handler on each side and background tasks on the slave."""
    pair = FakePair(flavour=TX)
    for side in (pair.master, pair.slave):
        side.extra_routes += [
            Route("GET", "/changelog", "page", _changelog),
            Route("GET", "/", "page", _live_root, port="live"),
        ]
    gru = Gru(pair.slave)
    pair.slave.extra_routes.append(minion_route(gru))
    async with pair:
        yield Setup(pair, directory, gru)
