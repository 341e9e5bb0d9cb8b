"""What holds for all tests against the lab: each module leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from examples.lab.layout import current_lab
from tests.real.rest import settle, unrest


@pytest.fixture(scope="module", autouse=True)
def lab_left_at_rest(pytestconfig: pytest.Config) -> Iterator[None]:
    """Mend the lab for the tests that follow. A job that is left behind fails the module that left it; a
    stock worker that is broken without one is no matter of ours, but it is told."""
    yield
    lab = current_lab()
    if not lab.run_directory.exists():
        return  # nothing of this module needs the lab
    if found := unrest(lab):
        told = f"the lab is not at rest after this module: {found}\n{settle(lab, found)}"
        if found.jobs:
            pytest.fail(told, pytrace=False)
        capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{told}")
