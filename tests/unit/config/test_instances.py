from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.config.instances import MOST_INSTANCES, format_instances, parse_instances
from pseudoworker.config.schema import Unfit


@pytest.mark.parametrize(
    ("text", "instances"),
    [("3", (3,)), ("1-4", (1, 2, 3, 4)), (" 7, 1 - 2,2", (1, 2, 7)), ("auto", None), (" auto ", None)],
)
def test_what_is_understood(text: str, instances: tuple[int, ...] | None) -> None:
    assert parse_instances(text) == instances


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "'' names no instances"),
        ("x", "'x' names no instances"),
        ("1,", "'1,' names no instances"),
        ("1-2-3", "'1-2-3' names no instances"),
        ("٣", "'٣' names no instances"),
        ("0", "'0' is no range of instances"),
        ("4-1", "'4-1' is no range of instances"),
        ("2000000", "'2000000' is no range of instances"),
        ("1-5001", "'1-5001' is too many instances"),
        ("1-5000,5001-5002", "'1-5000,5001-5002' is too many instances"),
    ],
)
def test_what_is_refused(text: str, what: str) -> None:
    with pytest.raises(Unfit) as caught:
        parse_instances(text)
    assert caught.value.what == what


@given(st.sets(st.integers(1, MOST_INSTANCES), min_size=1))
def test_the_short_form_is_read_back(instances: set[int]) -> None:
    assert parse_instances(format_instances(sorted(instances))) == tuple(sorted(instances))


def test_the_short_form() -> None:
    assert format_instances([]) == ""
    assert format_instances([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"


@given(st.text("0123456789-, auto", max_size=20))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        instances = parse_instances(text)
    except Unfit:
        return
    assert instances is None or 0 < len(instances) <= MOST_INSTANCES
