"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def in_thread(executor: Executor, work: Callable[[], T]) -> T:
    """The result of `work`, run on `executor`. The work goes on when the caller is cancelled."""
    return await asyncio.get_running_loop().run_in_executor(executor, work)


async def in_thread_to_end(executor: Executor, work: Callable[[], T]) -> T:
    """The same for short work that must be over before anything else is done: cancelling waits for its
    end."""
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # looked at: nobody else will
        raise
