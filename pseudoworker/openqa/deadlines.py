"""Time limits that hold against a peer that drips one byte at a time.

A socket's own time-out starts anew with each byte, and the standard library reads a header line or a full
buffer in a loop of its own. So each call has a limit kept by one thread for all calls: it shuts the call's
socket down, which wakes whoever is blocked in it. The limit moves on with the bytes that really moved.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SLOWEST = 32 * 1024
"""Bytes per second; a transfer that stays below it for a call's time-out counts as stalled."""

_current = threading.local()


class Call:
    """One request that runs in one thread, as seen by those who may end it from another.

    Made by `Deadlines.call`; its time runs from `Deadlines.begin` on. It is over when `timeout` seconds have
    passed without `SLOWEST` bytes moving for each of them; time in which it is `paused` does not count.
    """

    def __init__(self, deadlines: Deadlines, timeout: float) -> None:
        self.timeout = timeout
        self.deadline = float("inf")
        self.expired = False
        """The time limit ended it."""
        self.aborted = False
        """It was ended, by the time limit or by `abort`."""
        self._deadlines = deadlines
        self._left = timeout
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def attach(self, connection: socket.socket) -> None:
        """The call uses this socket from now on. Raises TimeoutError when the call was ended meanwhile."""
        with self._lock:
            self._socket = connection
        self.check()

    def check(self) -> None:
        """Raise TimeoutError when the call was ended: what came last may look like an end of its own."""
        if self.aborted:
            raise TimeoutError("the call was ended")

    def detach(self) -> None:
        """The socket is not the call's any more."""
        with self._lock:
            self._socket = None

    def progress(self, amount: int) -> None:
        """`amount` bytes moved: the call may take as much longer, but never more than `timeout` from now."""
        now = time.monotonic()
        self._deadlines.move(self, min(self.deadline + amount / SLOWEST, now + self.timeout))

    def restart(self) -> None:
        """A new wait begins: it may take the whole time-out."""
        self._deadlines.move(self, time.monotonic() + self.timeout)

    def pause(self) -> None:
        """Nobody waits for the peer now."""
        self._left = self.deadline - time.monotonic()
        self._deadlines.move(self, float("inf"))

    def resume(self) -> None:
        """Somebody waits for the peer again."""
        self._deadlines.move(self, time.monotonic() + self._left)

    def abort(self) -> None:
        """End the call, from any thread: its socket is shut down, and whoever uses it gets an error."""
        with self._lock:
            self.aborted = True
            if self._socket is not None:
                try:
                    # Not SSLSocket.shutdown, which drops the TLS state under the feet of the thread that
                    # reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:
                    pass  # closed or not connected: nobody waits in it


def current_call() -> Call | None:
    """The call that this thread works on, None outside of one."""
    call: Call | None = getattr(_current, "call", None)
    return call


class Deadlines:
    """Ends calls whose time is over. One thread, started with the first call, asleep while there is none."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._lock = threading.Lock()
        """Of `_changed`; each request takes it some times, and by way of the condition that takes longer."""
        self._changed = threading.Condition(self._lock)
        self._wake_at = float("inf")
        self._thread: threading.Thread | None = None
        self._closed = False

    def call(self, timeout: float) -> Call:
        """A call that has not begun."""
        return Call(self, timeout)

    def begin(self, call: Call) -> None:
        """The call's time runs from now on, until `end`. Raises RuntimeError after `close`."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            call.deadline = time.monotonic() + call.timeout
            self._calls.add(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="openqa-deadlines", daemon=True)
                self._thread.start()
            self._wake_for(call)

    def end(self, call: Call) -> None:
        """The call is over, by itself or by force."""
        call.detach()
        with self._lock:
            self._calls.discard(call)

    def move(self, call: Call, deadline: float) -> None:
        """Give the call another deadline (`time.monotonic`)."""
        with self._lock:
            call.deadline = deadline
            self._wake_for(call)

    @contextmanager
    def working_on(self, call: Call) -> Iterator[None]:
        """Make `call` the `current_call` of this thread for a while."""
        before = current_call()
        _current.call = call
        try:
            yield
        finally:
            _current.call = before

    def close(self) -> None:
        """End all calls and the thread; no call begins after that."""
        with self._changed:
            self._closed = True
            calls = tuple(self._calls)
            self._changed.notify()
            thread = self._thread
        for call in calls:
            call.abort()
        if thread is not None:
            thread.join()

    def _wake_for(self, call: Call) -> None:
        if call.deadline < self._wake_at:
            self._wake_at = call.deadline
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for call in [call for call in self._calls if call.deadline <= now]:
                    self._calls.discard(call)
                    call.expired = True
                    call.abort()
                self._wake_at = min((call.deadline for call in self._calls), default=float("inf"))
                left = self._wake_at - now
                self._changed.wait(left if left < threading.TIMEOUT_MAX else None)
