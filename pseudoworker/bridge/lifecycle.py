"""The life of one relayed job as a pure function: (state, event) to (state, commands).

Nothing here knows a clock, a socket or a file. The driver (`bridge.run`) turns what happens into events,
journals the new state, and only then carries out the commands. A restart of the process is no special
case: `resume` says which commands a journalled state still owes.

The phases, in order; a job never goes back except from a later one to QUEUED, when the slave restarted it:

* CLAIMED: the master handed the job to us and the journal knows; nothing was done for it yet.
* PROVIDING: its cluster is gathered and its assets are brought to the slave.
* CREATING: the slave job is being posted, or looked for after a doubt.
* QUEUED: the slave job exists and was not seen running.
* RUNNING: the slave job runs; its modules are relayed as they finish.
* FINISHING: the slave job ended; all that it left is relayed.
* ENDING: the end is being told to the master.
* CLOSED: nothing is owed to either side any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from pseudoworker.bridge import endings
from pseudoworker.bridge.endings import Ending
from pseudoworker.openqa import states


class Phase(StrEnum):
    """Where a job stands; the module's docstring explains each."""

    CLAIMED = "claimed"
    PROVIDING = "providing"
    CREATING = "creating"
    QUEUED = "queued"
    RUNNING = "running"
    FINISHING = "finishing"
    ENDING = "ending"
    CLOSED = "closed"


class Stop(StrEnum):
    """Why a job is to stop before its own end. The first four are openQA's stop commands."""

    CANCEL = "cancel"
    OBSOLETE = "obsolete"
    ABORT = "abort"
    QUIT = "quit"
    QUEUE_TIMEOUT = "queue timeout"
    RUN_TIMEOUT = "run timeout"
    SLAVE_LOST = "slave lost"
    BROKEN = "broken"
    LEASE_LOST = "lease lost"

    @property
    def brings_results(self) -> bool:
        """Whether what the slave job left is still relayed."""
        return self in (Stop.CANCEL, Stop.OBSOLETE, Stop.QUEUE_TIMEOUT, Stop.RUN_TIMEOUT)


@dataclass(frozen=True)
class State:
    """All that decides what happens next to one job; this is what the journal keeps."""

    phase: Phase = Phase.CLAIMED
    slave_id: int | None = None
    stop: Stop | None = None
    ending: Ending | None = None
    """What the master is told; set from FINISHING on, may change until ENDING."""
    related: bool = False
    """Whether other jobs of this bridge belong to it: their ends explain one that was skipped or aborted."""


# What happens to a job.


@dataclass(frozen=True)
class Began:
    """The claim is journalled and the master was told."""


@dataclass(frozen=True)
class Provided:
    """All that the job needs lies on the slave, and its cluster is complete."""

    related: bool = False


@dataclass(frozen=True)
class Failed:
    """The job can not be run; `reason` is as openQA words it (`asset failure: …`). Nothing is on the
    slave."""

    reason: str


@dataclass(frozen=True)
class Created:
    """The slave job exists."""

    slave_id: int


@dataclass(frozen=True)
class Observed:
    """What the slave says of a slave job. `url` is where a person can look at it."""

    slave_id: int
    state: str
    result: str
    reason: str | None
    clone_id: int | None
    url: str
    has_worker: bool = True
    """Whether a worker of the slave was ever given the job: such a job, cancelled, is still to be wound
    up."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of the slave job."""
        return self.state == states.DONE or (self.state == states.CANCELLED and not self.has_worker)


@dataclass(frozen=True)
class Gone:
    """The slave does not know the slave job any more."""

    slave_id: int
    url: str


@dataclass(frozen=True)
class StopAsked:
    """The master, the administrator or a limit asks for the end."""

    stop: Stop


@dataclass(frozen=True)
class SlaveStopped:
    """The slave was told to cancel the slave job, or will be as soon as it can be reached."""


@dataclass(frozen=True)
class Relayed:
    """Everything the ended slave job left is on the master; `last` is a look at it after that."""

    last: Observed | Gone
    whole: bool = True
    """False if the slave job was deleted before everything was read."""


@dataclass(frozen=True)
class RelayFailed:
    """What the ended slave job left can not be had, or not be delivered; `reason` says why."""

    reason: str


@dataclass(frozen=True)
class WaitedEnough:
    """What an Await command waited for did not come: the restart that the slave announced, or the last word
    of the slave's worker on a cancelled job."""

    last: Observed


@dataclass(frozen=True)
class EndTold:
    """The master took the end, or does not want it."""


Event = (
    Began
    | Provided
    | Failed
    | Created
    | Observed
    | Gone
    | StopAsked
    | SlaveStopped
    | Relayed
    | RelayFailed
    | WaitedEnough
    | EndTold
)


# What the driver is to do.


@dataclass(frozen=True)
class Provide:
    """Gather the cluster and bring the assets; answer with Provided or Failed."""


