"""Which values a configuration key takes: read off the annotations of the dataclasses in `model`.

A field of type `bool`, `int`, `float`, `str`, `Path` or `tuple[str, ...]` (each optional with `| None`) is a
key; its bounds stand beside its type: `Annotated[float, Range("s", 0.1, 60)]`. The documentation is checked
against the same.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pseudoworker.errors import PseudoworkerError


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both included."""

    unit: str
    """`s`, `bytes`, `1/s` or empty for a count."""
    least: float
    most: float


@dataclass(frozen=True)
class Choice:
    """The words that a string may be."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Absolute:
    """A path that must be absolute, since a service has no directory to start from."""


@dataclass(frozen=True)
class Address:
    """A `host:port` to listen on, or nothing."""

    loopback: bool = False
    """Whether it must be one that only this machine reaches, since what is served there asks for no login."""


Rule = Range | Choice | Absolute | Address


@dataclass(frozen=True)
class Key:
    """One key of a table."""

    name: str
    type: type
    """The plain type: bool, int, float, str, Path or tuple."""
    default: object
    rule: Rule | None


class Unfit(PseudoworkerError):
    """A value does not fit its key: `what` is wrong and how to put it right (`remedy`)."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def keys_of(table: type) -> tuple[Key, ...]:
    """The keys that the dataclass `table` stands for, in order; each field has a default."""
    keys = []
    hints = get_type_hints(table, include_extras=True)
    for field in fields(table):
        hint, rule = hints[field.name], None
        if get_origin(hint) is Annotated:
            hint, rule = get_args(hint)
        keys.append(Key(field.name, _plain(hint), field.default, rule))
    return tuple(keys)


def check(key: Key, value: object) -> object:
    """`value` as the key's type, or raise Unfit. `value` is what a TOML parser gives."""
    fitted = _of_type(key.type, value)
    match key.rule:
        case Range(unit, least, most) if isinstance(fitted, int | float) and not least <= fitted <= most:
            bounds = f"{_number(least)} to {_number(most)}" + (f" {unit}" if unit else "")
            raise Unfit(f"{fitted} is out of range", f"give a number from {bounds}")
        case Choice(words) if fitted not in words:
            raise Unfit(f"{fitted!r} is not known", f"give one of {', '.join(words)}")
        case Absolute() if isinstance(fitted, Path) and not fitted.is_absolute():
            raise Unfit(f"{str(fitted)!r} is a relative path", "give an absolute one, beginning with /")
        case Address(loopback) if fitted:
            host, _ = split_address(str(fitted))
            if loopback and not _is_loopback(host):
                raise Unfit(
                    f"{fitted!r} can be reached from other machines",
                    "use 127.0.0.1, and a tunnel or a reverse proxy with a login before it",
                )
    return fitted


def parse(key: Key, text: str) -> object:
    """The text of an INI file or the environment as the key's type, checked, or raise Unfit."""
    text = text.strip()
    if not text and key.type in (str, Path):
        return key.default
    if key.type is bool:
        if text not in ("0", "1", ""):
            raise Unfit(f"{text!r} is neither 0 nor 1", "write 0 or 1")
        return text == "1"
    if key.type in (int, float):
        if not _NUMBERS[key.type].fullmatch(text):
            raise Unfit(f"{text[:60]!r} is no number", f"give {_WANTED[key.type]}")
        return check(key, key.type(text))
    return check(key, text)


def split_address(text: str) -> tuple[str, int]:
    """`host:port`, the host of an IPv6 address in brackets, as both; Unfit when it is none."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise Unfit(f"{text!r} is no address", "write host:port, an IPv6 address in brackets")
    return match[1].removeprefix("[").removesuffix("]"), int(match[2])


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")

_LARGEST = 10**18

_NUMBERS: dict[type, re.Pattern[str]] = {
    int: re.compile(r"-?[0-9]{1,18}"),
    float: re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?"),
}

_WANTED: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    Path: "a path in quotes",
    tuple: "a list of texts in quotes",
}


def _plain(hint: Any) -> type:
    if get_origin(hint) is UnionType:
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    plain: type = get_origin(hint) or hint
    return plain


def _of_type(wanted: type, value: object) -> object:
    unfit = Unfit(f"{_kind(value)} is given", f"give {_WANTED[wanted]}")
    if isinstance(value, bool):
        if wanted is not bool:
            raise unfit
        return value
    if wanted is float and isinstance(value, int | float) and abs(value) <= _LARGEST:
        return float(value)
    if wanted is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise unfit
        return tuple(_printable(item) for item in value)
    if isinstance(value, str) and wanted in (str, Path):
        if wanted is Path and not value:
            raise Unfit("the path is empty", "give a path or leave the key out")
        return Path(_printable(value)) if wanted is Path else _printable(value)
    if wanted is int and isinstance(value, int) and abs(value) <= _LARGEST:
        return value
    raise unfit


def _printable(text: str) -> str:
    if unprintable := next((character for character in text if not character.isprintable()), None):
        raise Unfit(f"the text contains {unprintable!r}", "take this character out")
    return text


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return f"the number {value}" if abs(value) <= _LARGEST else "a number beyond all bounds"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else str(value)
