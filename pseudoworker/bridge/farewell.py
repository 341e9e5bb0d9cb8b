"""Telling the master the end of a job, once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from pseudoworker.bridge.endings import Ending
from pseudoworker.bridge.lifecycle import State, Stop
from pseudoworker.bridge.patience import Patience
from pseudoworker.bridge.relay import Relay
from pseudoworker.master.job import LeaseLost, MasterJob
from pseudoworker.openqa import states
from pseudoworker.openqa.errors import OpenQAError

VERDICT = 60.0
"""Seconds to wait for the master's own verdict on a job whose relatives failed."""
VERDICT_PAUSE = 1.0


class Farewell:
    """The end of one job. Outages of the master are waited out with `patience`."""

    def __init__(
        self,
        master: MasterJob,
        relay: Relay,
        *,
        patience: Patience,
        logger: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._master = master
        self._relay = relay
        self._patience = patience
        self._logger = logger
        self._doubtful = False
        """Whether the end may have been told already."""

    async def tell(self, ending: Ending, state: State, *, doubtful: bool) -> str | None:
        """Tell the end; the result that the master settled on, None when it did not want to hear it (any
        more).

        A job that never ran on the slave leaves the story of that. Where a relative's failure ended the job
        the master judges first. `doubtful` says that the end may have been told before.
        """
        try:
            if doubtful and await self._told_before():
                return None
            if self._is_ours_to_explain(state):
                await self._try("explaining the end", self._relay.explain(ending.reason))
            if ending.duplicate:
                await self._try("duplicating the job", self._master.duplicate())
            if state.related and ending.result in states.ENDED_BY_OTHERS:
                await self._patience.until_done(self._verdict)
            result = await self._patience.until_done(lambda: self._set_done(ending))
        except LeaseLost as lost:
            self._logger.warning("The master does not want the end any more: %s", lost)
            return None
        result = result or ending.result
        self._logger.info("Ended as %s%s", result, f" ({ending.reason})" if ending.reason else "")
        return result

    def _is_ours_to_explain(self, state: State) -> bool:
        """Whether nothing that the slave left can tell what became of the job."""
        if state.stop is Stop.QUEUE_TIMEOUT and self._relay.waited_in_vain:
            return True
        return state.slave_id is None and (state.stop is None or state.stop.brings_results)

    async def _set_done(self, ending: Ending) -> str:
        """One try, unless an earlier one was heard and only its answer lost."""
        if self._doubtful and await self._told_before():
            return ""
        self._doubtful = True
        return await self._master.set_done(ending.result, ending.reason, newbuild=ending.newbuild)

    async def _told_before(self) -> bool:
        """Whether the end was told before, by this process without an answer, or by the one before it, which
        died before it could write that down."""
        view = await self._patience.until_done(self._master.view)
        return view.state == states.DONE or view.assigned_worker_id not in (None, self._master.worker_id)

    async def _verdict(self) -> None:
        """Let the master end this job for the failure of its relative, as it does for local workers."""
        for _ in range(round(VERDICT / VERDICT_PAUSE)):
            if (await self._master.view()).result != states.NONE:
                return
            await asyncio.sleep(VERDICT_PAUSE)

    async def _try(self, what: str, work: Awaitable[object]) -> None:
        """Do something that must not keep the job from its end."""
        try:
            await work
        except OpenQAError as error:
            self._logger.warning("Failed at %s: %s", what, error)