@dataclass(frozen=True)
class AbandonProvide:
    """Stop gathering and transferring."""


@dataclass(frozen=True)
class Create:
    """Post the slave job, or find the one posted before; answer with Created or Failed."""


@dataclass(frozen=True)
class Follow:
    """Watch this slave job from now on; results of the one before are stale where `restarted`."""

    slave_id: int
    restarted: bool = False


@dataclass(frozen=True)
class StopSlave:
    """See to it, durably, that the slave job is cancelled; answer with SlaveStopped. Asking twice does no
    harm."""

    slave_id: int


@dataclass(frozen=True)
class RelayProgress:
    """Post what the running slave job shows."""


@dataclass(frozen=True)
class RelayRest:
    """Relay all that the ended slave job left; answer with Relayed."""

    slave_id: int


@dataclass(frozen=True)
class Await:
    """Go on watching for a limited time; answer with WaitedEnough unless something else came of it."""

    last: Observed


@dataclass(frozen=True)
class TellEnd:
    """Tell the master the end; answer with EndTold."""

    ending: Ending


@dataclass(frozen=True)
class Close:
    """Forget the job: unwatch, close the pairing, free the slot."""


Command = (
    Provide
    | AbandonProvide
    | Create
    | Follow
    | StopSlave
    | RelayProgress
    | RelayRest
    | Await
    | TellEnd
    | Close
)

Step = tuple[State, tuple[Command, ...]]

_STARTED = frozenset({states.RUNNING, states.UPLOADING})


def step(state: State, event: Event) -> Step:
    """What an event makes of a state. Events that no longer matter change nothing and command nothing."""
    if state.phase is Phase.CLOSED:
        return state, ()
    match event:
        case Began():
            return _begin(state)
        case Provided(related):
            return _provided(state, related)
        case Failed(reason):
            return _failed(state, reason)
        case Created(slave_id):
            return _created(state, slave_id)
        case Observed():
            return _observed(state, event)
        case Gone():
            return _gone(state, event)
        case StopAsked(stop):
            return _stop(state, stop)
        case SlaveStopped():
            return _slave_stopped(state)
        case Relayed():
            return _relayed(state, event.last, whole=event.whole)
        case RelayFailed(reason):
            return _end(state, endings.failure(reason), Phase.FINISHING)
        case WaitedEnough(last):
            return _waited_enough(state, last)
        case _:  # EndTold
            return _close(state) if state.phase is Phase.ENDING else (state, ())


def resume(state: State) -> tuple[Command, ...]:
    """The commands that a state read from the journal still owes, after a restart of the process."""
    match state.phase:
        case Phase.CLAIMED | Phase.PROVIDING:
            return (Provide(),)
        case Phase.CREATING:
            return (Create(),)
        case Phase.QUEUED | Phase.RUNNING | Phase.FINISHING:
            assert state.slave_id is not None
            follow: tuple[Command, ...] = (Follow(state.slave_id),)
            if state.phase is Phase.FINISHING:
                return (*follow, RelayRest(state.slave_id))
            return (*follow, StopSlave(state.slave_id)) if state.stop else follow
        case Phase.ENDING:
            assert state.ending is not None
            return (TellEnd(state.ending),)
        case _:  # CLOSED
            return ()


def _begin(state: State) -> Step:
    if state.phase is not Phase.CLAIMED:
        return state, ()
    return replace(state, phase=Phase.PROVIDING), (Provide(),)


def _provided(state: State, related: bool) -> Step:
    # from CLAIMED after a restart of the process, which has no other beginning
    if state.phase not in (Phase.CLAIMED, Phase.PROVIDING):
        return state, ()
    return replace(state, phase=Phase.CREATING, related=related), (Create(),)


def _failed(state: State, reason: str) -> Step:
    if state.phase not in (Phase.CLAIMED, Phase.PROVIDING, Phase.CREATING):
        return state, ()
    return _end(state, endings.failure(reason), state.phase)


def _created(state: State, slave_id: int) -> Step:
    if state.phase is not Phase.CREATING:
        return state, ()
    state = replace(state, phase=Phase.QUEUED, slave_id=slave_id)
    follow: tuple[Command, ...] = (Follow(slave_id),)
    return state, (*follow, StopSlave(slave_id)) if state.stop else follow


def _observed(state: State, seen: Observed) -> Step:
    if seen.slave_id != state.slave_id or state.phase not in (Phase.QUEUED, Phase.RUNNING, Phase.FINISHING):
        return state, ()
    if seen.clone_id is not None:
        return _follow_clone(state, seen.clone_id)
    if state.phase is Phase.FINISHING:
        return state, ()
    if seen.ended:
        return _finish(state, seen)
    if seen.state == states.CANCELLED:
        return state, (Await(seen),)
    if seen.state in _STARTED:
        return replace(state, phase=Phase.RUNNING), (RelayProgress(),)
    return state, ()


