"""What all ways of moving an asset to the slave have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from pseudoworker.bridge.assets.names import Asset
from pseudoworker.openqa.served import Served

Note = Callable[[str], None]
"""Adds a line to the story of the job that the transfer is for."""
Release = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Order:
    """One asset to move."""

    setting: str
    """A setting that names assets of this type, for helper jobs on the slave."""
    file: Served
    """The master's file."""
    target: Asset
    """What it is to be called on the slave."""
    note: Note


@dataclass(frozen=True)
class Carried:
    """A transfer that is done."""

    how: str
    """The transport's name, with what else is worth telling."""
    release: Release | None = None
    """To be called when the slave job exists; until then the asset is held against the slave's cleanup."""


class Transport(Protocol):
    """One way of moving an asset to the slave."""

    @property
    def name(self) -> str:
        """As in `transport` of [assets]."""
        ...

    def unfit(self, target: Asset, /) -> str | None:
        """Why it can never carry an asset of this name, None when it can."""
        ...

    async def carry(self, order: Order) -> Carried:
        """Move it; afterwards the slave serves the whole file under its target name.

        Raises TransportRefused when another way may do better, AssetFailure when none can, and OpenQAError
        for an outage. Cancelling it leaves nothing under the target name.
        """
        ...

    async def problem(self) -> str | None:
        """Why it can carry nothing at all now, None when nothing is known against it."""
        ...

    async def close(self) -> None:
        """Give up what it keeps open."""
        ...
