"""Ports that are free."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Sequence


def free_ports(count: int = 1, candidates: Sequence[int] = range(23500, 32000, 10)) -> int:
    """The first of `count` ports in a row that nobody listens on, below those that the system gives out."""
    chance = random.Random(os.urandom(8))
    for first in chance.sample(list(candidates), len(candidates)):
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
