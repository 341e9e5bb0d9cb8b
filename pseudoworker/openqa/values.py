"""Values as Perl's JSON writes them: a number may be a string, a flag 1 or "0", a setting a number or
null.
"""

from __future__ import annotations

from collections.abc import Mapping

from pseudoworker.openqa.json import Json

_LARGEST = 2**63 - 1  # ids are bigint in openQA's database


def integer(value: Json) -> int | None:
    """The integer that `value` is or spells, within 64 bits; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        digits = value.removeprefix("-")
        if len(digits) > 19 or not (digits.isascii() and digits.isdigit()):
            return None
        value = int(value)
    elif isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    if not isinstance(value, int) or not -_LARGEST <= value <= _LARGEST:
        return None
    return value


def positive_int(value: Json) -> int | None:
    """The id that `value` is or spells (1 or more), None for anything else."""
    number = integer(value)
    return number if number is not None and number > 0 else None


def text(value: Json) -> str | None:
    """A scalar as text (null and flags as Perl would print them), None for lists and objects."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    return None


def flag(value: Json) -> bool:
    """Whether Perl would take `value` for true."""
    return value not in (None, False, 0, "", "0")


def flat_settings(value: Json) -> Mapping[str, str] | None:
    """Job settings with every value as text; None when they are no object or hold lists or objects."""
    if not isinstance(value, dict):
        return None
    settings: dict[str, str] = {}
    for key, item in value.items():
        plain = item if isinstance(item, str) else text(item)
        if plain is None:
            return None
        settings[key] = plain
    return settings
