"""The configuration itself: which files, every mistake, and where each value came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pseudoworker.bridge.checks.lines import Line, error, ok
from pseudoworker.config.mistakes import DEFAULT, Mistake
from pseudoworker.config.model import Configuration
from pseudoworker.observe.folding import ranges

TOPIC = "configuration"
ORIGIN = "value"


def check_files(configuration: Configuration, mistakes: Iterable[Mistake]) -> list[Line]:
    """The files, all mistakes, and the origin of each value that is not a default."""
    lines = [error(TOPIC, _place(mistake), mistake.remedy) for mistake in mistakes]
    if not lines:
        files = ", ".join(map(str, configuration.files))
        lines = [ok(TOPIC, f"{files} hold no mistake")]
    return [*lines, *(ok(ORIGIN, text) for text in _origins(configuration))]


def _place(mistake: Mistake) -> str:
    return str(mistake).removesuffix(f"; {mistake.remedy}")


def _origins(configuration: Configuration) -> Iterator[str]:
    slots: dict[str, set[int]] = {}
    for name, origin in configuration.origins.items():
        if origin == str(DEFAULT):
            continue
        if match := re.fullmatch(r"slots\.(\d+)\.worker_class", name):
            slots.setdefault(origin, set()).add(int(match[1]))
        else:
            yield f"{name} is set in {origin}"
    # five hundred slots with one origin are one line
    for origin, instances in slots.items():
        classes = {slot.worker_class for slot in configuration.slots if slot.instance in instances}
        named = " and ".join(",".join(its) for its in sorted(classes))
        yield f"the class of slots {ranges(instances)} is set in {origin}: {named}"
