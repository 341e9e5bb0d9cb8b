"""Whether one answer says the same as another, value for value: for what is alike on both sides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from tests.recordings.recorder import Exchange

_OTHER_EACH_TIME: Final = frozenset(
    {
        "id", "ids", "jobid", "clone_id", "origin_id", "blocked_by_id", "assigned_worker_id", "workerid",
        "sequence", "parents", "children", "t_started", "t_finished", "test_url", "properties", "JOBTOKEN",
        "population", "md5_dirname", "md5_basename",
    }
)  # fmt: skip
_PERL: Final = re.compile(r" at /usr/\S+ line \d+.*", re.S)
_STORABLE: Final = re.compile(r"(Failed receiving asset: ).*", re.S)
"""Texts of Perl itself, which the fakes need not have."""
_DIGITS: Final = re.compile(r"\d+")


def contradictions(real: Exchange, fake: Exchange) -> list[str]:
    """Every value in which the fake's answer differs, ids, times and the like left out, in words."""
    return [
        wrong
        for key in ("json", "message", "text")
        if key in real and key in fake and not str(real.get("text", "")).startswith("<")
        for wrong in _compare(real[key], fake[key], key)
    ]


def _compare(real: Any, fake: Any, where: str) -> Iterator[str]:
    if isinstance(real, dict) and isinstance(fake, dict):
        if all(name.isdigit() for name in real):
            yield from _compare(_by_id(real), _by_id(fake), where)
            return
        for name in sorted((set(real) & set(fake)) - _OTHER_EACH_TIME):
            yield from _compare(real[name], fake[name], f"{where}.{name}")
    elif isinstance(real, list) and isinstance(fake, list):
        if where == "json.jobs" and all(isinstance(job, int) for job in real):
            real, fake = ["id"] * len(real), ["id"] * len(fake)
        if len(real) != len(fake):
            yield f"{where}: {len(fake)} entries instead of {len(real)}"
        for one, other in zip(_by_test(real), _by_test(fake), strict=False):
            yield from _compare(one, other, f"{where}[]")
    elif _plain(real) != _plain(fake):
        yield f"{where}: {fake!r} instead of {real!r}"


def _by_id(jobs: dict[str, Any]) -> list[Any]:
    """The values of an object whose names are ids, in an order that both sides share; without plain ids."""
    return _by_test([value for value in jobs.values() if not isinstance(value, int)])


def _by_test(values: list[Any]) -> list[Any]:
    """Jobs by their test, since those created together get ids in any order; other values as they are."""
    jobs = all(isinstance(value, dict) and "test" in value for value in values)
    return sorted(values, key=lambda job: str(job["test"])) if jobs else values


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return _DIGITS.sub("N", _STORABLE.sub(r"\1", _PERL.sub("", value)).strip())
