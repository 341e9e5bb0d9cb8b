"""API keys: from the command line, the environment or client.conf, as openQA's client looks them up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pseudoworker.config.files import Found
from pseudoworker.config.ini import Ini
from pseudoworker.config.mistakes import Mistakes, Origin
from pseudoworker.config.model import Credentials
from pseudoworker.config.urls import host_and_port


@dataclass(frozen=True)
class Given:
    """A key and a secret that were given without a file; either may be missing."""

    key: str | None
    secret: str | None = field(repr=False)
    origin: Origin


def find_credentials(
    url: str, given: Sequence[Given], client_conf: Ini, found: Found, mistakes: Mistakes
) -> Credentials | None:
    """The credentials for the instance at `url`, or None and a mistake that says where they were looked for.

    As OpenQA::UserAgent (`new`, `configure_credentials`): key and secret each come from the first of `given`
    that has it, else from client.conf, where the last of several values counts. Other than there, a section
    may name the port, so that two instances on one host have their own keys: see `section_names`.
    """
    names = section_names(url)
    sections = {section.lower(): section for section in client_conf.sections}
    section = next((sections[name] for name in names if name in sections), None)
    values: dict[str, tuple[str, Origin]] = {}
    for name in ("key", "secret"):
        value = next(_values(name, section, given, client_conf), None)
        if value is None:
            continue
        if not (value[0].isascii() and value[0].isprintable() and " " not in value[0]):
            mistakes.add(
                value[1],
                "contains a space or a character that no API key has",
                "copy it anew from the web UI",
            )
        values[name] = value
    missing = [name for name in ("key", "secret") if name not in values]
    if missing:
        _tell_missing(url, missing, section, names, client_conf, found, mistakes)
        return None
    key, secret = values["key"], values["secret"]
    return Credentials(key[0], secret[0], source=str(key[1]))


def section_names(url: str) -> tuple[str, ...]:
    """The sections of client.conf tried for `url`, in this order: with port, with scheme, host alone.

    Their case does not count.
    """
    host, port = host_and_port(url)
    scheme, _, where = url.partition("://")
    names = (f"{host}:{port}", url, f"{scheme}://{where.partition('/')[0]}", host)
    return tuple(dict.fromkeys(name.lower() for name in names))


def _values(
    name: str, section: str | None, given: Sequence[Given], client_conf: Ini
) -> Iterator[tuple[str, Origin]]:
    for source in given:
        value = source.key if name == "key" else source.secret
        if value:
            yield value, source.origin
    entry = client_conf.sections.get(section or "", {}).get(name)
    if entry is not None and entry.values and (value := entry.values[-1].rstrip()):
        yield value, entry.origin


def _tell_missing(
    url: str,
    missing: Sequence[str],
    section: str | None,
    names: Sequence[str],
    client_conf: Ini,
    found: Found,
    mistakes: Mistakes,
) -> None:
    what = " and ".join(missing)
    if section is not None:
        file = next(
            (entry.origin.file for entry in client_conf.sections[section].values()), str(found.files[0])
        )
        mistakes.add(
            Origin(file, key=f"[{section}]"), f"no {what} for {url}", f"add `{missing[0]} = …` to the section"
        )
        return
    if client_conf.files:
        looked_at = "no section for it in " + ", ".join(map(str, client_conf.files))
    else:
        looked_at = "no file at " + ", ".join(map(str, found.looked_at))
    if found.unreadable:
        looked_at += "; not readable: " + ", ".join(map(str, found.unreadable))
    mistakes.add(
        Origin("client.conf"),
        f"no API {what} for {url} ({looked_at})",
        "add one of the sections "
        + ", ".join(f"[{name}]" for name in names)
        + " with key and secret from the web UI",
    )
