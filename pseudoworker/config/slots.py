"""The slots of a process and what they say alike: their settings, their classes, their one master."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pseudoworker.config.ini import Ini
from pseudoworker.config.instances import format_instances
from pseudoworker.config.mistakes import DEFAULT, Mistakes, Origin
from pseudoworker.config.model import ClassMap, SlotConfig
from pseudoworker.config.toml_file import is_class
from pseudoworker.config.workers_ini import Setting, settings_for_host, settings_of


@dataclass(frozen=True)
class Slots:
    """The slots of one process, by instance, with the settings of workers.ini for each."""

    settings: Mapping[int, Mapping[str, Setting]]
    """By instance; HOST is taken out and the section of the web UI host put in."""
    host: str
    """The web UI host as it is written: a URL, or a host with or without port."""
    host_origin: Origin

    def agreed(self, key: str, mistakes: Mistakes) -> Setting | None:
        """The setting `key` where it counts for the process as a whole: a mistake if the slots differ in
        it."""
        return _agreed(key, self.settings, mistakes)

    def configs(self, classes: ClassMap, workers_ini: Origin, mistakes: Mistakes) -> tuple[SlotConfig, ...]:
        """The slots as the model has them; classes that the slave cannot be asked for are mistakes."""
        missing = [instance for instance, settings in self.settings.items() if "WORKER_CLASS" not in settings]
        if missing:
            mistakes.add(
                workers_ini,
                f"no WORKER_CLASS for instance {format_instances(missing)}",
                f"add WORKER_CLASS = {_example(classes)} to [global] or to the section of the instance",
            )
        return tuple(
            SlotConfig(
                instance,
                _worker_class(settings["WORKER_CLASS"], classes, mistakes)
                if "WORKER_CLASS" in settings
                else (),
                {key: setting.value for key, setting in settings.items()},
            )
            for instance, settings in self.settings.items()
        )


def read_slots(ini: Ini, instances: Sequence[int], host: str | None, mistakes: Mistakes) -> Slots:
    """The slots for `instances`; `host` is that of the command line, which wins over HOST.

    As OpenQA::Worker::Settings (`new`), but for one thing: a process has one master, so that all slots must
    have the same HOST, and it names one web UI.
    """
    settings: dict[int, dict[str, Setting]] = {instance: settings_of(ini, instance) for instance in instances}
    given = (
        Setting(host, Origin("command line", key="--host")) if host else _agreed("HOST", settings, mistakes)
    )
    if given is None or not given.value:
        given = Setting("localhost", DEFAULT)
    names = given.value.split()
    if len(names) != 1:
        mistakes.add(
            given.origin,
            f"{len(names)} web UIs are named",
            "name the one master; start a process of its own for each further one",
        )
    name = (names or ["localhost"])[0]
    of_host = settings_for_host(ini, name)
    for each in settings.values():
        each.update(of_host)
        each.pop("HOST", None)
    return Slots(settings, name, given.origin)


def _agreed(key: str, settings: Mapping[int, Mapping[str, Setting]], mistakes: Mistakes) -> Setting | None:
    found = {instance: each.get(key) for instance, each in settings.items()}
    first_instance, first = next(iter(found.items()))
    for instance, setting in found.items():
        if (setting and setting.value) != (first and first.value):
            mistakes.add(
                next(one.origin for one in (setting, first) if one is not None),
                f"{key} differs between instances {first_instance} and {instance}",
                "set it in [global], or start a process for each of the two",
            )
            break
    if first is not None:
        first.check(mistakes)
    return first


def _worker_class(setting: Setting, classes: ClassMap, mistakes: Mistakes) -> tuple[str, ...]:
    setting.check(mistakes)
    names = tuple(dict.fromkeys(name for part in setting.value.split(",") if (name := part.strip())))
    if not names:
        mistakes.add(setting.origin, "no class is named", f"write for example {_example(classes)}")
    for name in names:
        if not is_class(name):
            mistakes.add(
                setting.origin,
                f"{name!r} is no worker class",
                "separate classes by commas; a class has no space in it",
            )
        elif classes.to_slave(name) is None and (classes.location or classes.pairs):
            mistakes.add(
                setting.origin,
                f"the slave has no class for {name!r}",
                f'name it like {_example(classes)}, or add "{name}" = "…" to [classes] of pseudoworker.toml',
            )
    return names


def _example(classes: ClassMap) -> str:
    if classes.location:
        return f":{classes.location}:qemu_x86_64"
    return next(iter(classes.pairs), ":location:class")
