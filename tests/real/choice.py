"""Which of many parameters the tests of this run have, so that what all of them need is done at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


def long(values: Iterable[object]) -> list[Any]:
    """Parameters of tests for which `make test` has no time."""
    return [pytest.param(value, marks=pytest.mark.long) for value in values]


def chosen(request: pytest.FixtureRequest, name: str, kind: type[T]) -> list[T]:
    """The values of a parameter in the tests of the asking module that are run."""
    specs = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    return [value for spec in specs if spec and isinstance(value := spec.params.get(name), kind)]
