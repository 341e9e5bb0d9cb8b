"""What a slot says of itself while a job is on its way into the journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

from pseudoworker.bridge.availability import Load
from pseudoworker.bridge.journal import JournalError, Pairing
from pseudoworker.bridge.services import Services
from pseudoworker.bridge.slot import Slot
from pseudoworker.config.model import ClassMap, SlotConfig
from pseudoworker.master.link import Link
from pseudoworker.master.registration import Registration
from pseudoworker.observe.logs import SlotLogger
from pseudoworker.openqa.messages import Grabbed, GrabJob, rejected

SETTINGS = {"WORKER_CLASS": ":lab:qemu_x86_64"}


class SlowJournal:
    """Refuses a claim, once it is let."""

    def __init__(self) -> None:
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def claim(self, pairings: Sequence[Pairing]) -> None:
        self.asked.set()
        await self.answer.wait()
        raise JournalError("no room")


async def test_a_job_that_is_being_claimed_takes_its_worker_already() -> None:
    journal = SlowJournal()
    services = SimpleNamespace(
        journal=journal,
        configuration=SimpleNamespace(classes=ClassMap("lab")),
        availability=SimpleNamespace(wake=lambda: None),
    )
    logger = SlotLogger(logging.getLogger(__name__), 1)
    slot = Slot(
        cast(Services, services),
        SlotConfig(1, (":lab:qemu_x86_64",)),
        logger=logger,
        changed=lambda: None,
        moved=lambda: None,
    )
    sent: list[object] = []

    async def send(message: object) -> None:
        sent.append(message)

    slot.link = cast(Link, SimpleNamespace(is_connected=True, status_changed=lambda: None, send=send))
    slot.verdict(None)
    assert not slot.state.busy
    await slot.registered(Registration(1, 2))
    grab = asyncio.create_task(slot.received(GrabJob(Grabbed(7, SETTINGS, {"id": 7}))))
    await journal.asked.wait()
    assert slot.state.busy
    assert slot.loads() == [Load(frozenset({"qemu_x86_64"}), None)]
    journal.answer.set()
    await grab
    assert sent == [rejected([7], "no room")]
    assert not slot.state.busy
    assert slot.loads() == []
