"""Counters, gauges and histograms with labels: pure data, safe for threads, cheap, bounded in number.

Nothing here knows what is measured (that is metrics.py) or how it is shown (render.py).
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

LARGEST_FAMILY: Final = 500
"""Most label combinations of one family. Further ones are counted under the label value `other`, so that a
value from outside can never make memory grow."""


@dataclass(frozen=True)
class Sample:
    """One label combination of a family at one moment."""

    labels: tuple[tuple[str, str], ...]
    value: float
    """The count, the gauge's value, or the sum of a histogram's observations."""
    buckets: tuple[tuple[float, int], ...] = ()
    """For histograms: (upper bound, number of observations up to it), the last bound being infinity."""

    @property
    def count(self) -> int:
        """How many observations a histogram has."""
        return self.buckets[-1][1] if self.buckets else 0


class Family:
    """All samples of one name. `kind` is `counter`, `gauge` or `histogram` as Prometheus calls them."""

    def __init__(
        self, kind: str, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float] = ()
    ):
        self.kind = kind
        self.name = name
        self.meaning = meaning
        self.label_names = tuple(labels)
        self._bounds = (*sorted(bounds), math.inf) if kind == "histogram" else ()
        self._lock = threading.Lock()
        self._series: dict[tuple[str, ...], list[float]] = {}
        # a family without labels shows its zero from the start, so that rates can be computed
        if not labels:
            self._series[()] = self._new()

    def add(self, amount: float, *labels: str) -> None:
        """Count `amount` more. Raises ValueError for less on a counter or a wrong number of labels."""
        if self.kind == "counter" and amount < 0:
            raise ValueError(f"{self.name}: a counter cannot go down")
        with self._lock:
            self._cells(labels)[0] += amount

    def set(self, value: float, *labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._cells(labels)[0] = value

    def replace(self, values: Iterable[tuple[tuple[str, ...], float]]) -> None:
        """Set a gauge for these label combinations and forget all others."""
        with self._lock:
            self._series.clear()
            for labels, value in values:
                self._cells(labels)[0] = value

    def observe(self, value: float, *labels: str) -> None:
        """Put one value into a histogram; one that is no number is left out."""
        if math.isnan(value):
            return
        with self._lock:
            cells = self._cells(labels)
            cells[0] += value
            cells[1 + bisect_left(self._bounds, value)] += 1

    def samples(self) -> list[Sample]:
        """All label combinations in the order in which they first came."""
        with self._lock:
            series = [(labels, list(cells)) for labels, cells in self._series.items()]
        return [self._sample(labels, cells) for labels, cells in series]

    def _sample(self, labels: tuple[str, ...], cells: Sequence[float]) -> Sample:
        total, buckets = 0, []
        for bound, cell in zip(self._bounds, cells[1:], strict=True):
            total += int(cell)
            buckets.append((bound, total))
        return Sample(tuple(zip(self.label_names, labels, strict=True)), cells[0], tuple(buckets))

    def _cells(self, labels: tuple[str, ...]) -> list[float]:
        cells = self._series.get(labels)
        if cells is None:
            if len(labels) != len(self.label_names):
                raise ValueError(f"{self.name}: labels {labels} given, {self.label_names} wanted")
            if len(self._series) >= LARGEST_FAMILY:
                labels = ("other",) * len(labels)
            cells = self._series.setdefault(labels, self._new())
        return cells

    def _new(self) -> list[float]:
        return [0.0] * (1 + len(self._bounds))