def _waited_enough(state: State, last: Observed) -> Step:
    if last.slave_id != state.slave_id:
        return state, ()
    if state.phase in (Phase.QUEUED, Phase.RUNNING):
        return _finish(state, last)
    return _end(state, _own_ending(state, last), Phase.FINISHING)


def _finish(state: State, seen: Observed) -> Step:
    if state.stop and not state.stop.brings_results:
        return state, ()  # the end waits for SlaveStopped only
    ending = endings.of_stop(state.stop, seen.url) if state.stop else _own_ending(state, seen)
    return replace(state, phase=Phase.FINISHING, ending=ending), (RelayRest(seen.slave_id),)


def _own_ending(state: State, seen: Observed) -> Ending:
    return endings.of_slave(seen.result, seen.reason, seen.url, related=state.related)


def _follow_clone(state: State, clone_id: int) -> Step:
    state = replace(state, phase=Phase.QUEUED, slave_id=clone_id, ending=None)
    follow: tuple[Command, ...] = (Follow(clone_id, restarted=True),)
    return state, (*follow, StopSlave(clone_id)) if state.stop else follow


def _gone(state: State, gone: Gone) -> Step:
    if gone.slave_id != state.slave_id or state.phase not in (Phase.QUEUED, Phase.RUNNING):
        return state, ()
    if state.stop is Stop.LEASE_LOST:
        return _close(state)
    ending = endings.of_stop(state.stop, gone.url) if state.stop else endings.deleted(gone.url)
    return _end(state, ending, state.phase)


def _stop(state: State, stop: Stop) -> Step:
    if not _outranks(stop, state.stop):
        return state, ()
    state = replace(state, stop=stop)
    match state.phase:
        case Phase.CLAIMED | Phase.PROVIDING:
            if stop is Stop.LEASE_LOST:
                closed, close = _close(state)
                return closed, (AbandonProvide(), *close)
            ended, tell = _end(state, endings.of_stop(stop, None), state.phase)
            return ended, (AbandonProvide(), *tell)
        case Phase.CREATING:
            return state, ()  # a request in flight can not be called back: decided when it answers
        case Phase.QUEUED | Phase.RUNNING:
            assert state.slave_id is not None
            return state, (StopSlave(state.slave_id),)
        case Phase.FINISHING:
            if stop is Stop.LEASE_LOST:
                return _close(state)
            if not stop.brings_results:
                return _end(state, endings.of_stop(stop, None), state.phase)
            return replace(state, ending=endings.of_stop(stop, None)), ()
        case _:  # ENDING: the end is on its way; only a master that gave the job away changes that
            return _close(state) if stop is Stop.LEASE_LOST else (state, ())


_RANK = {
    Stop.QUEUE_TIMEOUT: 0,
    Stop.RUN_TIMEOUT: 0,
    Stop.CANCEL: 1,
    Stop.OBSOLETE: 1,
    Stop.ABORT: 2,
    Stop.QUIT: 2,
    Stop.SLAVE_LOST: 3,
    Stop.BROKEN: 3,
    Stop.LEASE_LOST: 4,
}


def _outranks(new: Stop, old: Stop | None) -> bool:
    return old is None or _RANK[new] > _RANK[old]


def _slave_stopped(state: State) -> Step:
    if state.phase not in (Phase.QUEUED, Phase.RUNNING) or state.stop is None:
        return state, ()
    if state.stop is Stop.LEASE_LOST:
        return _close(state)
    if state.stop.brings_results:
        return state, ()  # the slave job's own end comes, and with it what it left
    return _end(state, endings.of_stop(state.stop, None), state.phase)


def _relayed(state: State, last: Observed | Gone, *, whole: bool) -> Step:
    if state.phase is not Phase.FINISHING or last.slave_id != state.slave_id:
        return state, ()
    assert state.ending is not None
    if isinstance(last, Gone) and not (whole or state.stop):
        return _end(state, endings.deleted(last.url), Phase.FINISHING)
    if isinstance(last, Gone) or state.stop:
        return _end(state, state.ending, Phase.FINISHING)
    if last.clone_id is not None:
        return _follow_clone(state, last.clone_id)
    if endings.announces_restart(last.reason):
        return state, (Await(last),)
    return _end(state, _own_ending(state, last), Phase.FINISHING)


def _end(state: State, ending: Ending, expected: Phase) -> Step:
    if state.phase is not expected:
        return state, ()
    if state.stop is Stop.LEASE_LOST:
        return _close(state)
    if state.stop and expected is Phase.CREATING:
        ending = endings.of_stop(state.stop, None)
    return replace(state, phase=Phase.ENDING, ending=ending), (TellEnd(ending),)


def _close(state: State) -> Step:
    return replace(state, phase=Phase.CLOSED), (Close(),)
