"""Keeps secrets out of whatever is written: known values and the settings that carry them."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable

_SHORTEST = 4
"""A shorter secret would blot out ordinary words, and is no secret."""

# As openQA redacts settings (OpenQA::Log, redact_settings), and the token that lets a job speak for itself.
_SETTING = re.compile(
    r"""(?P<name>\b(?:JOBTOKEN|_SECRET_\w+|\w*_PASSWORD\w*|X-API-(?:Key|Hash))["']?\s*(?:=>|[=:])\s*)"""
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s,;&"'}]+)""",
    re.IGNORECASE,
)

REDACTED = "[redacted]"


class Secrets:
    """The secrets known to this process. Any thread may use it."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._known: Counter[str] = Counter()
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        """Never show this value from now on. Added twice, it must be dropped twice."""
        if len(value) >= _SHORTEST:
            with self._lock:
                self._known[value] += 1

    def drop(self, value: str) -> None:
        """The value is needed no more, as a token whose job is done."""
        with self._lock:
            self._known[value] -= 1
            if self._known[value] <= 0:
                del self._known[value]

    def hide(self, text: str) -> str:
        """The text with every known secret and every setting that must be secret replaced by `[redacted]`."""
        with self._lock:
            known = sorted(self._known, key=len, reverse=True)
        for value in known:
            if value in text:
                text = text.replace(value, REDACTED)
        return _SETTING.sub(_redact, text)


def _redact(match: re.Match[str]) -> str:
    return match["name"] + REDACTED
