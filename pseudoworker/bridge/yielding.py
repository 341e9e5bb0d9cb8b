"""Jobs that fall together: the slave ends those that the master ended for a relative's sake by itself.

Who cancels one job of a cluster on the master has all of them stopped there, the others as `parallel_failed`,
and every one of their runs is told to cancel its slave job. Were the others cancelled on the slave before the
first one, the slave would take them for jobs that a user cancelled, and such jobs lose what their running
module says last (`OpenQA::Schema::Result::Jobs`, `_job_stop_cluster` and `update_status`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa import states
from pseudoworker.openqa.views import JobView

Look = Callable[[], Awaitable[JobView]]

LIMIT = 20.0
"""Seconds that the slave has to end the job by itself."""
PAUSE = 0.5


async def yield_to_relatives(master: Look, slave: Look) -> None:
    """Wait until the slave has ended the job by itself, if the master ended it for a relative's sake. What
    can not be found out is not waited for, and no look's error is raised."""
    with contextlib.suppress(TimeoutError, PseudoworkerError):
        async with asyncio.timeout(LIMIT):
            if (await master()).result not in states.ENDED_BY_OTHERS:
                return
            for _ in range(round(LIMIT / PAUSE)):
                if (await slave()).result != states.NONE:
                    return
                await asyncio.sleep(PAUSE)
