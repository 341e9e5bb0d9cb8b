"""Files on their way: a few at a time, none twice, none given up early."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pseudoworker.bridge import transfer as module
from pseudoworker.bridge.transfer import Transfer, Transfers
from pseudoworker.openqa.errors import Garbage, NotFound, OpenQAError, Refused, ServerFailed, Unreachable
from tests.fakes.pair import until


class Log:
    """What the transfers tell, and what they did."""

    def __init__(self) -> None:
        self.brought: list[str] = []
        self.done: list[str] = []
        self.given_up: list[tuple[str, str]] = []
        self.failures: list[Exception] = []
        self.at_once = 0
        self.most_at_once = 0

    def transfers(self, workers: int = 2, **options: Callable[..., Awaitable[None]]) -> Transfers:
        return Transfers(
            workers,
            gave_up=lambda name, error: self.given_up.append((name, error.text)),
            failed=self.failures.append,
            **options,
        )

    def transfer(self, name: str, *errors: Exception, gate: asyncio.Event | None = None) -> Transfer:
        """One that meets these errors before it succeeds."""
        left = list(errors)

        async def bring() -> None:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await (gate.wait() if gate is not None else asyncio.sleep(0))
                if left:
                    raise left.pop(0)
                self.brought.append(name)
            finally:
                self.at_once -= 1

        return Transfer(name, bring, lambda: self.done.append(name))


def missing(times: int) -> list[NotFound]:
    return [NotFound("no such file", status=404)] * times


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)


async def test_a_few_at_a_time() -> None:
    log = Log()
    transfers = log.transfers(3)
    for number in range(10):
        transfers.add(log.transfer(str(number)))
    assert transfers.outstanding > 0
    await transfers.finish()
    assert (sorted(log.brought), log.done, log.most_at_once) == (sorted(log.done), log.brought, 3)
    assert (len(log.brought), transfers.outstanding) == (10, 0)


async def test_what_the_slave_does_not_have_yet_is_asked_for_again() -> None:
    log = Log()
    transfers = log.transfers()
    transfers.add(log.transfer("late", *missing(3)))
    await until(lambda: log.brought == ["late"])
    assert (log.done, log.given_up) == (["late"], [])


async def test_at_the_end_what_is_missing_is_missing_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 3600.0)
    log = Log()
    transfers = log.transfers()
    transfers.add(log.transfer("there", *missing(1)))
    transfers.add(log.transfer("gone", *missing(5)))
    await until(lambda: transfers.outstanding == 2 and log.at_once == 0)
    assert not transfers.finishing
    finish = asyncio.create_task(transfers.finish())
    await asyncio.sleep(0)
    assert transfers.finishing
    await finish
    assert (log.brought, log.given_up) == (["there"], [("gone", "no such file")])
    assert sorted(log.done) == ["gone", "there"]
    assert not transfers.finishing


@pytest.mark.parametrize(
    "error", [Refused("too large", status=413), Garbage("HTML"), ServerFailed("oops", status=500)]
)
async def test_what_is_refused_is_given_up_and_the_rest_goes_on(error: OpenQAError) -> None:
    log = Log()
    transfers = log.transfers()
    transfers.add(log.transfer("bad", error))
    transfers.add(log.transfer("good"))
    await transfers.finish()
    assert log.given_up == [("bad", error.text)]
    assert (log.brought, sorted(log.done)) == (["good"], ["bad", "good"])


async def test_any_other_error_ends_all() -> None:
    log = Log()
    gate = asyncio.Event()
    transfers = log.transfers(2)
    lost, second = RuntimeError("lease lost"), Unreachable("down")
    transfers.add(log.transfer("a", lost))
    transfers.add(log.transfer("b", second, gate=gate))
    transfers.add(log.transfer("c"))
    await until(lambda: log.failures == [lost])
    gate.set()
    transfers.add(log.transfer("d"))
    with pytest.raises(RuntimeError, match="lease lost"):
        await transfers.finish()
    assert (log.brought, log.failures) == ([], [lost])


async def test_outages_are_for_whoever_is_patient() -> None:
    log = Log()

    async def patient(bring: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await bring()
            except Unreachable:
                await asyncio.sleep(0)

    transfers = log.transfers(patient=patient)
    transfers.add(log.transfer("a", Unreachable("down"), Unreachable("down")))
    await transfers.finish()
    assert log.brought == ["a"]


async def test_closing_drops_what_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 3600.0)
    log = Log()
    transfers = log.transfers(1)
    transfers.add(log.transfer("late", *missing(1)))
    await until(lambda: transfers.outstanding == 1 and log.at_once == 0)
    transfers.add(log.transfer("hanging", gate=asyncio.Event()))
    transfers.add(log.transfer("queued"))
    await until(lambda: log.at_once == 1)
    transfers.close()
    await transfers.finish()
    assert (log.brought, log.done, log.failures, transfers.outstanding) == ([], [], [], 0)
