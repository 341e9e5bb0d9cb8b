"""Which worker instances one process stands for: `3`, `1-16`, `1-4,7` or `auto`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pseudoworker.config.schema import Unfit

MOST_INSTANCES = 5000
"""Slots of one process at most."""

_LARGEST = 1_000_000
"""The largest number of an instance; the worker table's column is an integer of four bytes."""

_PART = re.compile(r"([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?")


def parse_instances(text: str) -> tuple[int, ...] | None:
    """The instances that `text` names, ascending and each once; None for `auto`. Raises Unfit.

    The syntax is that of section names in workers.ini (OpenQA::Worker::Settings, `_is_section_relevant`).
    """
    if text.strip() == "auto":
        return None
    instances: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise Unfit(
                f"{text!r} names no instances",
                "give a number, a range, a list of both, such as 1-4,7, or auto",
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= _LARGEST:
            raise Unfit(
                f"{part.strip()!r} is no range of instances",
                f"give numbers from 1 to {_LARGEST}, the lower first",
            )
        if last - first >= MOST_INSTANCES:
            raise Unfit(
                f"{text!r} is too many instances", f"give {MOST_INSTANCES} at most; start more processes"
            )
        instances.update(range(first, last + 1))
    if len(instances) > MOST_INSTANCES:
        raise Unfit(f"{text!r} is too many instances", f"give {MOST_INSTANCES} at most; start more processes")
    return tuple(sorted(instances))


def format_instances(instances: Sequence[int]) -> str:
    """The short form of ascending instances, `1-4,7`: what `parse_instances` reads."""
    ranges: list[list[int]] = []
    for instance in instances:
        if ranges and instance == ranges[-1][1] + 1:
            ranges[-1][1] = instance
        else:
            ranges.append([instance, instance])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
