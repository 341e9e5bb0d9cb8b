"""From the administrator's files, environment and command line to one checked `Configuration`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pseudoworker.config.credentials import Given, find_credentials
from pseudoworker.config.files import SYSTEM_DIRECTORIES
from pseudoworker.config.instances import parse_instances
from pseudoworker.config.mistakes import DEFAULT, Mistakes, Origin
from pseudoworker.config.model import ClassMap, Configuration, Limits, Site, SlotConfig
from pseudoworker.config.schema import Unfit, keys_of
from pseudoworker.config.slots import Slots, read_slots
from pseudoworker.config.sources import Sources, read_sources
from pseudoworker.config.toml_file import ON_STOP, TABLES, TomlFile, is_class
from pseudoworker.config.urls import client_url, is_local, is_same, worker_url
from pseudoworker.config.worker_settings import read_setting, read_worker_settings, with_address


@dataclass(frozen=True)
class Overrides:
    """What the command line says; None and False where it says nothing."""

    instances: str | None = None
    host: str | None = None
    apikey: str | None = None
    apisecret: str | None = field(default=None, repr=False)
    slave: str | None = None
    on_stop: str | None = None
    verbose: bool = False
    config_dir: Path | None = None
    """Directory to look at first, in place of `$OPENQA_CONFIG`."""


def load(
    overrides: Overrides,
    environment: Mapping[str, str],
    *,
    system_directories: Sequence[Path] = SYSTEM_DIRECTORIES,
) -> Configuration:
    """Read everything and check it.

    Raises ConfigurationError, and no other error, with all mistakes at once. Asks no other machine but
    the resolver for this host's full name, and that only when WORKER_HOSTNAME is not set and the master is
    elsewhere.
    """
    configuration, mistakes = examine(overrides, environment, system_directories=system_directories)
    mistakes.raise_if_any()
    return configuration


def examine(
    overrides: Overrides,
    environment: Mapping[str, str],
    *,
    system_directories: Sequence[Path] = SYSTEM_DIRECTORIES,
) -> tuple[Configuration, Mistakes]:
    """As `load`, but give what could be understood beside all mistakes, for `pseudoworker check`.

    Where there are mistakes, the configuration may lack anything: URLs may be empty, credentials None.
    """
    if overrides.config_dir is not None:
        environment = {**environment, "OPENQA_CONFIG": str(overrides.config_dir)}
    mistakes = Mistakes()
    sources = read_sources(environment, system_directories, mistakes)
    return _Loading(overrides, environment, sources, mistakes).configuration(), mistakes


@dataclass
class _Loading:
    """The way from the parsed files to the configuration; mistakes and origins are gathered as it goes."""

    overrides: Overrides
    environment: Mapping[str, str]
    sources: Sources
    mistakes: Mistakes
    origins: dict[str, Origin] = field(default_factory=dict)

    @property
    def toml(self) -> TomlFile:
        return self.sources.toml

    def configuration(self) -> Configuration:
        instances = self._instances()
        slots = read_slots(
            self.sources.ini,
            instances or range(1, self.toml.limits.auto_slots + 1),
            self.overrides.host,
            self.mistakes,
        )
        classes = self._classes()
        master, slave = self._sites(slots)
        worker = read_worker_settings(
            slots,
            self.environment,
            verbose=self.overrides.verbose,
            origins=self.origins,
            mistakes=self.mistakes,
        )
        limits = self._limits(slots)
        self._assets()
        self.origins["verbose"] = (
            Origin("command line", key="--verbose") if self.overrides.verbose else DEFAULT
        )
        for name, table in TABLES.items():
            if name in ("assets", "developer", "limits", "observe"):
                for key in keys_of(table):
                    self.origins.setdefault(f"{name}.{key.name}", self.toml.origin(name, key.name))
        return Configuration(
            master=master,
            slave=slave,
            host=self._host(not master.url or is_local(master.url)),
            slots=self._slots(slots, classes),
            classes=classes,
            state_dir=self._state_dir(),
            worker=worker if self.mistakes else with_address(worker, is_local(master.url)),
            limits=limits,
            assets=self.toml.assets,
            developer=self.toml.developer,
            observe=self.toml.observe,
            auto_slots=instances is None,
            group=self._from_toml("group", "slave", "group") or None,
            verbose=self.overrides.verbose,
            on_stop=self._on_stop(),
            files=self.sources.files,
            origins={name: str(origin) for name, origin in sorted(self.origins.items())},
        )

    def _from_toml(self, name: str, table: str, key: str) -> str:
        """A text of pseudoworker.toml, its origin noted under `name`."""
        self.origins[name] = self.toml.origin(table, key)
        text: str = getattr(getattr(self.toml, table or "process"), key)
        return text

    def _is_absent(self, table: str, key: str) -> bool:
        return self.toml.is_complete and self.toml.origin(table, key) == DEFAULT

    def _chosen(self, name: str, option: str, given: str | None, table: str, key: str) -> str:
        """The command line's word if it says one, else that of pseudoworker.toml."""
        text = self._from_toml(name, table, key)
        if given is None:
            return text
        self.origins[name] = Origin("command line", key=option)
        return given

    def _fitted(self, name: str, text: str, fit: Callable[[str], str]) -> str:
        try:
            return fit(text)
        except Unfit as unfit:
            self.mistakes.add(self.origins[name], unfit.what, unfit.remedy)
            return ""

    def _instances(self) -> tuple[int, ...] | None:
        text = self._chosen("slots", "--instance", self.overrides.instances, "", "instances")
        self.origins["auto_slots"] = self.origins["slots"]
        try:
            return parse_instances(text)
        except Unfit as unfit:
            self.mistakes.add(self.origins["slots"], unfit.what, unfit.remedy)
            return (1,)

    def _classes(self) -> ClassMap:
        location = self._from_toml("classes.location", "slave", "location")
        if location and (not is_class(location) or ":" in location):
            self.mistakes.add(
                self.origins["classes.location"],
                f"{location!r} is no location",
                "give one word without colon, comma or space",
            )
        elif not location and not self.toml.has_pairs and self._is_absent("slave", "location"):
            self.mistakes.add(
                replace(self.sources.pseudoworker_toml, key="[slave] location"),
                "neither a location nor a pair of classes is given",
                'add location = "…" to [slave], or pairs to [classes]',
            )
        for master_class in self.toml.classes:
            self.origins[f"classes.pairs.{master_class}"] = self.toml.origin("classes", master_class)
        return ClassMap(location, dict(self.toml.classes))

    def _sites(self, slots: Slots) -> tuple[Site, Site]:
        self.origins["master.url"] = slots.host_origin
        master_url = self._fitted("master.url", slots.host, worker_url)
        slave_text = self._chosen("slave.url", "--slave", self.overrides.slave, "slave", "url")
        slave_url = ""
        if slave_text:
            slave_url = self._fitted("slave.url", slave_text, client_url)
        elif self._is_absent("slave", "url"):
            self.mistakes.add(
                replace(self.sources.pseudoworker_toml, key="[slave] url"),
                "the slave's URL is not given",
                'add url = "https://…" to [slave], or use --slave',
            )
        if master_url and slave_url and is_same(master_url, slave_url):
            self.mistakes.add(
                self.origins["slave.url"],
                f"master and slave are both {slave_url}",
                "name two different instances",
            )
        given = (
            Given(
                self.overrides.apikey,
                self.overrides.apisecret,
                Origin("command line", key="--apikey, --apisecret"),
            ),
            Given(
                self.environment.get("OPENQA_API_KEY"),
                self.environment.get("OPENQA_API_SECRET"),
                Origin("environment", key="OPENQA_API_KEY, OPENQA_API_SECRET"),
            ),
        )
        return self._site("master", master_url, given), self._site("slave", slave_url, ())

    def _site(self, name: str, url: str, given: Sequence[Given]) -> Site:
        ca_file: Path | None = getattr(self.toml, name).ca_file
        self.origins[f"{name}.ca_file"] = origin = self.toml.origin(name, "ca_file")
        if ca_file is not None and not (os.path.isfile(ca_file) and os.access(ca_file, os.R_OK)):
            self.mistakes.add(
                origin, f"{ca_file} is no file that can be read", "give the PEM file of the authority"
            )
        if not url:
            return Site("", None, ca_file)
        credentials = find_credentials(
            url, given, self.sources.client_conf, self.sources.found, self.mistakes
        )
        if credentials is not None:
            self.origins[f"{name}.credentials"] = Origin(credentials.source)
        return Site(url, credentials, ca_file)

    def _limits(self, slots: Slots) -> Limits:
        name = "upload_chunk_size"
        self.origins[f"limits.{name}"] = self.toml.origin("limits", name)
        if self.origins[f"limits.{name}"] != DEFAULT:
            return self.toml.limits
        (key,) = (key for key in keys_of(Limits) if key.name == name)
        values: dict[str, int] = {}
        self.origins[f"limits.{name}"] = read_setting(key, name.upper(), slots, "", values, self.mistakes)
        return replace(self.toml.limits, **values)

    def _assets(self) -> None:
        assets = self.toml.assets
        if assets.transport in ("shared", "local") and assets.factory_dir is None:
            self.mistakes.add(
                self.toml.origin("assets", "transport"),
                f"transport {assets.transport!r} needs factory_dir",
                'add factory_dir = "/…" to [assets]',
            )
        if assets.serve_url:
            self.origins["assets.serve_url"] = self.toml.origin("assets", "serve_url")
            self._fitted("assets.serve_url", assets.serve_url, worker_url)

    def _host(self, master_is_local: bool) -> str:
        host = self._from_toml("host", "", "host") or os.uname().nodename
        if not is_class(host) or ":" in host:
            self.mistakes.add(
                self.origins["host"], f"{host!r} is no host name", "give a name without colon, comma or space"
            )
        elif host == "localhost" and not master_is_local:
            self.mistakes.add(
                self.origins["host"],
                "this host is called localhost, which no master elsewhere accepts",
                'give this host a name, or set host = "…" in pseudoworker.toml',
            )
        return host

    def _slots(self, slots: Slots, classes: ClassMap) -> tuple[SlotConfig, ...]:
        for instance, settings in slots.settings.items():
            setting = settings.get("WORKER_CLASS")
            self.origins[f"slots.{instance}.worker_class"] = setting.origin if setting else DEFAULT
        # Without workers.ini its absence is the mistake, not what it does not say.
        if not self.sources.ini.files:
            return ()
        return slots.configs(classes, self.sources.workers_ini, self.mistakes)

    def _state_dir(self) -> Path:
        path = self.toml.process.state_dir
        self.origins["state_dir"] = self.toml.origin("", "state_dir")
        # systemd joins several directories of StateDirectory= with colons.
        if given := self.environment.get("STATE_DIRECTORY", "").split(":")[0]:
            self.origins["state_dir"] = Origin("environment", key="STATE_DIRECTORY")
            path = Path(given)
        elif path is None:
            # OpenQA::Utils, prjdir
            path = Path(self.environment.get("OPENQA_BASEDIR") or "/var/lib", "openqa", "pseudoworker")
        if not path.is_absolute():
            self.mistakes.add(self.origins["state_dir"], f"{path} is a relative path", "give an absolute one")
        return path

    def _on_stop(self) -> str:
        word = self._chosen("on_stop", "--on-stop", self.overrides.on_stop, "", "on_stop")
        if word not in ON_STOP:
            self.mistakes.add(
                self.origins["on_stop"], f"{word!r} is not known", f"give one of {', '.join(ON_STOP)}"
            )
        return word
