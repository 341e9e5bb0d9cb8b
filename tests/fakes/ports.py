"""Ports that are free."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Sequence


def free_ports(count: int = 1, candidates: Sequence[int] = range(23500, 32000, 10)) -> int:
    """The first of `count` ports in a row that nobody listens on, below those that the system gives out.

    Tests that run side by side (pytest-xdist) choose among different ones."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = candidates[worker::workers]
    for first in random.Random(os.urandom(8)).sample(own, len(own)):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError(f"no {count} free ports in a row")
