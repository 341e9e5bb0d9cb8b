"""The pure lifecycle: each step that matters by name, and all odd orders by properties."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pseudoworker.bridge import endings
from pseudoworker.bridge.endings import Ending
from pseudoworker.bridge.lifecycle import (
    AbandonProvide,
    Await,
    Began,
    Close,
    Command,
    Create,
    Created,
    EndTold,
    Event,
    Failed,
    Follow,
    Gone,
    Observed,
    Phase,
    Provide,
    Provided,
    Relayed,
    RelayFailed,
    RelayProgress,
    RelayRest,
    SlaveStopped,
    State,
    Stop,
    StopAsked,
    StopSlave,
    TellEnd,
    WaitedEnough,
    resume,
    step,
)

URL = "http://slave/tests/7"
SCHEDULED = Observed(7, "scheduled", "none", None, None, URL, has_worker=False)
RUNNING = Observed(7, "running", "none", None, None, URL)
PASSED = Observed(7, "done", "passed", None, None, URL)
CANCELLED = Observed(7, "cancelled", "user_cancelled", None, None, URL)


def after(*events: Event, state: State | None = None) -> tuple[State, tuple[Command, ...]]:
    """The state after these events, and the commands of the last one."""
    state = state or State()
    commands: tuple[Command, ...] = ()
    for event in events:
        state, commands = step(state, event)
    return state, commands


QUEUED = after(Began(), Provided(), Created(7))[0]
FINISHING = after(RUNNING, PASSED, state=QUEUED)[0]


def test_a_job_from_claim_to_end() -> None:
    state = State()
    told: list[tuple[Command, ...]] = []
    for event in (
        Began(),
        Provided(),
        Created(7),
        SCHEDULED,
        RUNNING,
        PASSED,
        Relayed(PASSED),
        EndTold(),
    ):
        state, commands = step(state, event)
        told.append(commands)
    assert told == [
        (Provide(),),
        (Create(),),
        (Follow(7),),
        (),
        (RelayProgress(),),
        (RelayRest(7),),
        (TellEnd(Ending("passed")),),
        (Close(),),
    ]
    assert state.phase is Phase.CLOSED


@pytest.mark.parametrize("phase", [Phase.CLAIMED, Phase.PROVIDING, Phase.CREATING])
def test_what_can_not_be_run_ends_with_its_reason(phase: Phase) -> None:
    ending = Ending("incomplete", "asset failure: no disk")
    state, commands = after(Failed("asset failure: no disk"), state=State(phase))
    assert (state.phase, commands) == (Phase.ENDING, (TellEnd(ending),))


@pytest.mark.parametrize("phase", [Phase.CLAIMED, Phase.PROVIDING])
@pytest.mark.parametrize("stop", list(Stop))
def test_a_stop_before_anything_is_on_the_slave(phase: Phase, stop: Stop) -> None:
    state, commands = after(StopAsked(stop), state=State(phase))
    assert commands[0] == AbandonProvide()
    if stop is Stop.LEASE_LOST:
        assert (state.phase, commands[1:]) == (Phase.CLOSED, (Close(),))
    else:
        assert state.phase is Phase.ENDING
        assert isinstance(commands[1], TellEnd)


def test_a_stop_during_the_creation_waits_for_its_outcome() -> None:
    creating = State(Phase.CREATING)
    assert after(StopAsked(Stop.CANCEL), state=creating)[1] == ()
    state, commands = after(StopAsked(Stop.CANCEL), Created(7), state=creating)
    assert (state.phase, commands) == (Phase.QUEUED, (Follow(7), StopSlave(7)))
    state, commands = after(StopAsked(Stop.CANCEL), Failed("x"), state=creating)
    assert commands == (TellEnd(Ending("user_cancelled")),)
    state, commands = after(StopAsked(Stop.LEASE_LOST), Failed("x"), state=creating)
    assert commands == (Close(),)


@pytest.mark.parametrize("stop", [Stop.CANCEL, Stop.OBSOLETE, Stop.QUEUE_TIMEOUT, Stop.RUN_TIMEOUT])
def test_a_stop_that_brings_results_waits_for_them(stop: Stop) -> None:
    state, commands = after(RUNNING, StopAsked(stop), state=QUEUED)
    assert commands == (StopSlave(7),)
    assert after(SlaveStopped(), state=state) == (state, ())
    ended = replace(CANCELLED, state="done")
    state, commands = after(ended, state=state)
    assert commands == (RelayRest(7),)
    state, commands = after(Relayed(ended), state=state)
    assert isinstance(commands[0], TellEnd)
    assert state.ending is not None
    assert state.ending.newbuild is (stop is Stop.OBSOLETE)


@pytest.mark.parametrize("stop", [Stop.ABORT, Stop.QUIT, Stop.SLAVE_LOST, Stop.BROKEN])
def test_a_stop_that_brings_nothing_ends_at_once(stop: Stop) -> None:
    state, commands = after(RUNNING, StopAsked(stop), replace(CANCELLED, state="done"), state=QUEUED)
    assert commands == ()
    state, commands = after(SlaveStopped(), state=state)
    assert state.phase is Phase.ENDING
    assert state.ending is not None
    assert state.ending.duplicate is (stop is Stop.QUIT)


def test_a_lost_lease_says_nothing_to_the_master() -> None:
    state, commands = after(RUNNING, StopAsked(Stop.LEASE_LOST), state=QUEUED)
    assert commands == (StopSlave(7),)
    assert after(SlaveStopped(), state=state)[1] == (Close(),)
    assert after(Gone(7, URL), state=state)[1] == (Close(),)
    assert after(StopAsked(Stop.LEASE_LOST), state=FINISHING)[1] == (Close(),)
    ending = after(Relayed(PASSED), state=FINISHING)[0]
    assert after(StopAsked(Stop.LEASE_LOST), state=ending)[1] == (Close(),)


def test_the_weightier_stop_counts() -> None:
    cancelled = after(RUNNING, StopAsked(Stop.CANCEL), state=QUEUED)[0]
    assert after(StopAsked(Stop.RUN_TIMEOUT), state=cancelled) == (cancelled, ())
    assert after(StopAsked(Stop.LEASE_LOST), state=cancelled)[0].stop is Stop.LEASE_LOST


def test_stops_while_the_rest_is_relayed() -> None:
    state, commands = after(StopAsked(Stop.CANCEL), state=FINISHING)
    assert commands == ()
    assert after(Relayed(PASSED), state=state)[1] == (TellEnd(Ending("user_cancelled")),)
    state, commands = after(StopAsked(Stop.QUIT), state=FINISHING)
    assert isinstance(commands[0], TellEnd)
    assert after(StopAsked(Stop.CANCEL), state=state)[0].phase is Phase.ENDING


def test_a_restart_on_the_slave_is_followed() -> None:
    restarted = Observed(7, "done", "user_restarted", None, 8, URL)
    state, commands = after(RUNNING, restarted, state=QUEUED)
    assert (state.phase, state.slave_id, commands) == (Phase.QUEUED, 8, (Follow(8, restarted=True),))
    stopping = after(RUNNING, StopAsked(Stop.CANCEL), state=QUEUED)[0]
    assert after(restarted, state=stopping)[1] == (Follow(8, restarted=True), StopSlave(8))
    state, commands = after(Relayed(restarted), state=FINISHING)
    assert (state.phase, commands) == (Phase.QUEUED, (Follow(8, restarted=True),))
    assert after(restarted, state=FINISHING)[0].slave_id == 8


def test_a_restart_that_is_announced_is_awaited() -> None:
    reason = 'cache failure: x [Auto-restarting because reason matches the configured "auto_clone_regex".]'
    announced = Observed(7, "done", "incomplete", reason, None, URL)
    state, commands = after(RUNNING, announced, Relayed(announced), state=QUEUED)
    assert (state.phase, commands) == (Phase.FINISHING, (Await(announced),))
    _ended, commands = after(WaitedEnough(announced), state=state)
    assert commands == (TellEnd(Ending("incomplete", "cache failure: x")),)
    assert after(replace(announced, clone_id=8), state=state)[0].slave_id == 8


def test_a_cancelled_slave_job_is_awaited_while_it_has_a_worker() -> None:
    state, commands = after(RUNNING, CANCELLED, state=QUEUED)
    assert commands == (Await(CANCELLED),)
    assert after(WaitedEnough(CANCELLED), state=state)[1] == (RelayRest(7),)
    assert after(WaitedEnough(replace(CANCELLED, slave_id=6)), state=state) == (state, ())
    never_given = replace(CANCELLED, has_worker=False)
    assert after(never_given, state=QUEUED)[1] == (RelayRest(7),)


def test_a_deleted_slave_job() -> None:
    _, commands = after(RUNNING, Gone(7, URL), state=QUEUED)
    assert isinstance(commands[0], TellEnd)
    assert URL in (commands[0].ending.reason or "")
    stopping = after(RUNNING, StopAsked(Stop.CANCEL), state=QUEUED)[0]
    assert after(Gone(7, URL), state=stopping)[1] == (TellEnd(Ending("user_cancelled")),)
    _state, commands = after(Relayed(Gone(7, URL)), state=FINISHING)
    assert commands == (TellEnd(Ending("passed")),)
    _state, commands = after(Relayed(Gone(7, URL), whole=False), state=FINISHING)
    assert commands == (TellEnd(endings.deleted(URL)),)
    stopping = replace(FINISHING, stop=Stop.CANCEL, ending=Ending("user_cancelled"))
    _state, commands = after(Relayed(Gone(7, URL), whole=False), state=stopping)
    assert commands == (TellEnd(Ending("user_cancelled")),)


def test_a_relay_that_fails_ends_with_its_reason() -> None:
    _state, commands = after(RelayFailed("api failure: x"), state=FINISHING)
    assert commands == (TellEnd(Ending("incomplete", "api failure: x")),)
    assert after(RelayFailed("api failure: x"), state=QUEUED) == (QUEUED, ())


def test_events_that_no_longer_matter() -> None:
    for event in (Began(), Provided(), Created(9), Relayed(PASSED), SlaveStopped(), EndTold()):
        assert after(event, state=replace(QUEUED, phase=Phase.RUNNING)) == (
            replace(QUEUED, phase=Phase.RUNNING),
            (),
        )
    other = replace(RUNNING, slave_id=6)
    assert after(other, Gone(6, URL), state=QUEUED) == (QUEUED, ())
    assert after(Failed("x"), state=QUEUED) == (QUEUED, ())
    assert after(PASSED, state=FINISHING) == (FINISHING, ())
    closed = State(Phase.CLOSED)
    assert after(Began(), state=closed) == (closed, ())


def test_what_a_journalled_state_owes() -> None:
    assert resume(State()) == (Provide(),)
    assert resume(State(Phase.PROVIDING)) == (Provide(),)
    assert resume(State(Phase.CREATING)) == (Create(),)
    assert resume(QUEUED) == (Follow(7),)
    assert resume(replace(QUEUED, stop=Stop.CANCEL)) == (Follow(7), StopSlave(7))
    assert resume(FINISHING) == (Follow(7), RelayRest(7))
    assert resume(State(Phase.ENDING, ending=Ending("passed"))) == (TellEnd(Ending("passed")),)
    assert resume(State(Phase.CLOSED)) == ()


def test_related_jobs_explain_each_other() -> None:
    queued = after(Began(), Provided(related=True), Created(7))[0]
    skipped = Observed(7, "done", "skipped", None, None, URL)
    state = after(skipped, state=queued)[0]
    assert state.ending == Ending("skipped", None)


STATES = ("scheduled", "assigned", "setup", "running", "uploading", "done", "cancelled")
RESULTS = ("none", "passed", "failed", "incomplete", "user_cancelled", "parallel_failed", "nonsense")


class Life(RuleBasedStateMachine):
    """The master, the slave, the limits and crashes of the process, in any order.

    A model of the outside keeps to what it can do at all: it answers commands that were given, once each, at
    any later time; a crash forgets commands that were not answered and asks `resume` for them anew."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.owed: list[Command] = []
        self.created = 0
        self.posted: int | None = None
        """The slave job that a POST made, known or not to the driver: a search finds it after a crash."""
        self.told = 0
        self.slave_state = "scheduled"

    @initialize(crashed=st.booleans())
    def begin(self, crashed: bool) -> None:
        if crashed:
            self.crash()
        else:
            self.happen(Began())

    def happen(self, event: Event) -> None:
        self.state, commands = step(self.state, event)
        for command in commands:
            if isinstance(command, AbandonProvide):
                self.owed = [owed for owed in self.owed if not isinstance(owed, Provide)]
            elif not isinstance(command, Follow | RelayProgress):
                self.owed.append(command)

    def take(self, kind: type[Command]) -> bool:
        for command in self.owed:
            if isinstance(command, kind):
                self.owed.remove(command)
                return True
        return False

    def seen(self, state: str, result: str, clone: bool) -> Observed:
        assert self.state.slave_id is not None
        clone_id = self.state.slave_id + 1 if clone else None
        return Observed(
            self.state.slave_id, state, result, None, clone_id, URL, has_worker=state != "scheduled"
        )

    @precondition(lambda self: any(isinstance(c, Provide) for c in self.owed))
    @rule(fine=st.booleans())
    def provided(self, fine: bool) -> None:
        self.take(Provide)
        self.happen(Provided() if fine else Failed("asset failure: x"))

    @precondition(lambda self: any(isinstance(c, Create) for c in self.owed))
    @rule(fine=st.booleans())
    def creation_answers(self, fine: bool) -> None:
        self.take(Create)
        if fine:
            if self.posted is None:
                self.created += 1
                self.posted = 100
            self.happen(Created(self.posted))
        else:
            self.happen(Failed("setup failure: refused"))

    @precondition(lambda self: any(isinstance(c, Create) for c in self.owed))
    @rule()
    def crash_after_the_post(self) -> None:
        """The request arrives, and the process dies before it knows."""
        if self.posted is None:
            self.created += 1
            self.posted = 100
        self.crash()

    @precondition(lambda self: self.state.slave_id is not None)
    @rule(state=st.sampled_from(STATES), result=st.sampled_from(RESULTS), clone=st.booleans())
    def slave_shows(self, state: str, result: str, clone: bool) -> None:
        self.happen(self.seen(state, result, clone and state == "done"))

    @precondition(lambda self: self.state.slave_id is not None)
    @rule()
    def slave_job_is_deleted(self) -> None:
        assert self.state.slave_id is not None
        self.happen(Gone(self.state.slave_id, URL))

    @rule(stop=st.sampled_from(list(Stop)))
    def stop(self, stop: Stop) -> None:
        self.happen(StopAsked(stop))

    @precondition(lambda self: any(isinstance(c, StopSlave) for c in self.owed))
    @rule()
    def slave_stopped(self) -> None:
        self.take(StopSlave)
        self.happen(SlaveStopped())

    @precondition(lambda self: any(isinstance(c, RelayRest) for c in self.owed) and self.state.slave_id)
    @rule(outcome=st.sampled_from(("fine", "clone", "gone", "gone too early", "failed")))
    def relayed(self, outcome: str) -> None:
        self.take(RelayRest)
        assert self.state.slave_id is not None
        if outcome == "failed":
            self.happen(RelayFailed("api failure: x"))
        elif outcome.startswith("gone"):
            self.happen(Relayed(Gone(self.state.slave_id, URL), whole=outcome == "gone"))
        else:
            self.happen(Relayed(self.seen("done", "passed", outcome == "clone")))

    @precondition(lambda self: any(isinstance(c, Await) for c in self.owed))
    @rule()
    def waited(self) -> None:
        last = next(c.last for c in self.owed if isinstance(c, Await))
        self.take(Await)
        self.happen(WaitedEnough(last))

    @precondition(lambda self: any(isinstance(c, TellEnd) for c in self.owed))
    @rule()
    def end_told(self) -> None:
        self.take(TellEnd)
        self.told += 1
        self.happen(EndTold())

    @rule()
    def crash(self) -> None:
        """The journal keeps the state; what was under way is forgotten."""
        self.owed = [command for command in resume(self.state) if not isinstance(command, Follow)]

    @invariant()
    def never_two_slave_jobs(self) -> None:
        assert self.created <= 1

    @invariant()
    def never_two_ends(self) -> None:
        assert self.told <= 1

    @invariant()
    def never_silence(self) -> None:
        """Whatever the state, something is owed, or the watcher's next word moves it on."""
        if self.state.phase is Phase.CLOSED:
            return
        watched = self.state.phase in (Phase.QUEUED, Phase.RUNNING)
        assert self.owed or watched

    def teardown(self) -> None:
        """Every state leaves eventually: answer what is owed, show the end, and the job closes."""
        for _ in range(50):
            if self.state.phase is Phase.CLOSED:
                return
            if self.take(Provide):
                self.happen(Provided())
            elif self.take(Create):
                self.happen(Created(100))
            elif self.take(RelayRest):
                self.happen(Relayed(self.seen("done", "passed", False)))
            elif self.take(StopSlave):
                self.happen(SlaveStopped())
            elif self.take(TellEnd):
                self.happen(EndTold())
            elif any(isinstance(c, Await) for c in self.owed):
                self.waited()
            elif self.state.slave_id is not None:
                self.happen(self.seen("done", "passed", False))
        raise AssertionError(f"stuck in {self.state} owing {self.owed}")


Life.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestLife = Life.TestCase
