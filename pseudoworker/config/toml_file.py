"""pseudoworker.toml: what is ours alone, read into the tables of `TomlFile`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tomli

from pseudoworker.config.files import read_text
from pseudoworker.config.mistakes import DEFAULT, Mistakes, Origin
from pseudoworker.config.model import AssetPolicy, DeveloperMode, Limits, Observe
from pseudoworker.config.schema import Absolute, Choice, Unfit, check, keys_of
from pseudoworker.config.toml_lines import lines_of_keys

ON_STOP = ("detach", "abort")


@dataclass(frozen=True)
class ProcessTable:
    """Keys before the first table."""

    instances: str = "1"
    """Instances this process stands for: a number, a range, a list of both (`1-4,7`), or `auto`."""
    host: str = ""
    """Name the slots register under; empty means this host's name, as for the stock worker."""
    state_dir: Annotated[Path | None, Absolute()] = None
    """Directory of the journal, if `$STATE_DIRECTORY` is not set; None means `pseudoworker` in openQA's base
    directory."""
    on_stop: Annotated[str, Choice(ON_STOP)] = "detach"
    """What SIGTERM does to running jobs: `detach` leaves them to be resumed, `abort` ends them as the stock
    worker does."""


@dataclass(frozen=True)
class MasterTable:
    """The table `[master]`; the master's URL is HOST in workers.ini."""

    ca_file: Annotated[Path | None, Absolute()] = None
    """Certificate authority (PEM) to trust for https; None means the system's."""


@dataclass(frozen=True)
class SlaveTable:
    """The table `[slave]`."""

    url: str = ""
    """The slave's URL; it must be given here or by `--slave`."""
    location: str = ""
    """The name between the colons: `:location:class` on the master is `class` on the slave."""
    group: str = ""
    """Job group on the slave for relayed jobs, its id or its name; empty means none."""
    ca_file: Annotated[Path | None, Absolute()] = None
    """Certificate authority (PEM) to trust for https; None means the system's."""


@dataclass(frozen=True)
class TomlFile:
    """The merged content of pseudoworker.toml and its drop-ins."""

    process: ProcessTable = ProcessTable()
    master: MasterTable = MasterTable()
    slave: SlaveTable = SlaveTable()
    classes: Mapping[str, str] = field(default_factory=dict)
    """The table `[classes]`: class of the master to class of the slave."""
    limits: Limits = field(default_factory=Limits)
    assets: AssetPolicy = field(default_factory=AssetPolicy)
    developer: DeveloperMode = field(default_factory=DeveloperMode)
    observe: Observe = field(default_factory=Observe)
    origins: Mapping[tuple[str, str], Origin] = field(default_factory=dict)
    """Where each key was written last, by table and key, as in `TABLES`."""
    is_complete: bool = False
    """Whether there was a file and all could be parsed; else the absence of a key says nothing."""

    @property
    def has_pairs(self) -> bool:
        """Whether `[classes]` holds anything, right or wrong."""
        return any(table == "classes" for table, _ in self.origins)

    def origin(self, table: str, key: str) -> Origin:
        """Where a key was written, `DEFAULT` when nowhere."""
        return self.origins.get((table, key), DEFAULT)


TABLES: Mapping[str, type[Any]] = {
    "": ProcessTable,
    "master": MasterTable,
    "slave": SlaveTable,
    "limits": Limits,
    "assets": AssetPolicy,
    "developer": DeveloperMode,
    "observe": Observe,
}
"""The tables with fixed keys, by name; that of the keys before the first table is empty."""

_NAMED = ("classes", *filter(None, TABLES))


def read_toml(files: Sequence[Path], mistakes: Mistakes) -> TomlFile:
    """Read `files`, keys of later ones replacing those of earlier ones; whatever is wrong goes to
    `mistakes`."""
    values: dict[tuple[str, str], object] = {}
    origins: dict[tuple[str, str], Origin] = {}
    parsed = [_read_file(path, values, origins, mistakes) for path in files]
    tables: dict[str, Any] = {
        name or "process": _table(table, name, values, origins, mistakes) for name, table in TABLES.items()
    }
    return TomlFile(
        **tables,
        classes=_classes(values, origins, mistakes),
        origins=origins,
        is_complete=bool(parsed) and all(parsed),
    )


def _read_file(
    path: Path,
    values: dict[tuple[str, str], object],
    origins: dict[tuple[str, str], Origin],
    mistakes: Mistakes,
) -> bool:
    text = read_text(path, mistakes)
    if text is None:
        return False
    text = text.replace("\r\n", "\n")
    try:
        content = tomli.loads(text)
    except (ValueError, RecursionError) as error:
        mistakes.add(
            _syntax_origin(str(error), text, path),
            f"no valid TOML: {error}",
            "see https://toml.io for the syntax",
        )
        return False
    lines = lines_of_keys(text)
    for name, value in content.items():
        origin = Origin(str(path), lines[name,], f"[{name}]")
        if name in _NAMED:
            if not isinstance(value, dict):
                mistakes.add(origin, f"{name} is a table", f"write [{name}] on a line of its own")
                continue
            for key, inner in value.items():
                values[name, key] = inner
                origins[name, key] = Origin(str(path), lines[name, key], f"[{name}] {key}")
        elif isinstance(value, dict) and not _is_process_key(name):
            mistakes.add(origin, "unknown table", _suggestion(name, _NAMED, "[{}]"))
        else:
            values["", name] = value
            origins["", name] = replace(origin, key=name)
    return True


def _table(
    table: type[Any],
    name: str,
    values: Mapping[tuple[str, str], object],
    origins: Mapping[tuple[str, str], Origin],
    mistakes: Mistakes,
) -> Any:
    keys = {key.name: key for key in keys_of(table)}
    fitted: dict[str, Any] = {}
    for path, value in values.items():
        if path[0] != name:
            continue
        key = keys.get(path[1])
        if key is None:
            mistakes.add(origins[path], "unknown key", _place(path[1]) or _suggestion(path[1], keys, "{}"))
            continue
        try:
            fitted[key.name] = check(key, value)
        except Unfit as unfit:
            mistakes.add(origins[path], unfit.what, unfit.remedy)
    return table(**fitted)


def _classes(
    values: Mapping[tuple[str, str], object], origins: Mapping[tuple[str, str], Origin], mistakes: Mistakes
) -> dict[str, str]:
    pairs = {}
    for path, value in values.items():
        if path[0] != "classes":
            continue
        if isinstance(value, str) and is_class(value) and is_class(path[1]):
            pairs[path[1]] = value
        else:
            mistakes.add(
                origins[path],
                "no pair of worker classes",
                'write "class of the master" = "class of the slave", each without space or comma',
            )
    return pairs


def is_class(text: str) -> bool:
    """Whether `text` can be one worker class."""
    return bool(text) and "," not in text and all(c.isprintable() and not c.isspace() for c in text)


def _is_process_key(name: str) -> bool:
    return any(key.name == name for key in keys_of(ProcessTable))


def _place(name: str) -> str:
    for table, fields_of_it in TABLES.items():
        if any(key.name == name for key in keys_of(fields_of_it)):
            return f"it belongs into [{table}]" if table else "it belongs above the first table"
    return ""


def _syntax_origin(message: str, text: str, path: Path) -> Origin:
    place = re.search(r"at line ([0-9]+)", message)
    return Origin(str(path), int(place[1]) if place else text.count("\n") + 1)


def _suggestion(name: str, known: Iterable[str], form: str) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {form.format(near[0])}?"
    return "known are " + ", ".join(form.format(one) for one in known)
