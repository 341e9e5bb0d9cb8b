"""Folds repeated failures: a failure is told once, its repetitions as one line a minute."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

_WINDOW = 60.0
"""Seconds for which a repetition is held back."""

_REMEMBERED = 256
"""Different failures that are watched at a time; the oldest is told and forgotten when there are more."""

_Key = tuple[str, int, str]


@dataclass
class _Repeated:
    began: float
    count: int = 0
    slots: set[int] = field(default_factory=set)


class Folding(logging.Handler):
    """Passes records on to `target`; of warnings and errors with one text only the first of each minute.

    The text is compared without slot and job ids: 500 slots that miss the same master are one line. How
    often and in which slots it came again is told when the minute is over, with the next record or by
    `flush`.
    """

    def __init__(
        self, target: logging.Handler, window: float = _WINDOW, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._target = target
        self._window = window
        self._clock = clock
        self._seen: OrderedDict[_Key, _Repeated] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record; called by logging with the handler's lock held."""
        now = self._clock()
        self._tell_older_than(now - self._window)
        if record.levelno < logging.WARNING:
            self._target.handle(record)
            return
        key = (record.name, record.levelno, record.getMessage())
        repeated = self._seen.get(key)
        if repeated is None:
            self._seen[key] = _Repeated(now)
            if len(self._seen) > _REMEMBERED:
                self._tell(*self._seen.popitem(last=False))
            self._target.handle(record)
            return
        repeated.count += 1
        slot = getattr(record, "slot", None)
        if isinstance(slot, int):
            repeated.slots.add(slot)

    def flush(self) -> None:
        """Tell all repetitions that were held back."""
        self.acquire()
        try:
            self._tell_older_than(float("inf"))
        finally:
            self.release()
        self._target.flush()

    def _tell_older_than(self, limit: float) -> None:
        while self._seen:
            key, repeated = next(iter(self._seen.items()))
            if repeated.began > limit:
                return
            del self._seen[key]
            self._tell(key, repeated)

    def _tell(self, key: _Key, repeated: _Repeated) -> None:
        if not repeated.count:
            return
        name, level, text = key
        slots = f", slots {ranges(repeated.slots)}" if repeated.slots else ""
        times = "once more" if repeated.count == 1 else f"{repeated.count} times more"
        summary = logging.LogRecord(name, level, "", 0, f"{text} ({times}{slots})", None, None)
        self._target.handle(summary)


def ranges(numbers: set[int]) -> str:
    """`{1, 2, 3, 7}` as `1-3,7`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
