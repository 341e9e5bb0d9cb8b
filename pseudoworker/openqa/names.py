"""File names that come from the other side are checked here before anything is done with them."""

from __future__ import annotations

import unicodedata

from pseudoworker.openqa.errors import UnsafeName

LONGEST = 255
"""Bytes that Linux file systems allow in a name."""


def safe_name(name: str) -> str:
    """Return `name` when it is one plain file name, else raise UnsafeName saying why not.

    openQA stores an artefact under whatever name it is given, `../../x` included
    (OpenQA::Schema::Result::Jobs create_artefact), so a name that one side chose must pass here before it
    reaches the other side or a disk.
    """
    problem = _problem(name)
    if problem:
        raise UnsafeName(f"file name {_shown(name)} {problem}")
    return name


def _problem(name: str) -> str:
    if not name:
        return "is empty"
    if name in (".", ".."):
        return "is a directory"
    if "/" in name:
        return "holds a slash"
    if not name.isprintable() and any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "holds control characters or broken text"
    if len(name.encode()) > LONGEST:
        return f"has more than {LONGEST} bytes"
    return ""


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 80 else f"{name[:80]}...")
