"""What holds for all tests against the lab: each module leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from examples.lab.layout import current_lab
from tests.real.rest import settle, unrest

PATIENCE = 240.0
"""Seconds for what was cancelled last to end: a worker winds a job up for half a minute, and one that finds
its QEMU still running then looks again after 100 s."""


@pytest.fixture(scope="module", autouse=True)
def lab_left_at_rest() -> Iterator[None]:
    """Fail at the module that leaves jobs or broken workers behind, and mend the lab for those after it."""
    yield
    lab = current_lab()
    if not lab.run_directory.exists():
        return  # nothing of this module needs the lab
    if found := unrest(lab, PATIENCE):
        pytest.fail(f"the lab is not at rest after this module: {found}\n{settle(lab, found)}", pytrace=False)
