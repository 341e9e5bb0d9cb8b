"""What is wrong with a configuration: every mistake with its place and its remedy, all told at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pseudoworker.errors import PseudoworkerError


@dataclass(frozen=True)
class Origin:
    """Where a value was written."""

    file: str
    """Path of the file, or `command line`, `environment` or `default`."""
    line: int | None = None
    """Line in that file, from 1; None where there is none."""
    key: str = ""
    """`[section] key` in a file, the option or variable elsewhere; empty when the file as a whole is
    meant."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}" if self.key else place


DEFAULT = Origin("default")


@dataclass(frozen=True)
class Mistake:
    """One thing the administrator has to change."""

    file: str
    line: int | None
    key: str
    what: str
    """What is wrong, without a full stop."""
    remedy: str
    """What to do about it, without a full stop."""

    def __str__(self) -> str:
        """One line, fit for a terminal and a log: place, key, what is wrong, what to do."""
        text = f"{Origin(self.file, self.line, self.key)}: {self.what}; {self.remedy}"
        return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class ConfigurationError(PseudoworkerError):
    """The administrator's files, environment or command line hold mistakes; all of them are listed."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


@dataclass
class Mistakes:
    """Collects mistakes while a configuration is read, so that one run shows them all."""

    _found: dict[Mistake, None] = field(default_factory=dict)

    def add(self, origin: Origin, what: str, remedy: str) -> None:
        """Note one mistake; the same one again (say, for each slot) is noted once."""
        self._found[Mistake(origin.file, origin.line, origin.key, what, remedy)] = None

    def __iter__(self) -> Iterator[Mistake]:
        return iter(self._found)

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_if_any(self) -> None:
        """Raise ConfigurationError with everything noted so far; do nothing when there is nothing."""
        if self._found:
            raise ConfigurationError(self._found)
