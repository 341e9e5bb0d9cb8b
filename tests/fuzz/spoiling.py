"""What openQA really said, spoiled: documents with other values in them, and their bytes with others among
them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

RECORDINGS: Final = Path(__file__).parents[1] / "recordings"

_PIECES: Final[Sequence[bytes]] = (
    b"",
    b"\0",
    b"\r\n",
    b"\n",
    b"\r",
    b'"',
    b"\\",
    b"\\ud800",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"{",
    b"[" * 300,
    b"]",
    b",",
    b":",
    b"9" * 5000,
    b"-",
    b"1e999",
    b"NaN",
    b"%s%n",
    b"../",
    b"<",
    b">",
    b"&#x0;",
    b"&#99999999;",
    b"<!ENTITY a 'b'>",
    b"data:",
    b"event: ",
    b"=",
    b"[1-" + b"9" * 30 + b"]",
    b"<<E",
)


@cache
def documents() -> tuple[Any, ...]:
    """Every JSON document of the recordings, and what workers were sent."""
    found: list[Any] = []
    for path in sorted(RECORDINGS.rglob("*.json")):
        content = json.loads(path.read_text())
        entries = content.values() if isinstance(content, dict) else [content]
        found += [
            entry.get("json", entry.get("message", entry)) if isinstance(entry, dict) else entry
            for entry in entries
        ]
        found.append(content)
    return tuple(one for one in found if isinstance(one, dict | list) and len(json.dumps(one)) < 10_000)


def spoiled_documents(*more: Any) -> st.SearchStrategy[Any]:
    """One of the recorded documents (or of `more`) with a few of its places changed."""
    return st.builds(_spoil, st.sampled_from((*documents(), *more)), st.randoms(use_true_random=False))


def spoiled_bytes(*originals: bytes) -> st.SearchStrategy[bytes]:
    """One of these texts with pieces of it lost, doubled, or replaced."""
    return st.builds(_tear, st.sampled_from(originals), st.randoms(use_true_random=False)) | st.binary(
        max_size=200
    )


_VALUES: Final[Sequence[Callable[[random.Random], Any]]] = (
    lambda _chance: None,
    lambda _chance: True,
    lambda chance: chance.choice((0, -1, 1, 2**31, 2**63, 10**30, 10**400, -(10**4000))),
    lambda chance: chance.choice((0.5, -0.0, 1e308, 7.0)),
    lambda chance: chance.choice(
        ("", "0", "7", "-1", "1e3", " 7", "9" * 5000, "x" * 5000, "\0", "\ud800", "../../etc", "ä\n", "٣")
    ),
    lambda chance: chance.choice(([], {}, [[]], [{}], {"": None}, [None, 1], {"id": {}}, {"name": []})),
    lambda _chance: _nested(200),
)


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return value


def _spoil(document: Any, chance: random.Random) -> Any:
    whole = [copy.deepcopy(document)]
    for _ in range(chance.randint(1, 4)):
        place, key = _anywhere(whole, chance)
        match chance.randint(0, 3):
            case 0 if isinstance(place, dict):
                del place[key]
            case 1 if isinstance(place, list):
                place.append(copy.deepcopy(place[key]))
            case 2 if isinstance(place, dict):
                place[chance.choice(("id", "name", "job", "result", "", "x" * 300))] = place.pop(key)
            case _:
                place[key] = chance.choice(_VALUES)(chance)
        if not whole:
            return None
    return whole[0]


def _anywhere(whole: list[Any], chance: random.Random) -> tuple[Any, Any]:
    """A container and one of its keys, at any depth."""
    place: Any = whole
    key: Any = 0
    while isinstance(inner := place[key], dict | list) and inner and chance.random() < 0.8:
        place = inner
        key = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
    return place, key


def _tear(original: bytes, chance: random.Random) -> bytes:
    content = bytearray(original)
    for _ in range(chance.randint(1, 6)):
        start = chance.randint(0, len(content))
        end = min(len(content), start + chance.choice((0, 1, 1, 2, 8, 100)))
        match chance.randint(0, 3):
            case 0:
                content[start:end] = chance.choice(_PIECES)
            case 1:
                content[start:end] = content[start:end] * 2
            case 2:
                content[start:end] = chance.randbytes(end - start)
            case _:
                del content[chance.randint(start, len(content)) :]
    return bytes(content)
