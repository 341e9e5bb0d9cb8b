"""The story of one federated job, told at the end of the master job's worker-log.txt."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from pseudoworker.bridge.journal import Journal

STORY = "story"
"""Kind of acknowledgement in the journal."""


class Story:
    """Lines for whoever debugs the job: where it ran, how long it queued, what was moved, what was retried.

    They are kept in the journal, so that a restart of the process does not cut the story.
    """

    def __init__(
        self, journal: Journal, master_id: int, logger: logging.LoggerAdapter[logging.Logger]
    ) -> None:
        self._journal = journal
        self._master_id = master_id
        self._logger = logger
        self._lines: list[str] = []
        self._written = 0

    async def load(self) -> None:
        """Take up what an earlier process told."""
        kept: Mapping[str, str] = await self._journal.acknowledged(self._master_id, STORY)
        self._lines = [kept[key] for key in sorted(kept)] + self._lines
        self._written = len(kept)

    def tell(self, text: str) -> None:
        """Add a line, and log it."""
        self._logger.info(text)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._lines.append(f"[{stamp}] [info] [pseudoworker] {text}")

    async def save(self) -> None:
        """Write the lines that were told since to the journal."""
        start, end = self._written, len(self._lines)
        if start == end:
            return
        await self._journal.acknowledge(
            self._master_id, STORY, {f"{number:06d}": self._lines[number] for number in range(start, end)}
        )
        self._written = end

    def text(self) -> bytes:
        """All lines, as they stand in worker-log.txt."""
        return "".join(f"{line}\n" for line in self._lines).encode()
