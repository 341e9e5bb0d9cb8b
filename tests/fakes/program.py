"""The command line that both fakes share."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable, Sequence

from tests.fakes.flavour import FLAVOURS
from tests.fakes.server import FakeOpenQA


def main(
    build: Callable[..., FakeOpenQA],
    parent: argparse.ArgumentParser | None = None,
    argv: Sequence[str] | None = None,
) -> None:
    """Run a fake until SIGTERM or SIGINT; prints its URL once it listens."""
    parser = argparse.ArgumentParser(parents=[parent] if parent else [])
    parser.add_argument(
        "--port", type=int, default=0, help="of the web UI; the two after it are used as well"
    )
    parser.add_argument("--flavour", choices=sorted(FLAVOURS), default="bw")
    parser.add_argument("--key", default="0123456789ABCDEF")
    parser.add_argument("--secret", default="FEDCBA9876543210")
    parser.add_argument("--prefix", default="", help="path prefix of a reverse proxy")
    parser.add_argument("--worker-timeout", type=float, default=1800.0)
    parser.add_argument("--discard", action="store_true", help="keep no contents of what arrives")
    options = vars(parser.parse_args(argv))
    options["flavour"] = FLAVOURS[options["flavour"]]
    options["keep_content"] = not options.pop("discard")
    asyncio.run(_serve(build(**options)))


async def _serve(server: FakeOpenQA) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with server:
        print(server.url, flush=True)
        await ended.wait()
