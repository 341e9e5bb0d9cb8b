"""The thread that ends calls whose time is over."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pseudoworker.openqa.deadlines import SLOWEST, Call, Deadlines, current_call


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    watch = Deadlines()
    yield watch
    watch.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def begun(deadlines: Deadlines, timeout: float) -> Call:
    call = deadlines.call(timeout)
    deadlines.begin(call)
    return call


def waited(connection: socket.socket) -> float:
    """Seconds until a blocking read ends."""
    started = time.monotonic()
    assert connection.recv(1) == b""
    return time.monotonic() - started


def test_a_call_whose_time_is_over_is_ended(
    deadlines: Deadlines, pair: tuple[socket.socket, socket.socket]
) -> None:
    call = begun(deadlines, 0.2)
    call.attach(pair[0])
    assert 0.15 < waited(pair[0]) < 5
    assert call.expired
    assert call.aborted
    with pytest.raises(TimeoutError):
        call.check()
    with pytest.raises(TimeoutError):
        call.attach(pair[0])


def test_the_shortest_of_many_ends_first(
    deadlines: Deadlines, pair: tuple[socket.socket, socket.socket]
) -> None:
    longer = begun(deadlines, 30)
    shorter = begun(deadlines, 0.1)
    shorter.attach(pair[0])
    assert waited(pair[0]) < 5
    assert shorter.expired
    assert not longer.expired
    deadlines.end(longer)


def test_what_moves_prolongs_a_call_up_to_its_time_out(deadlines: Deadlines) -> None:
    call = begun(deadlines, 10)
    before = call.deadline
    call.progress(100 * SLOWEST)
    assert before < call.deadline <= time.monotonic() + 10
    time.sleep(0.05)
    later = call.deadline
    call.progress(0)
    assert call.deadline == later
    call.restart()
    assert call.deadline > later


def test_a_paused_call_has_time(deadlines: Deadlines, pair: tuple[socket.socket, socket.socket]) -> None:
    call = begun(deadlines, 0.2)
    call.attach(pair[0])
    call.pause()
    time.sleep(0.4)
    assert not call.expired
    call.resume()
    assert 0.1 < waited(pair[0]) < 5
    assert call.expired


def test_a_call_that_is_over_is_left_alone(
    deadlines: Deadlines, pair: tuple[socket.socket, socket.socket]
) -> None:
    call = begun(deadlines, 0.1)
    call.attach(pair[0])
    deadlines.end(call)
    other = begun(deadlines, 0.2)
    other.attach(pair[1])
    assert waited(pair[1]) < 5
    assert not call.expired
    call.abort()
    assert not call.expired


def test_a_socket_that_is_closed_already_is_no_error(deadlines: Deadlines) -> None:
    connection = socket.socket()
    call = begun(deadlines, 10)
    call.attach(connection)
    connection.close()
    call.abort()
    assert call.aborted
    deadlines.end(call)


def test_closing_ends_all_and_begins_none(pair: tuple[socket.socket, socket.socket]) -> None:
    deadlines = Deadlines()
    call = begun(deadlines, 30)
    call.attach(pair[0])
    threading.Timer(0.05, deadlines.close).start()
    assert waited(pair[0]) < 5
    assert call.aborted
    assert not call.expired
    deadlines.close()
    with pytest.raises(RuntimeError, match="client is closed"):
        begun(deadlines, 1)


def test_closing_what_never_began() -> None:
    Deadlines().close()


def test_the_current_call_is_that_of_this_thread(deadlines: Deadlines) -> None:
    outer, inner = deadlines.call(1), deadlines.call(1)
    assert current_call() is None
    with deadlines.working_on(outer):
        with deadlines.working_on(inner):
            assert current_call() is inner
        assert current_call() is outer
        seen: list[Call | None] = []
        thread = threading.Thread(target=lambda: seen.append(current_call()))
        thread.start()
        thread.join()
        assert seen == [None]
    assert current_call() is None
