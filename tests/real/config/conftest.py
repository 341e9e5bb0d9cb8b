from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.config.oracle import Oracle


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    oracle = Oracle()
    yield oracle
    oracle.close()
