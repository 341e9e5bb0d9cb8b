"""INI files as openQA reads them: by Perl's Config::IniFiles without options, drop-ins imported on top.

The rules, from Config::IniFiles (`_nextline`, `_ReadConfig_handle_line` and the subroutines it calls) and
OpenQA::Config (`parse_config_files`):

* The first line's end (LF, CR, CRLF, NAK) is the line end of the whole file. A file without any is empty.
* A line that starts with `#` or `;` is a comment; nothing after a value is one. There are no continuation
  lines.
* `[name]` stands alone on its line. A section given twice goes on. Names and keys keep their case.
* A key given again *in the same file* adds a value; a key of a later file replaces the earlier file's.
* `key = <<MARK` takes all lines up to a line `MARK` as they are.
* In a later file `# key is deleted` and `# [section] is deleted` take out what earlier files said.
* A byte order mark is not skipped, so a file with one is malformed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pseudoworker.config.files import read_text
from pseudoworker.config.mistakes import Mistakes, Origin

_BLANK = re.compile(r"\A\s*\Z", re.ASCII)
_COMMENT = re.compile(r"\A\s*[;#]", re.ASCII)
_DELETED = re.compile(r"\A# (.*) is deleted\Z")
_SECTION = re.compile(r"\A\s*\[\s*(\S|\S.*\S)\s*\]\s*\Z", re.ASCII)
_PARAMETER = re.compile(r"^\s*([^=]*?[^=\s])\s*=\s*(.*)$", re.ASCII)
_HERE_DOCUMENT = re.compile(r"\A<<(.*)$")
_LINE_END = re.compile(r"\r\n?|\n|\x15")


@dataclass(frozen=True)
class Entry:
    """What one section says for one key."""

    values: tuple[str, ...]
    """One for each time the key was given in the file and for each line of a here-document; seldom none."""
    origin: Origin
    """The place of the last of them."""


@dataclass(frozen=True)
class Ini:
    """The merged content of a main file and its drop-ins."""

    sections: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)
    """Sections and their keys, each in the order of their first mention."""
    files: tuple[Path, ...] = ()
    """The files that could be read, in order."""


def read_ini(files: Sequence[Path], mistakes: Mistakes) -> Ini:
    """Read `files`, later ones on top of earlier ones; what cannot be read or understood goes to `mistakes`.

    openQA drops a file with an error as a whole and tells of the last one only. Here all are told, and what
    could be understood is kept, so that one mistake does not show as many.
    """
    ini = Ini()
    for path in files:
        text = read_text(path, mistakes)
        if text is not None:
            ini = parse_ini(text, path, ini, mistakes)
    return ini


def parse_ini(text: str, path: Path, imported: Ini, mistakes: Mistakes) -> Ini:
    """Parse one file's text on top of `imported`."""
    parser = _Parser(path, imported, mistakes)
    parser.parse(text)
    return Ini(parser.sections, (*imported.files, path))


def _lines(text: str) -> Iterator[str]:
    first = _LINE_END.search(text)
    if first is None:
        return
    end = first.group()
    lines = text[first.end() :].split(end)
    yield text[: first.start()]
    for number, line in enumerate(lines, 1):
        if number < len(lines):
            # Perl reads up to `end`, then takes one line end of any kind off it: of "x\r" before "\n", both.
            yield line.removesuffix("\r") if end == "\n" else line
        elif line:
            yield re.sub(r"(\r\n?|\n|\x15)\Z", "", line)


class _Parser:
    def __init__(self, path: Path, imported: Ini, mistakes: Mistakes) -> None:
        self.sections: dict[str, dict[str, Entry]] = {
            section: dict(entries) for section, entries in imported.sections.items()
        }
        self._own: set[tuple[str, str]] = set()
        self._path = path
        self._is_drop_in = bool(imported.sections)
        self._mistakes = mistakes
        self._section: str | None = None

    def parse(self, text: str) -> None:
        if text.startswith("\ufeff"):
            self._mistakes.add(
                Origin(str(self._path), 1),
                "begins with a byte order mark",
                "save the file as UTF-8 without one",
            )
        lines = enumerate(_lines(text.removeprefix("\ufeff")), 1)
        for number, line in lines:
            if _BLANK.match(line):
                continue
            if _COMMENT.match(line):
                self._delete(line)
            elif section := _SECTION.match(line):
                self._section = section.group(1)
                self.sections.setdefault(self._section, {})
            elif parameter := _PARAMETER.match(line):
                self._parameter(parameter.group(1), parameter.group(2), number, lines)
            else:
                self._mistakes.add(
                    Origin(str(self._path), number),
                    "neither section nor key with value nor comment",  # not shown: it may be a secret
                    "write [section], key = value or # comment",
                )

    def _parameter(self, key: str, value: str, number: int, lines: Iterator[tuple[int, str]]) -> None:
        origin = Origin(str(self._path), number, f"[{self._section}] {key}")
        values: tuple[str, ...] = (value,)
        if here := _HERE_DOCUMENT.match(value):
            mark, taken = here.group(1), []
            for _, line in lines:
                if line == mark:
                    break
                taken.append(line)
            else:
                self._mistakes.add(
                    origin,
                    "the here-document has no end",
                    "write what stands behind << on a line of its own below",
                )
                return
            values = tuple(taken)
        if self._section is None:
            self._mistakes.add(
                replace(origin, key=key),
                "a key outside of a section",
                "write a line such as [global] above it",
            )
            return
        self._store(self._section, key, values, origin)

    def _store(self, section: str, key: str, values: tuple[str, ...], origin: Origin) -> None:
        entries = self.sections.setdefault(section, {})
        if (section, key) in self._own:
            earlier = entries[key].values
            if not earlier:
                return  # Config::IniFiles' push refuses to add to a value that is undefined
            values = earlier + values
        entries[key] = Entry(values, origin)
        self._own.add((section, key))

    def _delete(self, comment: str) -> None:
        deleted = _DELETED.match(comment) if self._is_drop_in else None
        if deleted is None:
            return
        name = deleted.group(1)
        if section := re.match(r"\A\[(.*)\]\Z", name):
            self.sections.pop(section.group(1), None)
            self._own = {(its, key) for its, key in self._own if its != section.group(1)}
        elif self._section is not None:
            self.sections.get(self._section, {}).pop(name, None)
            self._own.discard((self._section, name))
