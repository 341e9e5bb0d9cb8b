"""How a job ends on the master: the one place that turns a slave's end, or a stop, into result and reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pseudoworker.openqa import states

if TYPE_CHECKING:
    from pseudoworker.bridge.lifecycle import Stop


@dataclass(frozen=True)
class Ending:
    """The parameters of `set_done`. A result of None leaves it to the master to compute one."""

    result: str
    reason: str | None = None
    newbuild: bool = False
    duplicate: bool = False
    """Whether the master is asked for a duplicate of the job first, as a stock worker does that quits."""


_RESTART_NOTE = re.compile(r" ?\[(Auto-restarting|Not restarting)[^\]]*\]\.?$")


def announces_restart(reason: str | None) -> bool:
    """Whether the slave says that it restarts the job by itself: newer releases note that in the reason and
    leave the clone to a background job (`OpenQA::Schema::Result::Jobs::done`)."""
    note = _RESTART_NOTE.search(reason or "")
    return note is not None and note[1] == "Auto-restarting"


def of_slave(result: str, reason: str | None, url: str, *, related: bool = False) -> Ending:
    """The slave's own result and reason, passed on. What the slave notes of its own restarts is left out,
    since the master decides on its own. Where the result alone would not explain the end, the reason names
    the slave job; `related` says that the job belongs to others of this bridge, whose ends explain some
    results, as they do with local workers."""
    reason = _RESTART_NOTE.sub("", reason or "") or None
    if result not in states.RESULTS or result == states.NONE:
        return Ending(states.INCOMPLETE, f"slave job {url} ended without a result")
    explained = related and result in states.ENDED_BY_OTHERS
    if reason is None and result not in states.COMPLETE_RESULTS and not explained:
        reason = f"{result} on the slave: {url}"
    return Ending(result, reason)


def deleted(url: str) -> Ending:
    """The slave job vanished under our feet."""
    return failure(f"slave job {url} was deleted before its results were relayed")


def failure(reason: str) -> Ending:
    """The job could not be run at all."""
    return Ending(states.INCOMPLETE, reason)


def of_stop(stop: Stop, url: str | None) -> Ending:
    """What a stock worker says for each of openQA's stop commands (`OpenQA::Worker::Job`,
    `_stop_step_5_2_upload` and `_format_reason`), and what we say when one of our own limits ended the
    job."""
    where = f" ({url})" if url else ""
    endings = {
        "cancel": Ending(states.USER_CANCELLED),
        "obsolete": Ending(states.INCOMPLETE, newbuild=True),
        "abort": Ending(states.INCOMPLETE, "abort"),
        "quit": Ending(states.INCOMPLETE, "quit: worker has been stopped or restarted", duplicate=True),
        "queue timeout": Ending(
            states.INCOMPLETE, f"timeout: slave job was not started within queue_timeout{where}"
        ),
        "run timeout": Ending(states.TIMEOUT_EXCEEDED, f"timeout: slave job exceeded its time{where}"),
        "broken": Ending(
            states.INCOMPLETE, "worker broken: internal error of pseudoworker, its log says more"
        ),
        "slave lost": Ending(
            states.INCOMPLETE, f"api failure: slave could not be reached for too long{where}"
        ),
    }
    return endings[stop.value]
