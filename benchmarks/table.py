"""Figures with their goals, and how they are written down: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pseudoworker import __version__


@dataclass(frozen=True)
class Figure:
    """One measured value. `goal` is the most that it may be, None for what is only told."""

    name: str
    value: float
    unit: str = ""
    goal: float | None = None

    @property
    def missed(self) -> float:
        """How many times the goal was exceeded; 1 and less is good, 0 where there is no goal."""
        return 0.0 if self.goal is None else self.value / self.goal

    def text(self) -> str:
        """The value as a person reads it."""
        return f"{shown(self.value)} {self.unit}".strip()


@dataclass
class Part:
    """What one measurement brought."""

    name: str
    about: str
    """What was measured and how, for the table."""
    figures: list[Figure] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What went wrong in it, so that its figures are worth nothing."""
    load: float = 0.0
    """Load average of the machine when it ended: what else ran spoils figures."""

    def add(self, name: str, value: float, unit: str = "", goal: float | None = None) -> None:
        """One more figure."""
        self.figures.append(Figure(name, value, unit, goal))

    def __getitem__(self, name: str) -> float:
        """The value of a figure; raises KeyError."""
        for figure in self.figures:
            if figure.name == name:
                return figure.value
        raise KeyError(name)


def machine() -> dict[str, Any]:
    """Where this was measured."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "pseudoworker": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
    }


def write_json(path: Path, parts: Sequence[Part]) -> None:
    """All of it; parts that were not measured now are kept as they stand in the file."""
    kept = {part.name: part for part in read_json(path)} if path.exists() else {}
    kept.update({part.name: part for part in parts})
    document = {"machine": machine(), "parts": [asdict(part) for part in kept.values()]}
    path.write_text(json.dumps(document, indent=1) + "\n")


def read_json(path: Path) -> list[Part]:
    """The parts that a file holds."""
    document = json.loads(path.read_text())
    return [
        Part(**{**part, "figures": [Figure(**figure) for figure in part["figures"]]})
        for part in document["parts"]
    ]


def markdown(parts: Sequence[Part]) -> str:
    """One table for each part."""
    lines: list[str] = []
    for part in parts:
        lines += [f"### {part.name}", "", part.about, "", "| figure | value | goal |", "| --- | --- | --- |"]
        for figure in part.figures:
            goal = "" if figure.goal is None else f"≤ {shown(figure.goal)} {figure.unit}".strip()
            mark = " **missed**" if figure.missed > 1 else ""
            lines.append(f"| {figure.name} | {figure.text()}{mark} | {goal} |")
        lines += [f"| load average of the machine at the end | {part.load:.1f} | |", ""]
        lines += [f"- went wrong: {problem}" for problem in part.problems[:5]]
    return "\n".join(lines)


def shown(value: float) -> str:
    """Three digits that matter, no more."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
