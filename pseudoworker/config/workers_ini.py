"""The settings of a worker instance, computed from workers.ini as the stock worker computes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pseudoworker.config.ini import Ini
from pseudoworker.config.mistakes import Mistakes, Origin

_SPACE = " \t\n\r\f\v"
_RANGE = re.compile(r"([0-9]{1,99}) *(?:- *([0-9]{1,99}))?")


@dataclass(frozen=True)
class Setting:
    """One setting of an instance."""

    value: str
    origin: Origin
    is_cut: bool = False
    """Whether more was written than counts: of a key given twice in a section, or of a here-document, openQA
    takes the first value or line and drops the rest in silence."""

    def check(self, mistakes: Mistakes) -> None:
        """Note a mistake where something would be dropped."""
        if self.is_cut:
            mistakes.add(
                self.origin,
                "given more than once in its section; openQA takes the first",
                "give it once, its values separated as the key wants them",
            )


Settings = Mapping[str, Setting]


def settings_of(ini: Ini, instance: int | None) -> dict[str, Setting]:
    """The settings of one instance, keys in upper case; with None those of `[global]` alone.

    As OpenQA::Worker::Settings (`new`): `[global]`, then each section whose name is the number or a list of
    numbers and ranges that holds it, in the order of the file, later ones winning; then `[class:NAME]` for
    each class of WORKER_CLASS, which only fills what is still missing. `KEY+ = value` appends to the value so
    far, after a comma.
    """
    settings: dict[str, Setting] = {}
    _read_section(ini, "global", settings)
    if instance is not None:
        for section in ini.sections:
            if _concerns(section, instance):
                _read_section(ini, section, settings)
    if worker_class := settings.get("WORKER_CLASS"):
        for name in worker_class.value.split(","):
            _read_section(ini, f"class:{name}", settings, keep=True)
    return settings


def settings_for_host(ini: Ini, host: str) -> dict[str, Setting]:
    """The settings of the section named like the web UI host, as written in HOST."""
    settings: dict[str, Setting] = {}
    _read_section(ini, host, settings)
    return settings


def _concerns(section: str, instance: int) -> bool:
    if section == str(instance):
        return True
    return any(
        int(match[1]) <= instance <= int(match[2] or match[1])
        for part in re.split(" *, *", section)
        if (match := _RANGE.fullmatch(part))
    )


def _read_section(ini: Ini, section: str, settings: dict[str, Setting], *, keep: bool = False) -> None:
    for key, entry in ini.sections.get(section, {}).items():
        name = key.removesuffix("+").strip(_SPACE).upper()
        existing = settings.get(name)
        if existing is not None and keep:
            continue
        is_cut = len(entry.values) > 1
        value = entry.values[0].strip(_SPACE) if entry.values else None
        if key.endswith("+") and existing is not None:
            settings[name] = Setting(
                f"{existing.value},{value or ''}", entry.origin, existing.is_cut or is_cut
            )
        elif value is not None:
            settings[name] = Setting(value, entry.origin, is_cut)
        else:
            settings.pop(name, None)  # an empty here-document is Perl's undef
