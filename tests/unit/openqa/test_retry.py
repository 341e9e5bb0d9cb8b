"""The loop and the table of retries, with a clock that moves only when the loop sleeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.openqa import retry
from pseudoworker.openqa.errors import (
    Busy,
    ClockSkew,
    Garbage,
    NotFound,
    OpenQAError,
    Refused,
    ServerFailed,
    Unauthorized,
    Unreachable,
)
from pseudoworker.openqa.retry import Policy, Retry, retrying

EASY = Policy("easy", (Unreachable, Busy), limit=100, first=1, longest=8, timeout=5)


class Time:
    """A clock and its sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


async def run(
    policy: Policy, outcomes: Iterator[OpenQAError | str], *, random: float = 1.0
) -> tuple[str | OpenQAError, Time, list[Retry]]:
    time = Time()
    retries: list[Retry] = []

    async def call() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, str):
            return outcome
        raise outcome

    result: str | OpenQAError
    try:
        result = await retrying(
            policy, call, on_retry=retries.append, sleep=time.sleep, clock=time.clock, random=lambda: random
        )
    except OpenQAError as error:
        result = error
    return result, time, retries


async def test_success_at_once_sleeps_not() -> None:
    result, time, retries = await run(EASY, iter(["fine"]))
    assert (result, time.pauses, retries) == ("fine", [], [])


async def test_pauses_double_up_to_the_longest_and_are_told() -> None:
    error = Unreachable("gone")
    result, time, retries = await run(EASY, iter([error] * 6 + ["fine"]))
    assert result == "fine"
    assert time.pauses == [1, 2, 4, 8, 8, 8]
    assert retries[4] == Retry("easy", 5, error, 8)


async def test_pauses_are_anything_up_to_their_bound() -> None:
    _, time, _ = await run(EASY, iter([Unreachable("gone"), Unreachable("gone"), "fine"]), random=0.25)
    assert time.pauses == [0.25, 0.5]


async def test_final_errors_come_through_at_once() -> None:
    error = Refused("no")
    assert (await run(EASY, iter([error])))[:1] == (error,)
    foreign = ServerFailed("not in the table of this policy")
    assert (await run(EASY, iter([foreign])))[0] is foreign


async def test_it_ends_at_the_limit_with_the_last_error() -> None:
    errors = [Unreachable(str(number)) for number in range(50)]
    result, time, _ = await run(EASY, iter(errors))
    assert sum(time.pauses) <= EASY.limit
    assert result is errors[len(time.pauses)]


async def test_retry_after_is_obeyed_with_jitter_on_top() -> None:
    _, time, _ = await run(EASY, iter([Busy("later", retry_after=30), "fine"]))
    assert time.pauses == [31]


async def test_retry_after_beyond_the_limit_ends_it() -> None:
    error = Busy("much later", retry_after=900)
    result, time, _ = await run(EASY, iter([error]))
    assert result is error
    assert time.pauses == []


async def test_without_callbacks_it_really_sleeps() -> None:
    outcomes = iter([Unreachable("gone"), None])

    async def call() -> int:
        error = next(outcomes)
        if error is not None:
            raise error
        return 7

    assert await retrying(Policy("quick", (Unreachable,), 5, 0.001, 0.001, 1), call) == 7


@given(
    st.lists(
        st.sampled_from(
            [Unreachable("a"), Busy("b"), Busy("c", retry_after=7), ServerFailed("d"), NotFound("e")]
        ),
        max_size=30,
    ),
    st.floats(min_value=0, max_value=1),
)
async def test_no_try_begins_after_the_limit(errors: list[OpenQAError], random: float) -> None:
    result, time, retries = await run(EASY, iter([*errors, "fine"]), random=random)
    assert time.now - 1000 <= EASY.limit + 1e-6
    assert len(retries) == len(time.pauses)
    assert all(type(item.error) in EASY.retried for item in retries)
    assert isinstance(result, OpenQAError) or len(retries) == len(errors)


POLICIES = [value for value in vars(retry).values() if isinstance(value, Policy)]


def test_the_table_names_each_kind_once() -> None:
    names = [policy.name for policy in POLICIES]
    assert len(set(names)) == len(names)
    assert {"register", "status", "artefact", "chunk", "set_done", "create", "cancel", "read"} <= set(names)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_final_answers_are_final_in_every_policy(policy: Policy) -> None:
    assert not {Refused, NotFound, Unauthorized, Garbage, OpenQAError} & set(policy.retried)
    assert policy.first <= policy.longest <= policy.limit
    assert 0 < policy.timeout <= 120


def test_posting_a_job_and_ending_one_are_never_repeated() -> None:
    assert retry.CREATE.retried == ()
    assert retry.SET_DONE.retried == ()


def test_a_slave_that_is_away_is_noticed_soon() -> None:
    assert retry.LOOK.limit + retry.LOOK.timeout < 30


def test_outages_up_to_the_masters_patience_are_bridged() -> None:
    for policy in (retry.STATUS, retry.ARTEFACT, retry.READ, retry.CANCEL):
        assert policy.limit == 1800
        assert set(policy.retried) == {Unreachable, Busy, ServerFailed, ClockSkew}
