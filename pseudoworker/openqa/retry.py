"""Which failures are worth another try, how often and how long: one table, one loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pseudoworker.openqa.errors import Busy, ClockSkew, OpenQAError, ServerFailed, Unreachable

T = TypeVar("T")


@dataclass(frozen=True)
class Policy:
    """How one kind of call is repeated."""

    name: str
    """The kind of call, for logs and metrics."""
    retried: tuple[type[OpenQAError], ...]
    """Errors worth another try; anything else is final."""
    limit: float
    """Seconds from the first try after which no new one is begun."""
    first: float
    """Upper bound of the first pause, in seconds; each further one is twice as long, up to `longest`."""
    longest: float
    timeout: float
    """Seconds that one try may take, plus one for each 64 KiB that it moves."""


@dataclass(frozen=True)
class Retry:
    """One repetition that is about to happen."""

    policy: str
    attempt: int
    """The try that failed, counted from 1."""
    error: OpenQAError
    pause: float
    """Seconds until the next try."""


OnRetry = Callable[[Retry], None]

_TEMPORARY: tuple[type[OpenQAError], ...] = (Unreachable, Busy, ServerFailed, ClockSkew)

# A master gives a silent worker up after worker_timeout, 1800 s by default: outages up to that length are
# bridged.
_OUTAGE = 1800.0

REGISTER = Policy("register", (), limit=60, first=0, longest=0, timeout=30)
"""POST workers, of a slot. Its link repeats it for ever, in turn with all others: hundreds that repeated it
by themselves would all come at once when the master is back.
"""
REGISTER_HELPER = Policy("register_helper", _TEMPORARY, limit=60, first=1, longest=15, timeout=30)
"""The same of a worker that is there for one transfer."""
STATUS = Policy("status", _TEMPORARY, limit=_OUTAGE, first=0.5, longest=30, timeout=60)
ARTEFACT = Policy("artefact", _TEMPORARY, limit=_OUTAGE, first=0.5, longest=30, timeout=60)
CHUNK = Policy("chunk", _TEMPORARY, limit=_OUTAGE, first=1, longest=30, timeout=120)
"""A chunk of an asset. The last one writes a checksum over the whole file before it answers, which takes
its time.
"""
SET_DONE = Policy("set_done", (), limit=120, first=0, longest=0, timeout=120)
"""Never repeated as it is: after any doubt the caller looks whether the job has ended. Twice would be
harmless to the result (OpenQA::Schema::Result::Jobs done), but what the master does at an end, such as its
hooks, could come twice.
"""
DUPLICATE = Policy("duplicate", _TEMPORARY, limit=120, first=0.5, longest=15, timeout=60)
"""Harmless twice: a job that has a clone gets no other (OpenQA::Schema::Result::Jobs can_be_duplicated)."""
CREATE = Policy("create", (), limit=60, first=0, longest=0, timeout=120)
"""POST jobs on the slave. Never repeated: after any doubt the caller looks for the job by
FEDERATED_REPORT.
"""
CANCEL = Policy("cancel", _TEMPORARY, limit=_OUTAGE, first=0.5, longest=30, timeout=60)
READ = Policy("read", _TEMPORARY, limit=_OUTAGE, first=0.5, longest=30, timeout=60)
LOOK = Policy("look", _TEMPORARY, limit=8, first=0.5, longest=4, timeout=15)
"""Whether the slave could take a job now. One failure says nothing; more of them are to show soon, so that
no slot takes a job that would wait for the end of an outage.
"""
POLL = Policy("poll", (), limit=30, first=0, longest=0, timeout=30)
"""The watcher's tick. The next tick is its retry."""
PROBE = Policy("probe", (), limit=10, first=0, longest=0, timeout=10)
"""A question whose failure is the answer (`pseudoworker check`)."""
DOWNLOAD = Policy("download", _TEMPORARY, limit=_OUTAGE, first=1, longest=30, timeout=60)


async def retrying(
    policy: Policy,
    call: Callable[[], Awaitable[T]],
    *,
    on_retry: OnRetry | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
    random: Callable[[], float] = random.random,
) -> T:
    """Await `call()` until it succeeds or its error is final by `policy`; then raise that error.

    Pauses are exponential with full jitter (any length between 0 and the bound). A server that names a time
    to wait (`Busy.retry_after`) is not asked earlier, and not at all when that time lies beyond the limit.
    """
    started = clock()
    attempt = 0
    while True:
        attempt += 1
        try:
            return await call()
        except policy.retried as error:
            pause = random() * min(policy.longest, policy.first * 2 ** min(attempt - 1, 30))
            if isinstance(error, Busy) and error.retry_after is not None:
                pause += error.retry_after
            if clock() - started + pause > policy.limit:
                raise
            if on_retry is not None:
                on_retry(Retry(policy.name, attempt, error, pause))
        await sleep(pause)
