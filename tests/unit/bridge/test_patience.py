"""Outages are waited out, errors that do not pass are not."""

from __future__ import annotations

import logging

import pytest

from pseudoworker.bridge.patience import Patience
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

LOG = logging.LoggerAdapter(logging.getLogger("patience"))


class Call:
    def __init__(self, *errors: OpenQAError) -> None:
        self.errors = list(errors)
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("down"),
        Busy("slow down", status=429),
        ServerFailed("oops", status=500),
        Unauthorized("key expired", status=403),
        ClockSkew("timestamp mismatch", status=403),
    ],
)
async def test_what_passes_is_waited_out(error: OpenQAError) -> None:
    call = Call(error, error, error)
    assert await Patience(60.0, LOG, first=0.0).until_done(call) == "done"
    assert call.count == 4


@pytest.mark.parametrize("error", [Refused("no", status=400), NotFound("no", status=404), Garbage("HTML")])
async def test_what_does_not_pass_is_told_at_once(error: OpenQAError) -> None:
    call = Call(error)
    with pytest.raises(type(error)):
        await Patience(60.0, LOG, first=0.0).until_done(call)
    assert call.count == 1


async def test_patience_ends() -> None:
    call = Call(Unreachable("first"), Unreachable("second"))
    with pytest.raises(Unreachable, match="first"):
        await Patience(-1.0, LOG, first=0.0).until_done(call)
    assert call.count == 1


async def test_the_first_failure_is_a_warning_and_the_rest_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await Patience(60.0, LOG, first=0.01, longest=0.02).until_done(Call(*[Unreachable("down")] * 3))
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG"]
