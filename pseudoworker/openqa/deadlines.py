"""Time limits that hold against a peer that drips one byte at a time.

A socket's own time-out starts anew with each byte, and the standard library reads a header line or a full buffer in
a loop of its own. So each call has a total limit, kept by one thread for all calls: it shuts the call's socket down,
which wakes whoever is blocked in it. The limit grows with the bytes that really moved.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SLOWEST = 64 * 1024
"""Bytes per second below which a transfer counts as stalled."""

_current = threading.local()


class Call:
    """One request that is running in one thread, as seen by those who may end it from another."""

    def __init__(self, seconds: float, clock_now: float) -> None:
        self.deadline = clock_now + seconds
        self.expired = False
        """The time limit ended it."""
        self.aborted = False
        """It was ended, by the time limit or by `abort`."""
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def attach(self, connection: socket.socket) -> None:
        """Tell which socket the call uses from now on. Raises TimeoutError when the call was ended meanwhile."""
        with self._lock:
            self._socket = connection
            aborted = self.aborted
        if aborted:
            raise TimeoutError("the call was ended")

    def progress(self, amount: int) -> None:
        """`amount` bytes moved: the call may take that much longer."""
        self.deadline += amount / SLOWEST

    def extend(self, seconds: float) -> None:
        """The call may take `seconds` from now on, if that is more than it has left."""
        self.deadline = max(self.deadline, time.monotonic() + seconds)

    def abort(self) -> None:
        """End the call from any thread: its socket is shut down and whoever uses it gets an error."""
        with self._lock:
            self.aborted = True
            connection = self._socket
        if connection is not None:
            try:
                # Not SSLSocket.shutdown, which drops the TLS state under the feet of the thread that reads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                pass  # closed or detached already: nobody waits in it

    def finish(self) -> None:
        """The call is over: its socket is not ours any more."""
        with self._lock:
            self._socket = None


def current_call() -> Call | None:
    """The call that this thread is working on, None outside of one."""
    call: Call | None = getattr(_current, "call", None)
    return call


class Deadlines:
    """Ends calls whose time is over. One thread, started with the first call, asleep while there is none."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._changed = threading.Condition()
        self._wake_at = 0.0
        self._thread: threading.Thread | None = None
        self._closed = False

    def begin(self, seconds: float) -> Call:
        """A call that may take `seconds` from now on; must be given to `end`."""
        call = Call(seconds, time.monotonic())
        with self._changed:
            if self._closed:
                raise RuntimeError("client is closed")
            self._calls.add(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="openqa-deadlines", daemon=True)
                self._thread.start()
            elif call.deadline < self._wake_at:
                self._changed.notify()
        return call

    def end(self, call: Call) -> None:
        """The call is over, by itself or by force."""
        call.finish()
        with self._changed:
            self._calls.discard(call)

    @contextmanager
    def working_on(self, call: Call) -> Iterator[None]:
        """Makes `call` the `current_call` of this thread."""
        _current.call = call
        try:
            yield
        finally:
            _current.call = None

    def close(self) -> None:
        """End all calls and the thread."""
        with self._changed:
            self._closed = True
            calls = tuple(self._calls)
            self._changed.notify()
            thread = self._thread
        for call in calls:
            call.abort()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for call in [call for call in self._calls if call.deadline <= now]:
                    self._calls.discard(call)
                    call.expired = True
                    call.abort()
                self._wake_at = min((call.deadline for call in self._calls), default=float("inf"))
                self._changed.wait(None if not self._calls else max(0.0, self._wake_at - now))
