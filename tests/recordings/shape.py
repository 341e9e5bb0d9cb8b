"""Whether one answer has the shape of another: status, kinds of values, names of fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from tests.recordings.recorder import Exchange

_OPEN: Final = frozenset({"settings", "properties", "data", "assets"})
"""Objects whose names are data; only the kinds of their values count."""
_NULLABLE: Final = frozenset({"blocked_by_id"})
"""Numbers that are null in jobs that are otherwise alike."""
_NOW_AND_THEN: Final = frozenset({"reason"})
"""Fields that are there or not depending on whether a scheduler looked in between."""
_ID: Final = re.compile(r"^\d+$")


def disagreements(real: Exchange, fake: Exchange) -> list[str]:
    """In what a fake's answer is none that the real instance could have given, in words."""
    found = []
    for key in ("status", "bytes"):
        if key == "status" and real.get(key) != fake.get(key):
            found.append(f"status {fake.get(key)} instead of {real.get(key)}")
        elif key == "bytes" and (key in real) != (key in fake):
            found.append("bytes on one side only")
    found += _headers(real.get("headers", {}), fake.get("headers", {}))
    for key in ("json", "message"):
        if (key in real) != (key in fake):
            found.append(f"{key} on one side only")
        elif key in real:
            found += _values(real[key], fake[key], key)
    return found


def _headers(real: dict[str, str], fake: dict[str, str]) -> Iterator[str]:
    for name in sorted(set(real) | set(fake)):
        one, other = real.get(name), fake.get(name)
        if name == "Content-Type":
            if (one or "").split(";")[0] != (other or "").split(";")[0]:
                yield f"Content-Type {other} instead of {one}"
        elif (one is None) != (other is None):
            yield f"header {name}: {other!r} instead of {one!r}"


def _values(real: Any, fake: Any, where: str) -> Iterator[str]:
    yield from _compare([real], [fake], where)


def _compare(real: list[Any], fake: list[Any], where: str) -> Iterator[str]:
    """All values that stand at one place, over all elements of a list, on each side."""
    if not real:
        return
    known, shown = {_kind(value) for value in real}, {_kind(value) for value in fake}
    if extra := shown - known - ({"null", "number"} if where.rsplit(".", 1)[-1] in _NULLABLE else set()):
        yield f"{where}: {', '.join(sorted(extra))} instead of {', '.join(sorted(known))}"
        return
    objects, shown_objects = (
        [v for v in real if isinstance(v, dict)],
        [v for v in fake if isinstance(v, dict)],
    )
    if objects and shown_objects:
        yield from _objects(objects, shown_objects, where)
    lists, shown_lists = [v for v in real if isinstance(v, list)], [v for v in fake if isinstance(v, list)]
    if lists and shown_lists:
        flat = [entry for value in lists for entry in value]
        yield from _compare(flat, [entry for value in shown_lists for entry in value], f"{where}[]")


def _objects(real: list[dict[str, Any]], fake: list[dict[str, Any]], where: str) -> Iterator[str]:
    names = {name for value in real for name in value}
    if where.rsplit(".", 1)[-1] in _OPEN or (names and all(_ID.match(name) for name in names)):
        values = [entry for value in real for entry in value.values()]
        yield from _compare(values, [entry for value in fake for entry in value.values()], f"{where}.*")
        return
    always = {name for name in names if all(name in value for value in real)}
    for value in fake:
        if missing := always - set(value) - _NOW_AND_THEN:
            yield f"{where}: {', '.join(sorted(missing))} missing"
        if extra := set(value) - names - _NOW_AND_THEN:
            yield f"{where}: {', '.join(sorted(extra))} unknown to the real one"
    for name in sorted(names):
        yield from _compare(
            [value[name] for value in real if name in value],
            [value[name] for value in fake if name in value],
            f"{where}.{name}",
        )


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    kinds: dict[type, str] = {str: "string", list: "list", dict: "object"}
    return kinds[type(value)]
