"""How the slave's background service (gru) does, by the numbers that it shows for monitoring."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.retry import POLL

_PATH = "/admin/influxdb/minion"
_LARGEST = 100_000
_LINE = re.compile(r"^openqa_minion_(jobs|workers),\S* (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Background:
    """Tasks of the slave, and workers (processes) that take them (Controller/Admin/Influxdb.pm, minion)."""

    running: int
    waiting: int
    delayed: int
    """To be tried again later."""
    busy_workers: int

    @property
    def idle(self) -> bool:
        """Whether there is nothing that anybody could still be working on."""
        return self.running + self.waiting + self.delayed == 0

    @property
    def stuck(self) -> bool:
        """Whether tasks wait although no worker is busy: a working one takes them within seconds."""
        return self.waiting > 0 and self.busy_workers == 0


async def background(client: Client) -> Background | None:
    """Ask once, without a key that has rights there; None when it does not tell."""
    try:
        text = (await client.read(_PATH, policy=POLL, limit=_LARGEST)).decode(errors="replace")
    except OpenQAError:
        return None
    numbers = {
        f"{kind} {name}": int(value)
        for kind, fields in _LINE.findall(text)
        for name, value in re.findall(r"(\w+)=(\d{1,9})i", fields)
    }
    try:
        return Background(
            numbers["jobs active"],
            numbers["jobs inactive"],
            numbers["jobs delayed"],
            numbers["workers active"],
        )
    except KeyError:
        return None
