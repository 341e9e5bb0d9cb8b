"""What can go wrong between us and an openQA instance.

* `OpenQAError`: everything below; says which request met what, and what to do where that is known.
    * `Unreachable`: no (whole) answer: DNS, refused, reset, TLS, time-out, a body that ended early. Worth a
      retry.
        * `ConnectionLost`: an open websocket ended.
    * `Busy`: the instance or its proxy has no time for us now (408, 425, 429, 502, 503, 504, 598). Worth a
      retry.
    * `ServerFailed`: another 5xx, or openQA's own 490 (a status post named a module that it does not know
      yet).
    * `Refused`: another 4xx, or a redirect that cannot be followed. Final: the same request meets the same
      answer.
        * `Unauthorized`: 401 or 403.
            * `ClockSkew`: the clocks of both sides differ too much. Worth a retry once they agree.
        * `NotFound`: 404.
    * `Garbage`: an answer that makes no sense: HTML for JSON, wrong types, too large, nested too deep, a
      redirect loop.
* `UnsafeName`: a file name from outside that must not be passed on.
"""

from __future__ import annotations

from pseudoworker.errors import PseudoworkerError


class OpenQAError(PseudoworkerError):
    """A request to an openQA instance did not bring what it should.

    `str()` of it is one line for a log: method, URL (without secrets), status, what was said, what to do.
    """

    def __init__(
        self, text: str, *, method: str = "", url: str = "", status: int | None = None, advice: str = ""
    ) -> None:
        self.text = text
        """What happened or what the server said, one line, shortened."""
        self.method = method
        self.url = url
        """The URL as far as it may be shown; empty where none is known."""
        self.status = status
        """HTTP status, None when there was no answer."""
        self.advice = advice
        """What the administrator can do; empty where nothing is known."""
        super().__init__(text)

    def __str__(self) -> str:
        request = f"{self.method} {self.url}".strip()
        said = f"{self.status} {self.text}" if self.status is not None else self.text
        line = f"{request}: {said}" if request else said
        return f"{line}; {self.advice}" if self.advice else line


class Unreachable(OpenQAError):
    """No whole answer: DNS, refused, reset, TLS, time-out, or a body that ended early."""


class ConnectionLost(Unreachable):
    """An open websocket ended.

    `code` is the close code of RFC 6455 (1006 when there was no close frame), `reason` what came with it.
    openQA closes with 1008 when another connection took our place, or when it thinks the worker dead
    (OpenQA::WebSockets::Model::Status add_worker_connection, OpenQA::WebSockets::Controller::Worker).
    """

    def __init__(self, code: int, reason: str, *, url: str = "", advice: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"websocket closed with {code}: {reason or 'no reason'}", url=url, advice=advice)


class Busy(OpenQAError):
    """The instance, or the proxy before it, has no time for us now: 408, 425, 429, 502, 503, 504 or 598; or
    400, when another request did the same in the same moment."""

    def __init__(
        self,
        text: str,
        *,
        method: str = "",
        url: str = "",
        status: int | None = None,
        advice: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.retry_after = retry_after
        """Seconds that the answer's `Retry-After` asks us to wait, None when it does not."""
        super().__init__(text, method=method, url=url, status=status, advice=advice)


class ServerFailed(OpenQAError):
    """A 5xx that is no sign of load, or openQA's 490 (OpenQA::Schema::Result::Jobs update_status:
    unknown module).
    """


class Refused(OpenQAError):
    """A final no: another 4xx, or a redirect that must not be followed."""


class Unauthorized(Refused):
    """401 or 403: key and secret are missing, wrong, expired or lack rights
    (OpenQA::Shared::Controller::Auth).
    """


class ClockSkew(Unauthorized):
    """403 `timestamp mismatch`: our clock and the server's differ by more than its tolerance (300 s by
    default).
    """

    def __init__(
        self,
        text: str,
        *,
        method: str = "",
        url: str = "",
        status: int | None = None,
        advice: str = "",
        skew: float | None = None,
    ) -> None:
        self.skew = skew
        """Seconds, the server's clock minus ours, by the answer's `Date`; None when it had none."""
        super().__init__(text, method=method, url=url, status=status, advice=advice)


class NotFound(Refused):
    """404: no such job, worker, file or route."""


class Garbage(OpenQAError):
    """An answer that makes no sense: wrong types, HTML for JSON, too large, nested too deep, a redirect
    loop.
    """


class UnsafeName(PseudoworkerError):
    """A file name from outside that could leave its directory or confuse whoever handles it."""
