"""One line of what `pseudoworker check` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["ok", "warning", "error"]

EXIT_STATUS: Final[dict[Level, int]] = {"ok": 0, "warning": 1, "error": 2}


@dataclass(frozen=True)
class Line:
    """An answer to one question."""

    level: Level
    topic: str
    """What was asked, such as `master key`; the same words in every run."""
    text: str
    """What was found."""
    advice: str = ""
    """What to do; never empty for a warning or an error."""

    def __str__(self) -> str:
        """One line, fit for a terminal."""
        text = f"{self.level:<8}{self.topic}: {self.text}{'; ' if self.advice else ''}{self.advice}"
        return "".join(character if character.isprintable() else "?" for character in text)


def ok(topic: str, text: str) -> Line:
    """All is well."""
    return Line("ok", topic, text)


def warning(topic: str, text: str, advice: str) -> Line:
    """It can work, but not as one would wish."""
    return Line("warning", topic, text, advice)


def error(topic: str, text: str, advice: str) -> Line:
    """It cannot work."""
    return Line("error", topic, text, advice)
