"""What a scripted job does: its modules, steps and files, told in a few words of JSON.

The setting FAKE_SCRIPT of a job (or the default of the fake slave) holds an object with any of these keys:

modules     a number, or a list of objects with `name`, `category`, `script`, `flags`, `seconds`, `result`,
            `dents`, `screens`, `texts`
screens     screenshots of each module (2)
texts       text results of each module (1)
audios      sounds of each module (0)
shared      true: the screenshots are the same in every job
image_size  bytes of a screenshot (600); a thumbnail has an eighth
seconds     how long each module takes (0.05)
setup       seconds before the first module (0.02)
upload      seconds between the last module and the end (0.02)
fail        name of the module that fails; nothing comes after it
result      the job's result, where it is not what the modules make
reason      the job's reason
ulogs       number of uploaded logs (1)
terminals   number of further serial terminals, whose logs no list names (0)
video       bytes of video.ogv (2000); 0 for none
assets      object: file name to {"size": bytes, "scope": "public"}
log_every   seconds between two lines of the live log and two live pictures (none)
hold        places to wait at until they are opened: `setup`, a module's name (before it ends), `upload`
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from tests.fakes.model import Document, Job

_KEYS: Final = frozenset(
    (
        "modules", "screens", "texts", "shared", "image_size", "seconds", "setup", "upload", "fail", "result",
        "reason", "ulogs", "terminals", "audios", "video", "assets", "log_every", "hold",
    )
)  # fmt: skip
_NAMES: Final = ("boot", "login", "console", "update", "network", "desktop", "browser", "reboot", "shutdown")


@dataclass(frozen=True)
class ModuleScript:
    """One module: what it is and what it leaves."""

    name: str
    category: str
    script: str
    flags: frozenset[str]
    seconds: float
    result: str
    dents: int
    screens: int
    texts: int
    audios: int

    def order(self) -> Document:
        """Its entry in `test_order`."""
        flags = dict.fromkeys(sorted(self.flags), 1)
        return {"name": self.name, "category": self.category, "script": self.script, "flags": flags}


@dataclass(frozen=True)
class Script:
    """A whole run."""

    modules: tuple[ModuleScript, ...]
    shared: bool = False
    image_size: int = 600
    setup: float = 0.02
    upload: float = 0.02
    fail: str | None = None
    result: str | None = None
    reason: str | None = None
    ulogs: int = 1
    terminals: int = 0
    video: int = 2000
    assets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    log_every: float | None = None
    hold: frozenset[str] = frozenset()


@lru_cache(maxsize=256)
def parse(text: str) -> Script:
    """A script from its JSON; raises `ValueError` for what it does not know."""
    told: Document = json.loads(text)
    if unknown := set(told) - _KEYS:
        raise ValueError(f"unknown in a script: {', '.join(sorted(unknown))}")
    wanted = told.get("modules", 3)
    entries: list[Document] = [{} for _ in range(wanted)] if isinstance(wanted, int) else wanted
    modules = tuple(_module(number, entry, told) for number, entry in enumerate(entries))
    simple = {
        key: told[key]
        for key in _KEYS & set(told) - {"modules", "screens", "texts", "audios", "seconds", "hold"}
    }
    return Script(modules, hold=frozenset(told.get("hold", ())), **simple)


def _module(number: int, own: Document, told: Document) -> ModuleScript:
    entry: Document = {"seconds": 0.05, "screens": 2, "texts": 1, "audios": 0} | told | own
    name = own.get("name") or (_NAMES[number] if number < len(_NAMES) else f"module{number}")
    category = own.get("category", "base" if number < 2 else "x11")
    return ModuleScript(
        name=name,
        category=category,
        script=own.get("script", f"tests/{category}/{name}.pm"),
        flags=frozenset(own.get("flags", ("fatal",) if number == 0 else ())),
        seconds=entry["seconds"],
        result=own.get("result", "fail" if told.get("fail") == name else "ok"),
        dents=own.get("dents", 0),
        screens=entry["screens"],
        texts=entry["texts"],
        audios=entry["audios"],
    )


@dataclass(frozen=True)
class Picture:
    """A screenshot as the worker uploads it: its address is the md5 from before it was optimised."""

    md5: str
    content: bytes
    thumb: bytes


@lru_cache(maxsize=4096)
def picture(seed: str, size: int) -> Picture:
    """A real PNG of about `size` bytes that is the same for the same seed."""
    content = _png(seed, max(size, 200))
    thumb = _png(f"thumb of {seed}", max(size // 8, 120))
    return Picture(hashlib.md5(b"unoptimised " + content, usedforsecurity=False).hexdigest(), content, thumb)


def _png(seed: str, size: int) -> bytes:
    """One row of noise, the same in all pictures of a size, and a text chunk that names the seed."""
    head, tail = _frame(size)
    return head + _chunk(b"tEXt", b"seed\0" + seed.encode("latin-1", "replace")) + tail


@lru_cache(maxsize=64)
def _frame(size: int) -> tuple[bytes, bytes]:
    width = max(1, size - 100)
    header = struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" + random.Random(size).randbytes(width), 1)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header), _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def details(
    script: Script, module: ModuleScript, job: Job
) -> tuple[Document, dict[str, Picture], dict[str, bytes]]:
    """A finished module's document as a worker posts it, its pictures by name and its other files."""
    owner = "shared" if script.shared else f"job {job.id}"
    steps: list[Document] = []
    pictures: dict[str, Picture] = {}
    texts: dict[str, bytes] = {}
    count = module.screens + module.texts + module.audios
    for number in range(1, count + 1):
        last = number == count
        result = "fail" if last and module.result == "fail" else "ok"
        if number <= module.screens:
            name = f"{module.name}-{number}.png"
            pictures[name] = shot = picture(f"{owner} {name}", script.image_size)
            steps.append(_screenshot(name, shot.md5, module.name, number, result))
        elif number > module.screens + module.texts:
            name = f"{module.name}-{number}-captured.wav"
            texts[name] = f"RIFF {owner} {name}".encode()
            steps.append({"audio": name, "result": result})
        else:
            name = f"{module.name}-{number}.txt"
            texts[name] = (
                f"{owner}: output of {module.name}, step {number}\nsecond line \N{SNOWMAN}\n".encode()
            )
            steps.append({"title": "wait_serial", "text": name, "result": result})
    document = {
        "details": steps,
        "result": module.result,
        "dents": module.dents,
        "execution_time": 1 + len(steps),
    }
    return document, pictures, texts


def _screenshot(name: str, md5: str, module: str, number: int, result: str) -> Document:
    area = {"x": 0, "y": 0, "w": 100, "h": 20, "result": result, "similarity": 100 if result == "ok" else 12}
    needle = f"{module}-{number}-20230101"
    step: Document = {
        "screenshot": {"name": name, "md5": md5},
        "result": result,
        "frametime": [f"{number}.00", f"{number}.04"],
        "tags": [module],
    }
    if result == "ok":
        return step | {
            "area": [area],
            "needle": needle,
            "json": f"tests/fake/needles/{needle}.json",
            "properties": [],
        }
    return step | {
        "needles": [
            {"name": needle, "area": [area], "json": f"tests/fake/needles/{needle}.json", "error": 0.88}
        ]
    }
