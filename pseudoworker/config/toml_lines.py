"""The lines on which the keys of a TOML document stand, which its parser does not tell."""

from __future__ import annotations

from collections.abc import Mapping

import tomli

KeyPath = tuple[str, ...]


def lines_of_keys(text: str) -> dict[KeyPath, int]:
    """For each key and table header of a valid TOML document the line, from 1, on which it is written.

    TOML ends a statement at the end of a line unless a string or list is still open. So lines are taken
    together until the parser accepts them as a statement of their own: it, not a second grammar, says where
    one ends.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement = ""
    start = 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            content = tomli.loads(statement)
        except tomli.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            table = _header(content)
            lines.setdefault(table, start)
        else:
            _note(content, table, start, lines)
        statement, start = "", number + 1
    return lines


def _header(content: Mapping[str, object]) -> KeyPath:
    path: KeyPath = ()
    inner: object = content
    while isinstance(inner, dict) and inner:
        ((name, inner),) = inner.items()
        path = (*path, name)
    return path


def _note(content: Mapping[str, object], table: KeyPath, line: int, lines: dict[KeyPath, int]) -> None:
    for name, value in content.items():
        lines[(*table, name)] = line
        if isinstance(value, dict):
            _note(value, (*table, name), line, lines)
