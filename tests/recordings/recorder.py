"""Keeps what an instance answered, trimmed, with secrets and names of machines replaced."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.fakes.caller import Answer, Caller, Pairs

DIRECTORY: Final = Path(__file__).parent
_KEPT_HEADERS: Final = (
    "Accept-Ranges", "Content-Disposition", "Content-Range", "Content-Type", "ETag", "Last-Modified", "Link",
    "Location", "Retry-After", "X-Content-Type-Options",
)  # fmt: skip
_LONGEST_TEXT: Final = 300
_LONGEST_LIST: Final = 4
_SECRET_KEYS: Final = re.compile(r"JOBTOKEN|PASSWORD|SECRET|CMD_SRV_URL|cmd_srv_url")

log = logging.getLogger(__name__)
Exchange = dict[str, Any]


@dataclass
class Recorder:
    """Sends requests, and notes each with its answer under a name."""

    caller: Caller
    replacements: Mapping[str, str] = field(default_factory=dict)
    """Parts of texts that must not be kept, and what stands for them."""
    hosts: frozenset[str] = frozenset()
    """Names of machines, replaced where they are a whole text."""
    exchanges: dict[str, Exchange] = field(default_factory=dict)

    async def get(
        self, name: str, path: str, query: Pairs = (), *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """GET."""
        return self.note(name, "GET", path, await self.caller.get(path, query, headers=headers))

    async def head(self, name: str, path: str) -> Answer:
        """HEAD."""
        return self.note(name, "HEAD", path, await self.caller.request("HEAD", path))

    async def post(self, name: str, path: str, form: Pairs = ()) -> Answer:
        """POST a form."""
        return self.note(name, "POST", path, await self.caller.post(path, form))

    async def post_json(self, name: str, path: str, document: Any) -> Answer:
        """POST a document."""
        return self.note(name, "POST", path, await self.caller.post_json(path, document))

    async def upload(self, name: str, path: str, filename: str, content: bytes, **fields: str) -> Answer:
        """POST a file."""
        return self.note(name, "POST", path, await self.caller.upload(path, filename, content, **fields))

    def note(self, name: str, method: str, path: str, answer: Answer) -> Answer:
        """Keep an answer."""
        headers = {key: answer.headers[key] for key in _KEPT_HEADERS if key in answer.headers}
        exchange: Exchange = {"request": f"{method} {path}", "status": answer.status, "headers": headers}
        kind = headers.get("Content-Type", "")
        if kind.startswith("application/json"):
            exchange["json"] = answer.json() if answer.body else None
        elif kind.startswith(("image/", "video/", "application/octet-stream")):
            exchange["bytes"] = len(answer.body)
        else:
            exchange["text"] = answer.body.decode("utf-8", "replace")
        self._keep(name, exchange)
        return answer

    def message(self, name: str, message: Any) -> Any:
        """Keep a message of a websocket, or a piece of an event stream."""
        self._keep(name, {"message": message})
        return message

    def _keep(self, name: str, exchange: Exchange) -> None:
        if name in self.exchanges:
            raise ValueError(f"{name} was recorded already")
        self.exchanges[name] = self._clean(exchange)
        log.debug("%s: %s", name, exchange.get("status", ""))

    def _clean(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self._clean(entry, name) for name, entry in value.items()}
        if isinstance(value, list):
            if len(value) > _LONGEST_LIST and key not in ("logs", "ulogs", "modules", "testresults"):
                value = value[:_LONGEST_LIST]
            return [self._clean(entry) for entry in value]
        if isinstance(value, str):
            if _SECRET_KEYS.search(key) and value:
                return "(removed)"
            if value in self.hosts:
                return "lab-host"
            for part, instead in self.replacements.items():
                value = value.replace(part, instead)
            return value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + "\N{HORIZONTAL ELLIPSIS}"
        return value

    def save(self, path: Path) -> None:
        """Write everything to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.exchanges, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def load(flavour: str, scenario: str) -> dict[str, Exchange]:
    """A recording of the repository; raises `FileNotFoundError`."""
    recording: dict[str, Exchange] = json.loads((DIRECTORY / flavour / f"{scenario}.json").read_text())
    return recording
