"""The lines on which the keys of a TOML document stand, which its parser does not tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import tomli

KeyPath = tuple[str, ...]


def lines_of_keys(text: str) -> dict[KeyPath, int]:
    """For each key and table of a valid TOML document, to a depth of two, the line, from 1, where it begins.

    TOML ends a statement at the end of a line unless a string or list is still open. So lines are taken
    together until the parser accepts them as a statement of their own: it finds the end, no second grammar.
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
        is_header = statement.lstrip().startswith("[")
        if is_header:
            table = ()
        for path in _paths(content, table):
            lines.setdefault(path, start)
            if is_header:
                table = path
        statement, start = "", number + 1
    return lines


def _paths(content: Mapping[str, object], table: KeyPath) -> Iterator[KeyPath]:
    for name, value in content.items():
        path = (*table, name)[:2]
        yield path
        if len(path) < 2 and isinstance(value, dict):
            yield from _paths(value, path)
