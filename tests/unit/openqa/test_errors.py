"""Errors read as one line that says what to do."""

from __future__ import annotations

import pytest

from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa import errors
from pseudoworker.openqa.errors import (
    Busy,
    ClockSkew,
    ConnectionLost,
    OpenQAError,
    Refused,
    Unauthorized,
    Unreachable,
)


def test_a_whole_line() -> None:
    error = Refused("no such thing", method="GET", url="http://h/x", status=400, advice="ask otherwise")
    assert str(error) == "GET http://h/x: 400 no such thing; ask otherwise"


def test_what_is_not_known_is_left_out() -> None:
    assert str(OpenQAError("odd")) == "odd"
    assert str(OpenQAError("odd", url="http://h/x")) == "http://h/x: odd"


def test_a_lost_connection_tells_code_and_reason() -> None:
    error = ConnectionLost(1008, "thought dead", url="ws://h/ws/1", advice="find the other one")
    assert (error.code, error.reason, error.status) == (1008, "thought dead", None)
    assert str(error) == "ws://h/ws/1: websocket closed with 1008: thought dead; find the other one"
    assert str(ConnectionLost(1006, "")) == "websocket closed with 1006: no reason"
    assert isinstance(error, Unreachable)


def test_extra_fields() -> None:
    assert Busy("later", retry_after=5).retry_after == 5
    assert Busy("later").retry_after is None
    assert ClockSkew("off", skew=-400).skew == -400
    assert isinstance(ClockSkew("off"), Unauthorized)


@pytest.mark.parametrize(
    "kind",
    [value for value in vars(errors).values() if isinstance(value, type)],
    ids=lambda kind: kind.__name__,
)
def test_every_error_is_a_pseudoworker_error(kind: type) -> None:
    assert issubclass(kind, PseudoworkerError)
