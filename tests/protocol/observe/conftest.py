"""What the tests of this room share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.protocol.observe.setup import Setup, working


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    """A set-up that works."""
    async with working(tmp_path) as made:
        yield made
